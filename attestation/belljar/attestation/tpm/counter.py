"""A counter that the TPM keeps: it only goes up, also past being removed and made anew (part 1, 37.2.4).

In comes a TPM; out come numbers. A software TPM whose state file is copied back counts from the older value: only a
chip, or somebody elsewhere, stops that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.errors import PlatformRefused

from .codes import OWNER, PASSWORD, RC_HANDLE, SHA256, Command
from .wire import TpmError, sized, u16, u32

if TYPE_CHECKING:
    from .client import Tpm

FIRST_INDEX = 0x01A00000  # in the range the TCG's registry of handles leaves to the owner
_INDEX_BITS = 20
_COUNTER = 1 << 4
_OWNER_WRITE, _OWNER_READ, _NO_DA = 1 << 1, 1 << 17, 1 << 25
_WRITTEN = 1 << 29
_BYTES = 8
_ATTRIBUTES_AT = 6  # behind the index and the algorithm of its name, in TPMS_NV_PUBLIC


def index_of(platform: bytes) -> int:
    """Return the index of a platform's counter: several platforms, such as those of several users, share one TPM."""
    return FIRST_INDEX + (int.from_bytes(platform[:4], "big") >> (32 - _INDEX_BITS))


def current(tpm: Tpm, index: int) -> int:
    """Return the value; 0 if it never counted, which no value is after that."""
    attributes = _attributes(tpm, index)
    return read(tpm, index) if attributes is not None and attributes & _WRITTEN else 0


def count_up(tpm: Tpm, index: int) -> int:
    """Add one and return the value; the first is above any that a counter of this TPM ever had."""
    if _attributes(tpm, index) is None:
        _make(tpm, index)
    return increment(tpm, index)


def define(tpm: Tpm, index: int) -> None:
    """Make the counter if there is none, and count to its first value."""
    if current(tpm, index) == 0:
        count_up(tpm, index)


def _attributes(tpm: Tpm, index: int) -> int | None:
    try:
        public = tpm.execute(Command.NV_READ_PUBLIC, handles=(index,)).sized()
    except TpmError as error:
        if error.code & 0xBF != RC_HANDLE:
            raise
        return None
    if len(public) < _ATTRIBUTES_AT + 4:
        raise PlatformRefused(f"the TPM says {len(public)} bytes of NV index {index:#x}, expected 14 or more")
    return int.from_bytes(public[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 4], "big")


def _make(tpm: Tpm, index: int) -> None:
    attributes = _COUNTER | _OWNER_WRITE | _OWNER_READ | _NO_DA
    public = u32(index) + u16(SHA256) + u32(attributes) + sized(b"") + u16(_BYTES)
    tpm.execute(Command.NV_DEFINE_SPACE, handles=(OWNER,), sessions=(PASSWORD,), parameters=sized(b"") + sized(public))


def increment(tpm: Tpm, index: int) -> int:
    """Add one and return the value."""
    tpm.execute(Command.NV_INCREMENT, handles=(OWNER, index), sessions=(PASSWORD,)).end()
    return read(tpm, index)


def read(tpm: Tpm, index: int) -> int:
    """Return the value."""
    reader = tpm.execute(Command.NV_READ, handles=(OWNER, index), sessions=(PASSWORD,), parameters=u16(_BYTES) + u16(0))
    return int.from_bytes(reader.sized(), "big")


def remove(tpm: Tpm, index: int) -> None:
    """Remove the counter; a new one goes on above the highest value any counter of this TPM had."""
    tpm.execute(Command.NV_UNDEFINE_SPACE, handles=(OWNER, index), sessions=(PASSWORD,)).end()

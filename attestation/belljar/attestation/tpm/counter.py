"""A counter that the TPM keeps: it only goes up, also past being removed and made anew (part 1, 37.2.4).

In comes a TPM; out come numbers. A software TPM whose state file is copied back counts from the older value: only a
chip, or somebody elsewhere, stops that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import OWNER, PASSWORD, RC_HANDLE, SHA256, Command
from .wire import TpmError, sized, u16, u32

if TYPE_CHECKING:
    from .client import Tpm

INDEX = 0x01800B31  # in the range the TCG's registry of handles leaves to the owner
_COUNTER = 1 << 4
_OWNER_WRITE, _OWNER_READ, _NO_DA = 1 << 1, 1 << 17, 1 << 25
_BYTES = 8


def define(tpm: Tpm, index: int = INDEX) -> None:
    """Make the counter if there is none, and count to its first value."""
    try:
        tpm.execute(Command.NV_READ_PUBLIC, handles=(index,))
    except TpmError as error:
        if error.code & 0xBF != RC_HANDLE:
            raise
        attributes = _COUNTER | _OWNER_WRITE | _OWNER_READ | _NO_DA
        public = u32(index) + u16(SHA256) + u32(attributes) + sized(b"") + u16(_BYTES)
        tpm.execute(
            Command.NV_DEFINE_SPACE, handles=(OWNER,), sessions=(PASSWORD,), parameters=sized(b"") + sized(public)
        )
        increment(tpm, index)


def increment(tpm: Tpm, index: int = INDEX) -> int:
    """Add one and return the value."""
    tpm.execute(Command.NV_INCREMENT, handles=(OWNER, index), sessions=(PASSWORD,)).end()
    return read(tpm, index)


def read(tpm: Tpm, index: int = INDEX) -> int:
    """Return the value."""
    reader = tpm.execute(Command.NV_READ, handles=(OWNER, index), sessions=(PASSWORD,), parameters=u16(_BYTES) + u16(0))
    return int.from_bytes(reader.sized(), "big")


def remove(tpm: Tpm, index: int = INDEX) -> None:
    """Remove the counter; a new one goes on above the highest value any counter of this TPM had."""
    tpm.execute(Command.NV_UNDEFINE_SPACE, handles=(OWNER, index), sessions=(PASSWORD,)).end()

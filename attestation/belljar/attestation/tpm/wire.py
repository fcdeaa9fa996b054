"""Writing and reading what goes over the wire: big endian, sizes in front (TPM 2.0 Library part 2, 10.4).

In come numbers and bytes; out come sized buffers. `Reader` takes a TPM's answer as a stranger's: every size is
bounded by what is left, and what is left over at the end is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError, PlatformRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .codes import Command

PCR_COUNT = 24
DIGEST_BYTES = 32  # SHA-256, the one bank that is used


class TpmError(PlatformRefused):
    """The TPM refused a command.

    Args:
        command: which.
        code: its response code.
        name: what that is called.
    """

    def __init__(self, command: Command, code: int, name: str) -> None:
        hint = None
        if code & 0xFFF == 0x921:
            hint = "the TPM is locked after too many failures: wait, or tpm2_dictionarylockout --clear-lockout"
        super().__init__(f"the TPM refused {command.name}: {name}", hint=hint)
        self.code = code


def u8(value: int) -> bytes:
    """Return one byte."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """Return two bytes."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """Return four bytes."""
    return value.to_bytes(4, "big")


def sized(content: bytes) -> bytes:
    """Return a TPM2B: a size of two bytes, and the content."""
    return u16(len(content)) + content


def selection(pcrs: Iterable[int]) -> bytes:
    """Return a TPML_PCR_SELECTION of one bank, SHA-256.

    Raises:
        AttestationError: there is no PCR of such a number.
    """
    bits = 0
    for pcr in pcrs:
        if not 0 <= pcr < PCR_COUNT:
            raise AttestationError(f"PCR {pcr}, expected 0 to {PCR_COUNT - 1}")
        bits |= 1 << pcr
    return u32(1) + u16(0x000B) + u8(3) + bits.to_bytes(3, "little")


@dataclass(slots=True)
class Reader:
    """A TPM's answer, read from the front."""

    content: bytes

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            PlatformRefused: there are fewer.
        """
        if size > len(self.content):
            raise PlatformRefused(f"the TPM's answer is cut: {len(self.content)} bytes left, expected {size}")
        found, self.content = self.content[:size], self.content[size:]
        return found

    def number(self, size: int) -> int:
        """Return the next number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """Return the content of a TPM2B."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Refuse what is left over.

        Raises:
            PlatformRefused: something is.
        """
        if self.content:
            raise PlatformRefused(f"the TPM's answer has {len(self.content)} bytes too many")

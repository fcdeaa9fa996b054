"""A cursor over hostile bytes: fixed-size fields, one after the other, none beyond the end and none left over.

In come bytes of a report, a quote or a TPM structure; out come numbers and byte strings, or `EvidenceRefused` that
names the structure, the field and the offset. Every length is checked before anything is cut. Pure.
"""

from __future__ import annotations

from typing import Literal

from belljar.attestation.errors import EvidenceRefused


class Fields:
    """Reads one structure from its start.

    Args:
        content: all of it.
        what: what errors call it.
        order: byte order of its numbers.
    """

    __slots__ = ("_content", "_offset", "_order", "_what")

    def __init__(self, content: bytes, what: str, order: Literal["little", "big"]) -> None:
        self._content = content
        self._what = what
        self._order: Literal["little", "big"] = order
        self._offset = 0

    @property
    def offset(self) -> int:
        """Where the next field starts."""
        return self._offset

    def take(self, size: int, field: str) -> bytes:
        """Return the next `size` bytes.

        Raises:
            EvidenceRefused: there are fewer.
        """
        left = len(self._content) - self._offset
        if not 0 <= size <= left:
            raise EvidenceRefused(f"{self._what}: {field} at byte {self._offset}: got {left} bytes, expected {size}")
        found = self._content[self._offset : self._offset + size]
        self._offset += size
        return found

    def number(self, size: int, field: str) -> int:
        """Return an unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size, field), self._order)

    def expect(self, wanted: int, size: int, field: str) -> None:
        """Read a number that can have one value only.

        Raises:
            EvidenceRefused: it has another.
        """
        at = self._offset
        found = self.number(size, field)
        if found != wanted:
            raise EvidenceRefused(f"{self._what}: {field} at byte {at}: got {found:#x}, expected {wanted:#x}")

    def zeros(self, size: int, field: str) -> None:
        """Read bytes that the format reserves.

        Raises:
            EvidenceRefused: one is not zero.
        """
        at = self._offset
        if any(self.take(size, field)):
            raise EvidenceRefused(f"{self._what}: {field} at byte {at}: got bytes that are set, expected zeros")

    def sized(self, size: int, limit: int, field: str) -> bytes:
        """Return bytes behind their own length of `size` bytes.

        Raises:
            EvidenceRefused: there are more than `limit`, or fewer than the length says.
        """
        at = self._offset
        length = self.number(size, f"length of {field}")
        if length > limit:
            raise EvidenceRefused(f"{self._what}: {field} at byte {at}: got {length} bytes, expected at most {limit}")
        return self.take(length, field)

    def end(self) -> None:
        """Hold that nothing follows.

        Raises:
            EvidenceRefused: something does.
        """
        left = len(self._content) - self._offset
        if left:
            raise EvidenceRefused(f"{self._what}: {left} bytes follow its end at byte {self._offset}, expected none")

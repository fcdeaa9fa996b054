"""A container's first 128 KiB in memory, which records what is written; and cheap credentials."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from belljar.fs.volume.header.layout import HEADER_BYTES
from belljar.fs.volume.slots.key_file import KeyFile
from belljar.fs.volume.slots.passphrase import MIN_ITERATIONS, MIN_MEMORY_KIB, Cost, Passphrase

CHEAP = Cost(memory_kib=MIN_MEMORY_KIB, iterations=MIN_ITERATIONS, lanes=1)
KEY_FILE = KeyFile(content=b"k" * 64)


def passphrase(secret: bytes = b"correct horse", cost: Cost = CHEAP) -> Passphrase:
    return Passphrase(secret=secret, cost=cost)


def counted_random(seed: bytes = b"test") -> Callable[[int], bytes]:
    """Return a random source that always gives the same: SHAKE-256 of the seed and a counter."""
    calls = iter(range(1 << 30))

    def random(size: int) -> bytes:
        return hashlib.shake_256(seed + next(calls).to_bytes(4, "little")).digest(size)

    return random


@dataclass
class MemoryRegion:
    """A `Region` in memory.

    Attributes:
        writes: every write since it was last cleared, None for a sync.
    """

    content: bytearray = field(default_factory=lambda: bytearray(HEADER_BYTES))
    writes: list[tuple[int, bytes] | None] = field(default_factory=list)

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def pwrite(self, content: bytes, offset: int) -> None:
        self.writes.append((offset, bytes(content)))
        self.content[offset : offset + len(content)] = content

    def sync(self) -> None:
        self.writes.append(None)

    def copied(self) -> MemoryRegion:
        return MemoryRegion(content=bytearray(self.content))


def crashes(before: bytes, writes: list[tuple[int, bytes] | None], step: int) -> Iterator[bytes]:
    """Yield the content after a crash within each write, at every `step`th byte, all before it being done."""
    content = bytearray(before)
    for write in writes:
        if write is None:
            continue
        offset, new = write
        for length in range(0, len(new), step):
            yield bytes(content[:offset]) + new[:length] + bytes(content[offset + length :])
        content[offset : offset + len(new)] = new
    yield bytes(content)


def checksummed(raw: bytes | bytearray) -> bytes:
    """Return a copy of a header, or a record of an anchor, whose checksum was made to fit by somebody."""
    return bytes(raw[:-32]) + hashlib.sha256(raw[:-32]).digest()

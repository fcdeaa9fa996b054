"""Which blocks are in use: a bitmap per group of 16384 blocks, read when needed, kept as one integer each.

A block that the last commit uses is never written again before the next commit is durable: what is freed meanwhile is
`pinned`. Blocks that were taken since the last commit and are freed again may be used at once. The tree stores the
bitmaps (`commit.py`); a group without one is free. Memory holds the groups in use now, and a bound of others.
"""

from __future__ import annotations

from collections.abc import Callable

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume.layout import BITMAP_BYTES, BLOCK_BYTES, CHUNK_BLOCKS, FIRST_BLOCK, GROUP_BLOCKS

_FULL = (1 << GROUP_BLOCKS) - 1
_RESERVED = (1 << FIRST_BLOCK) - 1
_MAX_GROUPS = 256
_LARGE = 8  # blocks; content is kept apart from nodes, so that both lie together
_MAX_RUN = 512  # blocks taken in hand at once

ReadBitmap = Callable[[int], bytes | None]


class Group:
    """The bits of one group: `bits` in use by the next commit, `pinned` free in it but in use by the last one."""

    __slots__ = ("bits", "pinned")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.pinned = 0


class Space:
    """The blocks of one volume.

    Args:
        read_bitmap: group number -> its stored bitmap, or None.
        end: blocks of the container that commits have used so far.
        used: blocks in use, header and root slots not counted.
    """

    def __init__(self, read_bitmap: ReadBitmap, end: int, used: int) -> None:
        self._read_bitmap = read_bitmap
        self.end = max(end, FIRST_BLOCK)
        self.used = used
        self.dirty: set[int] = set()
        self.holes: list[tuple[int, int]] = []
        self._groups: dict[int, Group] = {}
        self._longest: dict[int, int] = {}  # group -> a number of blocks that it does not have in one piece
        self._runs = [(0, 0), (0, 0)]  # (next, stop) for small and for large pieces
        self._freed: list[tuple[int, int]] = []

    def allocate(self, blocks: int) -> int:
        """Return the first of `blocks` free blocks in one piece; the container grows where there are none."""
        size = blocks >= _LARGE
        start, stop = self._runs[size]
        if stop - start < blocks:
            start, stop = self._find(blocks)
        self._runs[size] = (start + blocks, stop)
        self._mark(start, blocks)
        return start

    def free(self, block: int, blocks: int, *, at_once: bool) -> None:
        """Free blocks: for the next commit, and `at_once` for use before it when no commit knows them.

        Raises:
            VolumeCorrupt: they are not in use.
        """
        number, at = divmod(block, GROUP_BLOCKS)
        mask = ((1 << blocks) - 1) << at
        group = self._group(number)
        if group.bits & mask != mask or at + blocks > GROUP_BLOCKS or (not number and at < FIRST_BLOCK):
            raise VolumeCorrupt(f"blocks {block} to {block + blocks - 1}", "they were to be freed but are not in use")
        group.bits ^= mask
        self.used -= blocks
        self.dirty.add(number)
        if at_once:
            self._longest.pop(number, None)
        else:
            group.pinned |= mask
        if blocks >= CHUNK_BLOCKS // 2:
            self._freed.append((block, blocks))

    def settle(self) -> None:
        """The commit is durable: what only the one before used is free."""
        for number, group in self._groups.items():
            if group.pinned:
                group.pinned = 0
                self._longest.pop(number, None)
        self._runs = [(0, 0), (0, 0)]  # the next ones are the lowest again: the container can be cut at its end
        self.holes += self._freed
        self._freed = []
        self.dirty.clear()
        if len(self._groups) > _MAX_GROUPS:
            self._groups.clear()

    def bitmap(self, number: int) -> bytes:
        """Return the bitmap of a group as it is stored."""
        bits = self._group(number).bits
        return (bits if number else bits & ~_RESERVED).to_bytes(BITMAP_BYTES, "little")

    def punchable(self) -> list[tuple[int, int]]:
        """Return (block, blocks) that were freed in large pieces and are still free, once; neighbours joined."""
        found: list[tuple[int, int]] = []
        for block, blocks in sorted(set(self.holes)):
            number, at = divmod(block, GROUP_BLOCKS)
            group = self._group(number)
            if ((group.bits | group.pinned) >> at) & ((1 << blocks) - 1) or self._in_hand(block, blocks):
                continue
            if found and block <= sum(found[-1]):
                found[-1] = (found[-1][0], max(sum(found[-1]), block + blocks) - found[-1][0])
            else:
                found.append((block, blocks))
        self.holes = []
        return found

    def top(self) -> int:
        """Return the block behind the last one that the next commit uses. Raises EIO, VolumeCorrupt."""
        number = (self.end - 1) // GROUP_BLOCKS
        while not self._group(number).bits:
            number -= 1  # ends at group 0, whose first blocks are always taken
        return number * GROUP_BLOCKS + self._group(number).bits.bit_length()

    def cut(self, end: int) -> None:
        """Note that the container was cut to so many blocks; nothing may be pinned."""
        self.end = end
        self._runs = [(0, 0), (0, 0)]

    def _in_hand(self, block: int, blocks: int) -> bool:
        return any(start < block + blocks and block < stop for start, stop in self._runs)

    def _mark(self, block: int, blocks: int) -> None:
        number, at = divmod(block, GROUP_BLOCKS)
        self._group(number).bits |= ((1 << blocks) - 1) << at
        self.dirty.add(number)
        self.used += blocks
        self.end = max(self.end, block + blocks)

    def _group(self, number: int) -> Group:
        found = self._groups.get(number)
        if found is None:
            stored = self._read_bitmap(number)
            if stored is not None and len(stored) != BITMAP_BYTES:
                raise VolumeCorrupt(f"bitmap {number}", f"got {len(stored)} bytes, expected {BITMAP_BYTES}")
            bits = 0 if stored is None else int.from_bytes(stored, "little")
            found = self._groups[number] = Group(bits if number else bits | _RESERVED)
        return found

    def _find(self, blocks: int) -> tuple[int, int]:
        """Return (start, stop) of a free run of at least so many blocks, in the first group that has one."""
        number = 0
        while True:
            if self._longest.get(number, GROUP_BLOCKS + 1) > blocks:
                group = self._group(number)
                run = _run(~(group.bits | group.pinned) & _FULL & ~self._taken(number), blocks)
                if run is not None:
                    return number * GROUP_BLOCKS + run[0], number * GROUP_BLOCKS + run[1]
                self._longest[number] = blocks
            number += 1

    def _taken(self, number: int) -> int:
        """Return the bits of a group that the runs in hand will use next."""
        taken = 0
        for start, stop in self._runs:
            if start < stop and start // GROUP_BLOCKS == number:
                taken |= ((1 << (stop - start)) - 1) << (start % GROUP_BLOCKS)
        return taken


def _run(free: int, blocks: int) -> tuple[int, int] | None:
    """Return (start, stop) of the first run of at least `blocks` ones."""
    long = free
    have = 1
    while have < blocks and long:
        step = min(have, blocks - have)
        long &= long >> step
        have += step
    if not long:
        return None
    start = (long & -long).bit_length() - 1
    rest = ~(free >> start)
    return start, start + min((rest & -rest).bit_length() - 1, _MAX_RUN)


def bytes_of(blocks: int) -> int:
    """Return how many bytes so many blocks are."""
    return blocks * BLOCK_BYTES

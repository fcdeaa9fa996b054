"""Check a volume that nobody has mounted: every byte it refers to, and whether its parts agree.

Every node and chunk of the live tree and of all snapshots is read and verified; blocks in use are compared with the
bitmaps, link counts with the entries, sizes and block counts with the extents. Findings name the path where there is
one. Streaming: memory holds a bit per block and a number per inode. Nothing is written. IEEE 2952 5.2.1.2 a, 7.4 c.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt, VolumeRefused
from belljar.fs.volume import layout
from belljar.fs.volume.layout import BITMAP_BYTES, BLOCK_BYTES, FIRST_BLOCK, GROUP_BLOCKS, POINTER
from belljar.fs.volume.offline.agree import Agreement
from belljar.fs.volume.offline.paths import paths_of
from belljar.fs.volume.offline.walk import walk
from belljar.fs.volume.recovery import allowed_root
from belljar.fs.volume.root import RootRecord, records
from belljar.fs.volume.sealing import Sealer
from belljar.fs.volume.store import Store

if TYPE_CHECKING:
    from belljar.fs.volume.anchor import Anchor
    from belljar.fs.volume.container import Container

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong: a path or a region, and what."""

    where: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a check; a sound volume has no findings. `bytes_verified` counts blocks once per tree."""

    generation: int
    inodes: int
    snapshots: tuple[str, ...]
    bytes_verified: int
    findings: tuple[Finding, ...]


class Checker:
    """One check. `progress` is told (bytes verified, bytes in use)."""

    def __init__(self, store: Store, record: RootRecord, progress: Progress) -> None:
        self.store = store
        self.record = record
        self.progress = progress
        self.findings: list[Finding] = []
        self.damaged: list[tuple[int, str]] = []  # (inode, what): named by path at the end
        self.used: dict[int, int] = {}
        self.verified = 0
        self.is_complete = True

    def live(self) -> tuple[Agreement, dict[int, bytes], list[tuple[str, bytes]]]:
        """Check the live tree; return what it says of inodes, its bitmaps and its snapshots."""
        agreement = Agreement()
        bitmaps: dict[int, bytes] = {}
        snapshots: list[tuple[str, bytes]] = []
        for key, value in walk(self.store, (self.record.pointer, self.record.level), self._visit, self._fault):
            thing, kind = layout.KEY_HEAD.unpack_from(key)
            if thing != layout.OBJECT_VOLUME:
                agreement.take(key, value)
                if kind == layout.KIND_EXTENT:
                    self._chunk(key, value)
            elif kind == layout.KIND_BITMAP:
                bitmaps[layout.KEY_NUMBER.unpack(key)[2]] = value
            elif kind == layout.KIND_SNAPSHOT:
                snapshots.append((key[layout.KEY_HEAD.size :].decode(), value))
            elif kind == layout.KIND_ORPHAN:
                agreement.orphan(layout.KEY_NUMBER.unpack(key)[2])
        return agreement, bitmaps, snapshots

    def snapshot(self, name: str, value: bytes) -> None:
        """Check the tree of a snapshot; what was verified before is not read again."""
        _, pointer, level, *_ = layout.SNAPSHOT.unpack(value)
        known = dict(self.used)  # whole subtrees that an older walk has seen are skipped
        before = len(self.findings)

        def visit(node: bytes, _low: bytes, _level: int) -> bool:
            block, blocks = POINTER.unpack(node)[:2]
            return not _has(known, block, blocks) and self._visit(node, _low, _level)

        for key, content in walk(self.store, (pointer, level), visit, self._fault):
            thing, kind = layout.KEY_HEAD.unpack_from(key)
            if thing != layout.OBJECT_VOLUME and kind == layout.KIND_EXTENT:
                block, blocks = POINTER.unpack(content)[:2]
                if not _has(known, block, blocks):
                    self._chunk(key, content)
        self.findings[before:] = [
            Finding(where=f"snapshot {name}: {found.where}", what=found.what) for found in self.findings[before:]
        ]

    def compare_bitmaps(self, bitmaps: dict[int, bytes]) -> None:
        """Compare the blocks that were met with those that are marked."""
        if not self.is_complete:
            return  # what a damaged node refers to is not known
        total = 0
        for group in sorted(self.used.keys() | bitmaps.keys()):
            met = self.used.get(group, 0)
            marked = int.from_bytes(bitmaps.get(group, bytes(BITMAP_BYTES)), "little")
            total += marked.bit_count()
            for bits, what in ((met & ~marked, "in use but marked free"), (marked & ~met, "marked as used by nothing")):
                if bits:
                    first = group * GROUP_BLOCKS + (bits & -bits).bit_length() - 1
                    self.findings.append(
                        Finding(where=f"bitmap {group}", what=f"{bits.bit_count()} blocks {what}, the first is {first}")
                    )
        if total != self.record.used:
            self.findings.append(
                Finding(where="root record", what=f"says {self.record.used} blocks are in use, bitmaps say {total}")
            )

    def _visit(self, pointer: bytes, _low: bytes, _level: int) -> bool:
        block, blocks = POINTER.unpack(pointer)[:2]
        self._mark(block, blocks, f"node in blocks {block} to {block + blocks - 1}")
        return True

    def _fault(self, low: bytes, error: VolumeCorrupt) -> None:
        self.is_complete = False
        ino = layout.KEY_HEAD.unpack_from(low)[0] if len(low) >= layout.KEY_HEAD.size else 0
        self.findings.append(Finding(where=error.where, what=f"{error.reason}; it holds items from inode {ino} on"))

    def _chunk(self, key: bytes, pointer: bytes) -> None:
        ino, _, chunk = layout.KEY_NUMBER.unpack(key)
        block, blocks = POINTER.unpack(pointer)[:2]
        self._mark(block, blocks, f"chunk {chunk} of inode {ino}")
        try:
            self.store.read_chunk(pointer, ino, chunk)
        except VolumeCorrupt as error:
            self.damaged.append((ino, f"{error.where.partition(', ')[2]}: {error.reason}"))

    def _mark(self, block: int, blocks: int, what: str) -> None:
        group, at = divmod(block, GROUP_BLOCKS)
        mask = ((1 << blocks) - 1) << at
        if self.used.get(group, 0) & mask or block < FIRST_BLOCK or block + blocks > self.record.end:
            self.findings.append(Finding(where=what, what=f"blocks {block} to {block + blocks - 1} are not its alone"))
        self.used[group] = self.used.get(group, 0) | mask
        self.verified += blocks * BLOCK_BYTES
        self.progress(self.verified, self.record.used * BLOCK_BYTES)


def check_volume(
    container: Container, *, volume_id: bytes, key: bytes, anchor: Anchor | None, progress: Progress | None = None
) -> Report:
    """Verify everything a volume refers to.

    Args:
        container: open for reading is enough; nobody may have it mounted for writing.
        volume_id: 16 bytes, from the header.
        key: 32 bytes, from the header.
        anchor: what knows the newest root; None to check a copy or a backup, whose freshness is not checked then.
        progress: told (bytes verified, bytes in use).

    Raises:
        VolumeRefused: no root record can be used.
        OSError: the container cannot be read.
    """
    sealer = Sealer(volume_id, key, os.urandom)
    if anchor is None:
        record, _ = records(container, sealer)[0]  # also one that a crash cut short: nothing says which was promised
    else:
        record, _, _ = allowed_root(container, sealer, anchor.read(volume_id))
    store = Store(container, sealer, record.generation + 1)
    checker = Checker(store, record, progress or _silent)
    agreement, bitmaps, snapshots = checker.live()
    for name, value in snapshots:
        checker.snapshot(name, value)
    checker.compare_bitmaps(bitmaps)
    if checker.is_complete:
        checker.damaged += agreement.conclude(record)
    names = paths_of(store, (record.pointer, record.level), {ino for ino, _ in checker.damaged})
    named = tuple(Finding(where=names.get(ino, f"inode {ino}"), what=what) for ino, what in checker.damaged)
    return Report(
        generation=record.generation,
        inodes=record.inodes,
        snapshots=tuple(name for name, _ in snapshots),
        bytes_verified=checker.verified,
        findings=(*checker.findings, *named),
    )


def refuse_findings(report: Report) -> Report:
    """Return a report that has no findings. Raises VolumeRefused with the first of them."""
    if report.findings:
        first = report.findings[0]
        raise VolumeRefused(f"{len(report.findings)} findings; the first: {first.where}: {first.what}")
    return report


def _has(used: dict[int, int], block: int, blocks: int) -> bool:
    group, at = divmod(block, GROUP_BLOCKS)
    mask = ((1 << blocks) - 1) << at
    return used.get(group, 0) & mask == mask


def _silent(_done: int, _total: int) -> None:
    return None

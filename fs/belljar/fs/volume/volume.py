"""A volume: made, opened, committed, closed; its snapshots, and going back to one.

The container's first 128 KiB belong to the header (which yields volume id and key); what is here begins at the root
slots. The owner of a `Volume` calls `tick` about every five seconds, and `close` at the end; nothing here has a thread
of its own. IEEE 2952 5.2.1.2 a, 7.4 c, 7.5 e.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field, replace
from stat import S_IFDIR
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume import layout, recovery
from belljar.fs.volume.btree import Tree
from belljar.fs.volume.commit import Commits
from belljar.fs.volume.ground import Ground, Limits, Live, bitmap_key
from belljar.fs.volume.layout import BLOCK_BYTES, ROOT_INO
from belljar.fs.volume.node import Node
from belljar.fs.volume.posix.inode import Inode
from belljar.fs.volume.posix.tree import PosixTree
from belljar.fs.volume.root import RootRecord, encode, records
from belljar.fs.volume.sealing import Random, Sealer
from belljar.fs.volume.snapshots import Snapshot, Snapshots
from belljar.fs.volume.store import Store
from belljar.fs.writable.clock import kernel_time_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.volume.anchor import Anchor, Anchored
    from belljar.fs.volume.container import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a volume takes from the world besides its container: time, randomness, memory."""

    clock: Callable[[], int] = kernel_time_ns
    random: Random = os.urandom
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a volume holds: `used` and `container` in bytes, snapshots among them."""

    generation: int
    inodes: int
    used: int
    container: int
    quota: int | None
    snapshots: int


class Volume:
    """An open volume. `tree` is what a FUSE server or a tool works on; every method may be called from any thread."""

    def __init__(self, live: Live, commits: Commits, *, writable: bool) -> None:
        self.writable = writable
        self._live = live
        self._commits = commits
        self._snapshots = Snapshots(live)
        live.kept = self._snapshots.kept
        self._ground: Ground = live if writable else _read_only(live, live.tree)
        self._posix = PosixTree(self._ground)
        live.commit = self.commit
        live.flush_content = self._posix.flush_content

    @property
    def tree(self) -> PosixTree:
        """The live tree."""
        return self._posix

    @property
    def anchored(self) -> Anchored:
        """The last durable commit."""
        return self._commits.anchored

    def commit(self) -> Anchored:
        """Make everything durable and anchored. Raises OSError, VolumeCorrupt; then it is still in memory."""
        with self._live.lock:
            if self.writable:
                self._posix.flush()
                self._commits.commit()
            return self._commits.anchored

    def tick(self) -> None:
        """Commit what is dirty and give room back to the host. Raises what `commit` raises."""
        with self._live.lock:
            if self.writable:
                self.commit()
                self._give_back()

    def close(self) -> None:
        """Commit and give room back; the container stays the caller's. Raises what `commit` raises."""
        if not self._live.failed:
            self.tick()
            with self._live.lock:
                if self.writable:
                    self._live.space.cut(self._commits.record.end)
                    self._live.store.container.truncate(self._commits.record.end * BLOCK_BYTES)

    def stat(self) -> Usage:
        """Return what the volume holds."""
        with self._live.lock:
            return Usage(
                generation=self._commits.record.generation,
                inodes=self._live.inodes,
                used=self._live.used() * BLOCK_BYTES,
                container=self._live.store.container.size(),
                quota=self._live.limits.quota_bytes,
                snapshots=len(self._snapshots.all()),
            )

    def snapshot(self, name: str) -> Snapshot:
        """Commit, and give that commit a name. Raises EEXIST, EINVAL, and what `commit` raises."""
        with self._live.lock:
            self._refuse_read_only()
            self._live.admit(layout.BLOCKS_PER_NODE)
            self.commit()
            record = self._commits.record
            made = Snapshot(
                name=name, generation=record.generation, pointer=record.pointer, level=record.level,
                next_ino=record.next_ino, inodes=record.inodes, used=record.used, time_ns=self._live.now(),
            )  # fmt: skip
            self._snapshots.keep(made)
            self.commit()
            return made

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots, oldest first."""
        with self._live.lock:
            return self._snapshots.all()

    def snapshot_tree(self, name: str) -> PosixTree:
        """Return the tree of a snapshot, read-only. Raises ENOENT."""
        with self._live.lock:
            found = self._snapshots.named(name)
            store = self._live.store
            ground = _read_only(self._live, Tree(store.load(found.pointer, found.level), store.load, _keep_all))
            ground.inodes = found.inodes
            return PosixTree(ground)

    def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot; what only it had is free after the commit. Raises ENOENT, and what `commit` raises."""
        with self._live.lock:
            self._refuse_read_only()
            self._live.admit(0)
            self.commit()
            self._snapshots.delete(name)
            self.commit()

    def rollback(self, name: str) -> None:
        """Make a snapshot the live tree, in a new generation. What is not in a snapshot is lost; snapshots stay.

        Nobody may hold inodes of the tree: unmount first. Raises ENOENT, and what `commit` raises.
        """
        with self._live.lock:
            self._refuse_read_only()
            self._live.admit(layout.BLOCKS_PER_NODE)
            self.commit()
            target = self._snapshots.named(name)
            try:
                self._go_back(target)
            except BaseException:
                self._live.failed = f"going back to {name} was interrupted"
                raise
            self.commit()

    def _refuse_read_only(self) -> None:
        if not self.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _go_back(self, target: Snapshot) -> None:
        """Replace the live tree. Bitmaps and snapshots stay today's; what only the old tree had is freed."""
        live, record = self._live, self._commits.record
        lost = self._snapshots.lost_by_leaving(record.pointer, record.level)
        ours = (
            (layout.head_key(layout.OBJECT_VOLUME, layout.KIND_SNAPSHOT)),
            (layout.head_key(layout.OBJECT_VOLUME, layout.KIND_BITMAP + 1)),
        )
        today = list(live.tree.items(*ours))
        live.tree = Tree(live.store.load(target.pointer, target.level), live.store.load, live.release)
        for _ in live.tree.take(*ours):
            pass  # bitmaps and snapshots as they were then
        for key, value in today:
            live.tree.put(key, value)
        self._snapshots.adopt(target.name)
        for block, blocks in lost:
            live.space.free(block, blocks, at_once=False)
        live.inodes = target.inodes
        self._posix = PosixTree(live)
        live.flush_content = self._posix.flush_content
        _delete_orphans(self._posix)

    def _give_back(self) -> None:
        container = self._live.store.container
        for block, blocks in self._live.space.punchable():
            container.punch(block * BLOCK_BYTES, blocks * BLOCK_BYTES)


def format_volume(
    container: Container, *, volume_id: bytes, key: bytes, anchor: Anchor, surroundings: Surroundings | None = None
) -> None:
    """Write an empty tree as generation 1 and anchor it. Bytes 0 to 131071 are not touched.

    Args:
        container: where it goes; what it held behind the header is lost.
        volume_id: 16 bytes, drawn for this volume.
        key: 32 bytes, drawn for this volume.
        anchor: what will know the newest root.
        surroundings: clock and random source.
    """
    around = surroundings or Surroundings()
    _verify_secrets(volume_id, key)
    sealer = Sealer(volume_id, key, around.random)
    store = Store(container, sealer, 1)
    now = around.clock()
    root = Inode(ROOT_INO, S_IFDIR | 0o755, 0, 0, now)
    root.nlink, root.parent = 2, ROOT_INO
    bitmap = (1 << layout.FIRST_BLOCK).to_bytes(layout.BITMAP_BYTES, "little")
    node = Node(0, [bitmap_key(0), layout.head_key(ROOT_INO, layout.KIND_INODE)])
    node.values = [bitmap, root.encode()]
    node.place, node.room = layout.FIRST_BLOCK, 1
    container.truncate(layout.HEADER_BYTES)
    container.pwrite(store.seal_node(node), node.place * BLOCK_BYTES)
    record = RootRecord(
        generation=1, previous=bytes(32), pointer=node.fresh, level=0, next_ino=ROOT_INO + 1, inodes=1, used=1,
        end=layout.FIRST_BLOCK + 1, time_ns=now,
    )  # fmt: skip
    container.pwrite(encode(record, sealer), layout.ROOT_OFFSETS[1])
    container.sync()
    anchor.advance(volume_id, records(container, sealer)[0][1])


def open_volume(  # noqa: PLR0913 - what a mount consists of
    container: Container,
    *,
    volume_id: bytes,
    key: bytes,
    anchor: Anchor,
    writable: bool,
    quota_bytes: int | None = None,
    surroundings: Surroundings | None = None,
) -> Volume:
    """Open a volume at its newest root, which must be the one the anchor knows, or its direct successor.

    Args:
        container: locked by who opened it for writing.
        volume_id: 16 bytes, from the header.
        key: 32 bytes, from the header.
        anchor: what knows the newest root.
        writable: else nothing is written, not even the anchor.
        quota_bytes: what the volume may use, snapshots among it.
        surroundings: clock, random source, limits of memory.

    Raises:
        VolumeRefused: another key, an older or forked state, an unknown version, not a volume, cut short.
        VolumeCorrupt: the root of the tree does not verify.
        OSError: the container or the anchor cannot be read.
    """
    around = surroundings or Surroundings()
    _verify_secrets(volume_id, key)
    sealer = Sealer(volume_id, key, around.random)
    record, anchored, pending = recovery.allowed_root(container, sealer, anchor.read(volume_id))
    if container.size() < record.end * BLOCK_BYTES:
        raise VolumeRefused(
            f"the container was cut: it has {container.size()} bytes, expected {record.end * BLOCK_BYTES}",
            hint="restore it from a backup, or save what is intact",
        )
    store = Store(container, sealer, record.generation + 1)
    limits = replace(around.limits, quota_bytes=quota_bytes)
    live = Live(store, record.pointer, record.level, (record.end, record.used), limits, around.clock)
    live.next_ino, live.inodes = record.next_ino, record.inodes
    commits = Commits(live, record, anchored, anchor)
    if pending and writable:
        commits.anchor_now()  # before anybody sees this state: it cannot be taken back any more
    volume = Volume(live, commits, writable=writable)
    if writable:
        _delete_orphans(volume.tree)
    return volume


def newest_root(container: Container, *, volume_id: bytes, key: bytes) -> Anchored:
    """Return the newest root whose commit is whole, for an owner who anchors it anew on purpose (after a restore).

    Raises:
        VolumeRefused: none verifies.
    """
    _verify_secrets(volume_id, key)
    return recovery.newest_root(container, Sealer(volume_id, key, os.urandom))[1]


def _delete_orphans(tree: PosixTree) -> None:
    """Delete inodes that had no name but somebody's descriptor when the volume was last used."""
    for ino in tree.inodes.read_orphans():
        tree.forget(ino)


def _read_only(live: Live, tree: Tree) -> Ground:
    ground = Ground(live.store, tree, live.lock)
    ground.blocks_used = live.space.used
    ground.limits, ground.inodes, ground.next_ino = live.limits, live.inodes, live.next_ino
    return ground


def _verify_secrets(volume_id: bytes, key: bytes) -> None:
    if len(volume_id) != layout.ID_BYTES or len(key) != layout.KEY_BYTES:
        raise VolumeRefused(
            f"got a volume id of {len(volume_id)} and a key of {len(key)} bytes, "
            f"expected {layout.ID_BYTES} and {layout.KEY_BYTES}"
        )


def _keep_all(_pointer: bytes, _key: bytes, _level: int) -> None:
    return None

"""Inodes: in memory while they are used, in the tree when they are flushed.

An `Inode` is changed in place and flushed before a commit: creating, writing and removing a file between two commits
then costs the tree one item instead of ten. It is a plain class with slots, not a frozen value, for that reason.
Orphans (inodes without a name that somebody still has open) are written down at a commit, so that the mount after a
crash deletes them.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.writable.tree import Attributes

if TYPE_CHECKING:
    from belljar.fs.volume.ground import Ground

_MAX_CLEAN = 4096
_MAX_DIRTY = 16384


class Inode:
    """One inode. `chunks` is content that is not in the tree yet; `stored` says whether the tree has an item of it."""

    __slots__ = (
        "atime_ns", "blocks", "chunks", "ctime_ns", "dirty", "flags", "gid", "ino", "mode", "mtime_ns", "nlink",
        "parent", "rdev", "size", "stored", "uid",
    )  # fmt: skip

    def __init__(self, ino: int, mode: int, uid: int, gid: int, now: int) -> None:
        self.ino = ino
        self.mode = mode
        self.nlink = 1
        self.uid = uid
        self.gid = gid
        self.rdev = 0
        self.flags = 0
        self.size = 0
        self.blocks = 0
        self.parent = 0
        self.atime_ns = self.mtime_ns = self.ctime_ns = now
        self.chunks: dict[int, bytes | bytearray] = {}
        self.dirty = False
        self.stored = False

    def encode(self) -> bytes:
        """Return the item of this inode."""
        return layout.INODE.pack(
            self.mode, self.nlink, self.uid, self.gid, self.rdev, self.flags, self.size, self.blocks, self.parent,
            self.atime_ns, self.mtime_ns, self.ctime_ns,
        )  # fmt: skip

    def attributes(self) -> Attributes:
        """Return what `stat` shows."""
        blocks = self.blocks
        if self.chunks or self.flags & layout.FLAG_INLINE:
            blocks += self.flags & layout.FLAG_INLINE
            blocks += sum(-(-len(content) // layout.BLOCK_BYTES) for content in self.chunks.values())
            blocks = min(blocks, -(-self.size // layout.BLOCK_BYTES))
        return Attributes(
            self.ino, self.mode, self.nlink, self.uid, self.gid, self.rdev, self.size, blocks * 8,
            self.atime_ns, self.mtime_ns, self.ctime_ns,
        )  # fmt: skip


def decode(ino: int, content: bytes) -> Inode:
    """Return the inode that an item says."""
    if len(content) != layout.INODE.size:
        raise VolumeCorrupt(f"inode {ino}", f"its item has {len(content)} bytes, expected {layout.INODE.size}")
    fields = layout.INODE.unpack(content)
    inode = Inode(ino, fields[0], fields[2], fields[3], 0)
    inode.nlink, inode.rdev, inode.flags, inode.size, inode.blocks, inode.parent = (fields[1], *fields[4:9])
    inode.atime_ns, inode.mtime_ns, inode.ctime_ns = fields[9:]
    inode.stored = True
    return inode


class Inodes:
    """The inodes of one ground."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.orphans: set[int] = set()
        self._noted: set[int] = set()  # orphans the tree knows of
        self._known: dict[int, Inode] = {}
        self._dirty: dict[int, Inode] = {}

    def get(self, ino: int) -> Inode:
        """Return an inode. Raises ENOENT, EIO, VolumeCorrupt."""
        found = self._known.get(ino)
        if found is None:
            self.ground.bound_memory()
            content = self.ground.tree.get(layout.head_key(ino, layout.KIND_INODE)) if 0 < ino < 1 << 64 else None
            if content is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            found = decode(ino, content)
            self._remember(found)
        return found

    def directory(self, ino: int) -> Inode:
        """Return the inode of a directory. Raises ENOTDIR."""
        found = self.get(ino)
        if not S_ISDIR(found.mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return found

    def regular(self, ino: int) -> Inode:
        """Return the inode of a regular file. Raises EISDIR, EINVAL."""
        found = self.get(ino)
        if not S_ISREG(found.mode):
            code = errno.EISDIR if S_ISDIR(found.mode) else errno.EINVAL
            raise OSError(code, os.strerror(code))
        return found

    def make(self, mode: int, uid: int, gid: int) -> Inode:
        """Return a new inode; its number was never used before."""
        inode = Inode(self.ground.next_ino, mode, uid, gid, self.ground.now())
        self.ground.next_ino += 1
        self.ground.inodes += 1
        self.touch(inode)
        self._remember(inode)
        return inode

    def touch(self, inode: Inode) -> None:
        """Say that an inode was changed."""
        if not inode.dirty:
            inode.dirty = True
            self._dirty[inode.ino] = self._known[inode.ino] = inode

    def dirty(self) -> list[Inode]:
        """Return the inodes that were changed, by number."""
        return [self._dirty[ino] for ino in sorted(self._dirty)]

    def is_dirty(self) -> bool:
        """Say whether something is to be flushed."""
        return bool(self._dirty) or self.orphans != self._noted

    def crowded(self) -> bool:
        """Say whether so many inodes were changed that they should be flushed."""
        return len(self._dirty) > _MAX_DIRTY

    def flush(self) -> None:
        """Put changed inodes whose content is flushed, and the orphans, into the tree. Raises EIO, VolumeCorrupt."""
        tree = self.ground.tree
        for inode in self.dirty():
            tree.put(layout.head_key(inode.ino, layout.KIND_INODE), inode.encode())
            inode.stored = True
            if not inode.chunks:
                inode.dirty = False
                del self._dirty[inode.ino]
        for ino in sorted(self.orphans - self._noted):
            tree.put(layout.number_key(layout.OBJECT_VOLUME, layout.KIND_ORPHAN, ino), b"")
            self._noted.add(ino)
        for ino in sorted(self._noted - self.orphans):
            tree.delete(layout.number_key(layout.OBJECT_VOLUME, layout.KIND_ORPHAN, ino))
            self._noted.discard(ino)

    def read_orphans(self) -> list[int]:
        """Return the orphans that the tree knows, after a crash."""
        low = layout.head_key(layout.OBJECT_VOLUME, layout.KIND_ORPHAN)
        high = layout.head_key(layout.OBJECT_VOLUME, layout.KIND_ORPHAN + 1)
        found = [layout.KEY_NUMBER.unpack(key)[2] for key, _ in self.ground.tree.items(low, high)]
        self.orphans.update(found)
        self._noted.update(found)
        return found

    def drop(self, inode: Inode) -> None:
        """Forget an inode that is deleted, with every item of it. Raises EIO, VolumeCorrupt; can be called again."""
        self.ground.dirty_bytes -= sum(map(len, inode.chunks.values()))
        inode.chunks = {}
        if inode.stored or inode.blocks or inode.flags or not S_ISREG(inode.mode):
            self._drop_items(inode)
        inode.dirty = False
        self._dirty.pop(inode.ino, None)
        self._known.pop(inode.ino, None)
        self.orphans.discard(inode.ino)
        self.ground.inodes -= 1

    def _drop_items(self, inode: Inode) -> None:
        low, high = layout.head_key(inode.ino, 0), layout.head_key(inode.ino, layout.KIND_END)
        extents = layout.head_key(inode.ino, layout.KIND_EXTENT)
        for items in self.ground.tree.take(low, high):
            for key, value in items:
                if key >= extents:
                    self.ground.release(value, key, -1)

    def _remember(self, inode: Inode) -> None:
        known = self._known
        if len(known) > _MAX_CLEAN + len(self._dirty):
            for ino in [ino for ino, old in known.items() if not old.dirty][: _MAX_CLEAN // 2]:
                del known[ino]
        known[inode.ino] = inode

"""Do the items of a tree agree: link counts with entries, directory sizes, block counts, parents, orphans?"""

from __future__ import annotations

from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.volume.layout import CHUNK_BITS, ENTRY, KIND_ENTRY, KIND_EXTENT, KIND_INLINE, KIND_INODE, POINTER
from belljar.fs.volume.posix.inode import Inode, decode

if TYPE_CHECKING:
    from belljar.fs.volume.root import RootRecord

_DIRECTORY = 0o040000 >> 12


class Agreement:
    """Takes the items of a tree in order. A name and the link count it accounts for cancel out as they are met."""

    def __init__(self) -> None:
        self._links: dict[int, int] = {}
        self._orphans: set[int] = set()
        self._faults: list[tuple[int, str]] = []
        self._inode: Inode | None = None
        self._entries = self._subdirectories = self._blocks = 0
        self._inodes = 0
        self._newest = 0

    def take(self, key: bytes, value: bytes) -> None:
        """Take the next item of an inode."""
        ino, kind = layout.KEY_HEAD.unpack_from(key)
        if self._inode is None or ino != self._inode.ino:
            self._finish()
            if kind != KIND_INODE:
                self._faults.append((ino, f"has an item of kind {kind} but no inode"))
                return
            self._begin(ino, value)
        elif kind == KIND_ENTRY:
            self._entry(value)
        elif kind == KIND_EXTENT:
            self._blocks += POINTER.unpack(value)[1]
            if layout.KEY_NUMBER.unpack(key)[2] << CHUNK_BITS >= self._inode.size:
                self._faults.append((ino, "has content behind its end"))
        elif kind == KIND_INLINE and not self._inode.flags & layout.FLAG_INLINE:
            self._faults.append((ino, "has content in the tree that its inode does not know of"))

    def orphan(self, ino: int) -> None:
        """Take an orphan: an inode that may have no name."""
        self._orphans.add(ino)

    def conclude(self, record: RootRecord) -> list[tuple[int, str]]:
        """Return (inode, what is wrong)."""
        self._finish()
        for ino, count in self._links.items():
            if count:
                self._faults.append((ino, f"has {abs(count)} names {'less' if count > 0 else 'more'} than links"))
        if self._inodes != record.inodes:
            self._faults.append((0, f"the root record counts {record.inodes} inodes, there are {self._inodes}"))
        if self._newest >= record.next_ino:
            self._faults.append((self._newest, f"is not below {record.next_ino}, the next number to be given"))
        return self._faults

    def _begin(self, ino: int, value: bytes) -> None:
        try:
            self._inode = decode(ino, value)
        except VolumeCorrupt as error:
            self._faults.append((ino, error.reason))
            return
        self._entries = self._subdirectories = self._blocks = 0
        self._inodes += 1
        self._newest = max(self._newest, ino)
        is_directory = S_ISDIR(self._inode.mode)
        names = (1 if self._inode.nlink and ino != layout.ROOT_INO else 0) if is_directory else self._inode.nlink
        self._count(ino, names)
        if not self._inode.nlink and ino not in self._orphans:
            self._faults.append((ino, "has no name and is no orphan"))

    def _entry(self, value: bytes) -> None:
        ino, kind = ENTRY.unpack_from(value)
        self._entries += 1
        self._subdirectories += kind == _DIRECTORY
        self._count(ino, -1)

    def _count(self, ino: int, names: int) -> None:
        left = self._links.get(ino, 0) + names
        if left:
            self._links[ino] = left
        else:
            self._links.pop(ino, None)

    def _finish(self) -> None:
        inode = self._inode
        self._inode = None
        if inode is None:
            return
        if S_ISDIR(inode.mode) and inode.nlink:
            if inode.size != self._entries:
                self._faults.append((inode.ino, f"says it has {inode.size} entries, it has {self._entries}"))
            if inode.nlink != self._subdirectories + 2:
                self._faults.append(
                    (inode.ino, f"has {inode.nlink} links and {self._subdirectories} directories in it")
                )
        elif S_ISREG(inode.mode) and inode.blocks != self._blocks:
            self._faults.append((inode.ino, f"says it has {inode.blocks} blocks, it has {self._blocks}"))

"""Directories: names by keyed hash, links, and what a rename does.

An entry stands under (directory, ENTRY, cookie): 60 bits of a keyed hash of the name, then 3 bits that tell names of
equal hash apart. The cookie is what readdir hands out; it stays the same while the name exists. Whoever does not know
the volume key cannot make names collide. A directory's size is the number of its entries.
"""

from __future__ import annotations

import errno
import os
from stat import S_IFMT, S_ISDIR
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.layout import COOKIE_SLOTS, ENTRY, KIND_ENTRY, number_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.fs.volume.ground import Ground
    from belljar.fs.volume.posix.inode import Inode, Inodes

RENAME_NOREPLACE = 1  # linux/fs.h
RENAME_EXCHANGE = 2

Found = tuple[bytes, int, int]
"""An entry: its key, the inode, S_IFMT of its mode."""


def refuse(code: int) -> OSError:
    """Return the OSError of an errno."""
    return OSError(code, os.strerror(code))


class Directories:
    """Looks up and changes names. The caller holds the lock and has admitted the operation."""

    def __init__(self, ground: Ground, inodes: Inodes) -> None:
        self.ground = ground
        self.inodes = inodes

    def find(self, directory: int, name: bytes) -> Found | None:
        """Return the entry of a name. Raises EIO, VolumeCorrupt."""
        low = self._cookie(name)
        key = number_key(directory, KIND_ENTRY, low)
        at: bytes | None = key
        high = number_key(directory, KIND_ENTRY, low + COOKIE_SLOTS)
        while at is not None:
            items, at = self.ground.tree.batch(at, high)
            for found, value in items:
                if value[ENTRY.size :] == name:
                    ino, kind = ENTRY.unpack_from(value)
                    return found, ino, kind << 12
        return None

    def entry(self, directory: int, name: bytes) -> Found:
        """Return the entry of a name. Raises ENOENT, ENAMETOOLONG."""
        if len(name) > layout.MAX_NAME:
            raise refuse(errno.ENAMETOOLONG)
        found = self.find(directory, name)
        if found is None:
            raise refuse(errno.ENOENT)
        return found

    def vacancy(self, parent: Inode, name: bytes) -> bytes:
        """Return the key under which a new name goes. Raises EEXIST, ENOENT, EINVAL, ENAMETOOLONG, ENOSPC."""
        if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
            raise refuse(errno.EEXIST if name in (b".", b"..") else errno.EINVAL)
        if len(name) > layout.MAX_NAME:
            raise refuse(errno.ENAMETOOLONG)
        if not parent.nlink:
            raise refuse(errno.ENOENT)  # a directory that was removed takes nothing in
        low = self._cookie(name)
        taken: set[bytes] = set()
        range_ = number_key(parent.ino, KIND_ENTRY, low), number_key(parent.ino, KIND_ENTRY, low + COOKIE_SLOTS)
        for key, value in self.ground.tree.items(*range_):
            if value[ENTRY.size :] == name:
                raise refuse(errno.EEXIST)
            taken.add(key)
        for cookie in range(low, low + COOKIE_SLOTS):
            key = number_key(parent.ino, KIND_ENTRY, cookie)
            if key not in taken:
                return key
        raise refuse(errno.ENOSPC)

    def add(self, parent: Inode, key: bytes, name: bytes, inode: Inode) -> None:
        """Enter a name; `key` is its vacancy."""
        self.ground.tree.put(key, ENTRY.pack(inode.ino, inode.mode >> 12) + name)
        parent.size += 1
        if S_ISDIR(inode.mode):
            parent.nlink += 1
            inode.parent = parent.ino
        self._changed(parent)

    def remove(self, parent: Inode, key: bytes, inode: Inode) -> None:
        """Remove an entry; whether the inode goes with it is the caller's to say."""
        self.ground.tree.delete(key)
        parent.size -= 1
        if S_ISDIR(inode.mode):
            parent.nlink -= 1
        self._changed(parent)

    def drop_link(self, inode: Inode) -> None:
        """Count one name less; an inode without names is an orphan until it is forgotten."""
        inode.nlink = 0 if S_ISDIR(inode.mode) else inode.nlink - 1
        inode.ctime_ns = self.ground.now()
        self.inodes.touch(inode)
        if not inode.nlink:
            self.inodes.orphans.add(inode.ino)

    def listing(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield (cookie, name, inode, S_IFMT of mode), leaf by leaf; the lock is held for one leaf at a time."""
        at: bytes | None = number_key(ino, KIND_ENTRY, after + 1)
        high = layout.head_key(ino, KIND_ENTRY + 1)
        while at is not None:
            with self.ground.lock:
                self.ground.bound_memory()
                items, at = self.ground.tree.batch(at, high)
            for key, value in items:
                child, kind = ENTRY.unpack_from(value)
                yield layout.KEY_NUMBER.unpack(key)[2], value[ENTRY.size :], child, kind << 12

    def rename(self, source: tuple[Inode, bytes], target: tuple[Inode, bytes], flags: int) -> None:
        """Move, replace or exchange names as renameat2(2) does. Raises what that raises; then nothing is changed."""
        (parent, name), (new_parent, new_name) = source, target
        if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise refuse(errno.EINVAL)
        key, ino, _ = self.entry(parent.ino, name)
        inode = self.inodes.get(ino)
        old = self.find(new_parent.ino, new_name)
        if flags == RENAME_EXCHANGE:
            if old is None:
                raise refuse(errno.ENOENT)
            self._exchange((parent, key, name, inode), (new_parent, old[0], new_name, self.inodes.get(old[1])))
            return
        if old is not None:
            self._replace((parent, key, inode), (new_parent, old[0], new_name), self.inodes.get(old[1]), flags)
            return
        vacancy = self.vacancy(new_parent, new_name)
        self._refuse_loop(inode, new_parent)
        self.remove(parent, key, inode)
        self.add(new_parent, vacancy, new_name, inode)
        self._moved(inode)

    def _replace(
        self, source: tuple[Inode, bytes, Inode], target: tuple[Inode, bytes, bytes], victim: Inode, flags: int
    ) -> None:
        (parent, key, inode), (new_parent, new_key, new_name) = source, target
        if flags & RENAME_NOREPLACE:
            raise refuse(errno.EEXIST)
        if victim is inode:
            return  # two names of one inode: POSIX says nothing happens
        if S_ISDIR(inode.mode) and not S_ISDIR(victim.mode):
            raise refuse(errno.ENOTDIR)
        if S_ISDIR(victim.mode):
            if not S_ISDIR(inode.mode):
                raise refuse(errno.EISDIR)
            if victim.size:
                raise refuse(errno.ENOTEMPTY)
        self._refuse_loop(inode, new_parent)
        self.ground.tree.get(key)  # read before anything is changed
        self.remove(new_parent, new_key, victim)
        self.add(new_parent, new_key, new_name, inode)
        self.remove(parent, key, inode)
        self.drop_link(victim)
        self._moved(inode)

    def _exchange(self, one: tuple[Inode, bytes, bytes, Inode], other: tuple[Inode, bytes, bytes, Inode]) -> None:
        self._refuse_loop(one[3], other[0])
        self._refuse_loop(other[3], one[0])
        for (parent, key, name, old), new in ((one, other[3]), (other, one[3])):
            self.ground.tree.put(key, ENTRY.pack(new.ino, new.mode >> 12) + name)
            parent.nlink += S_ISDIR(new.mode) - S_ISDIR(old.mode)
            if S_ISDIR(new.mode):
                new.parent = parent.ino
            self._moved(new)
            self._changed(parent)

    def _refuse_loop(self, inode: Inode, new_parent: Inode) -> None:
        """Refuse to move a directory into itself. Raises EINVAL."""
        if not S_ISDIR(inode.mode):
            return
        at = new_parent
        while at.ino != layout.ROOT_INO:
            if at.ino == inode.ino:
                raise refuse(errno.EINVAL)
            at = self.inodes.get(at.parent)

    def _moved(self, inode: Inode) -> None:
        inode.ctime_ns = self.ground.now()
        self.inodes.touch(inode)

    def _changed(self, parent: Inode) -> None:
        parent.mtime_ns = parent.ctime_ns = self.ground.now()
        self.inodes.touch(parent)

    def _cookie(self, name: bytes) -> int:
        """Return the first cookie a name may have: above 7, below 2^63."""
        return ((self.ground.store.sealer.name_hash(name) >> 4) or 1) << 3


def is_kind(mode: int) -> bool:
    """Say whether a mode names a kind of file that Linux knows."""
    return S_IFMT(mode) in (0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000)

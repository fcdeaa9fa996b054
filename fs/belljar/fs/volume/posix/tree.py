"""The writable tree of a volume: the operations of `belljar.fs.writable.tree`, said in inodes, entries and chunks.

Each operation takes the volume's lock, asks for room (`admit`: only there may a flush or a commit happen), and then
does all of its change or none: what may fail is read first. Times of content are the kernel's to tell, by
`set_attributes`. Serves the live volume and, read-only, its snapshots.
"""

from __future__ import annotations

import errno
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISDIR, S_ISLNK
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.layout import BLOCK_BYTES, KIND_TARGET, head_key
from belljar.fs.volume.posix.content import Content
from belljar.fs.volume.posix.directory import Directories, is_kind, refuse
from belljar.fs.volume.posix.inode import Inode, Inodes
from belljar.fs.volume.posix.ranges import Ranges
from belljar.fs.volume.posix.xattr import Xattrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.fs.volume.ground import Ground
    from belljar.fs.writable.tree import Attributes, Changes

_CHANGE_BLOCKS = (
    12  # what an operation on names or attributes may need: three paths of the tree, and something to spare
)


class PosixTree:
    """A volume's tree, or a snapshot's: a `WritableTree`."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.lock = ground.lock
        self.inodes = Inodes(ground)
        self.content = Content(ground)
        self.directories = Directories(ground, self.inodes)
        self.extended = Xattrs(ground)
        self.ranges = Ranges(ground, self.inodes, self.content)

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Return what a directory calls a name."""
        with self.lock:
            self.ground.bound_memory()
            self.inodes.directory(parent)
            return self.inodes.get(self.directories.entry(parent, name)[1]).attributes()

    def attributes(self, ino: int) -> Attributes:
        """Return the attributes of an inode."""
        with self.lock:
            return self.inodes.get(ino).attributes()

    def set_attributes(self, ino: int, changes: Changes) -> Attributes:
        """Change attributes, all of them or none."""
        with self.lock:
            inode = self.inodes.get(ino)
            size = changes.size
            grows = size is None or size > inode.size
            self.ground.admit(_CHANGE_BLOCKS if grows else 0)
            if size is not None:
                self.inodes.regular(ino)
                if not 0 <= size <= layout.MAX_FILE:
                    raise refuse(errno.EFBIG if size > 0 else errno.EINVAL)
                self.content.resize(inode, size)
            _apply(inode, changes)
            self.inodes.touch(inode)
            return inode.attributes()

    def make(  # noqa: PLR0913 - what mknod, mkdir and symlink take
        self, parent: int, name: bytes, mode: int, uid: int, gid: int, *, rdev: int = 0, target: bytes = b""
    ) -> Attributes:
        """Make an inode with a name."""
        with self.lock:
            self.ground.admit(_CHANGE_BLOCKS)
            directory = self.inodes.directory(parent)
            vacancy = self.directories.vacancy(directory, name)
            if not S_IFMT(mode):
                mode |= S_IFREG
            _verify_new(mode, target)
            if S_ISDIR(mode) and directory.nlink >= layout.MAX_LINKS:
                raise refuse(errno.EMLINK)
            inode = self.inodes.make(mode, uid, gid)
            inode.rdev = rdev
            if S_ISLNK(mode):
                self.ground.tree.put(head_key(inode.ino, KIND_TARGET), target)
                inode.size = len(target)
            if S_ISDIR(mode):
                inode.nlink = 2
            self.directories.add(directory, vacancy, name, inode)
            return inode.attributes()

    def make_unnamed(self, mode: int, uid: int, gid: int) -> Attributes:
        """Make a regular file without a name."""
        with self.lock:
            self.ground.admit(_CHANGE_BLOCKS)
            inode = self.inodes.make(S_IFREG | (mode & 0o7777), uid, gid)
            inode.nlink = 0
            self.inodes.orphans.add(inode.ino)
            return inode.attributes()

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        """Give an inode another name."""
        with self.lock:
            self.ground.admit(_CHANGE_BLOCKS)
            inode = self.inodes.get(ino)
            directory = self.inodes.directory(parent)
            if S_ISDIR(inode.mode):
                raise refuse(errno.EPERM)
            if inode.nlink >= layout.MAX_LINKS:
                raise refuse(errno.EMLINK)
            self.directories.add(directory, self.directories.vacancy(directory, name), name, inode)
            inode.nlink += 1
            inode.ctime_ns = self.ground.now()
            self.inodes.orphans.discard(ino)
            self.inodes.touch(inode)
            return inode.attributes()

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name of what is no directory."""
        with self.lock:
            self.ground.admit(0)
            directory = self.inodes.directory(parent)
            key, ino, kind = self.directories.entry(parent, name)
            if kind == S_IFDIR:
                raise refuse(errno.EISDIR)
            inode = self.inodes.get(ino)
            self.directories.remove(directory, key, inode)
            self.directories.drop_link(inode)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        with self.lock:
            self.ground.admit(0)
            directory = self.inodes.directory(parent)
            key, ino, kind = self.directories.entry(parent, name)
            if kind != S_IFDIR:
                raise refuse(errno.ENOTDIR)
            inode = self.inodes.get(ino)
            if inode.size:
                raise refuse(errno.ENOTEMPTY)
            self.directories.remove(directory, key, inode)
            self.directories.drop_link(inode)

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """Rename, replace or exchange."""
        with self.lock:
            self.ground.admit(_CHANGE_BLOCKS)
            source = self.inodes.directory(parent)
            target = source if new_parent == parent else self.inodes.directory(new_parent)
            self.directories.rename((source, name), (target, new_name), flags)

    def forget(self, ino: int) -> None:
        """Delete an inode that has no names left."""
        with self.lock:
            if ino in self.inodes.orphans:
                self.ground.admit(0)
                self.inodes.drop(self.inodes.get(ino))

    def target(self, ino: int) -> bytes:
        """Return where a symlink points."""
        with self.lock:
            found = self.ground.tree.get(head_key(ino, KIND_TARGET)) if S_ISLNK(self.inodes.get(ino).mode) else None
            if found is None:
                raise refuse(errno.EINVAL)
            return found

    def entries(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield what is in a directory behind a cookie."""
        with self.lock:
            self.inodes.directory(ino)
        return self.directories.listing(ino, after)

    def parent(self, ino: int) -> int:
        """Return the directory above a directory."""
        with self.lock:
            return self.inodes.directory(ino).parent

    def read(self, ino: int, offset: int, size: int) -> bytes | bytearray:
        """Return content."""
        with self.lock:
            return self.content.read(self.inodes.regular(ino), offset, size)

    def write(self, ino: int, offset: int, content: bytes | memoryview) -> int:
        """Write content, whole or not at all."""
        with self.lock:
            inode = self.inodes.regular(ino)
            count = len(content)
            if offset < 0 or offset + count > layout.MAX_FILE:
                raise refuse(errno.EFBIG)
            self.ground.admit(count // BLOCK_BYTES + _CHANGE_BLOCKS)
            if count:
                self.content.write(inode, offset, content)
                self.inodes.touch(inode)
            return count

    def allocate(self, ino: int, offset: int, length: int, mode: int) -> None:
        """Do fallocate(2)."""
        with self.lock:
            self.ranges.allocate(self.inodes.regular(ino), offset, length, mode)

    def seek(self, ino: int, offset: int, whence: int) -> int:
        """Find data or a hole."""
        with self.lock:
            return self.ranges.seek(self.inodes.regular(ino), offset, whence)

    def copy_range(self, ino: int, offset: int, to_ino: int, to_offset: int, length: int) -> int:
        """Copy content."""
        with self.lock:
            source, target = self.inodes.regular(ino), self.inodes.regular(to_ino)
            return self.ranges.copy((source, offset), (target, to_offset), length)

    def xattr(self, ino: int, name: bytes) -> bytes:
        """Return an extended attribute."""
        with self.lock:
            return self.extended.get(self.inodes.get(ino), name)

    def set_xattr(self, ino: int, name: bytes, content: bytes, flags: int) -> None:
        """Set an extended attribute."""
        with self.lock:
            self.ground.admit(_CHANGE_BLOCKS)
            inode = self.inodes.get(ino)
            self.extended.set(inode, name, content, flags)
            inode.ctime_ns = self.ground.now()
            self.inodes.touch(inode)

    def remove_xattr(self, ino: int, name: bytes) -> None:
        """Remove an extended attribute."""
        with self.lock:
            self.ground.admit(0)
            inode = self.inodes.get(ino)
            self.extended.remove(inode, name)
            inode.ctime_ns = self.ground.now()
            self.inodes.touch(inode)

    def xattrs(self, ino: int) -> list[bytes]:
        """Return the names of the extended attributes."""
        with self.lock:
            return self.extended.names(self.inodes.get(ino))

    def sync(self, ino: int) -> None:
        """Commit: everything before is durable and anchored, whatever inode was named."""
        with self.lock:
            self.inodes.get(ino)
            self.ground.make_durable()

    def space(self) -> tuple[int, int, int, int, int]:
        """Return statfs in blocks of 4096 bytes."""
        with self.lock:
            free = self.ground.room()
            inodes = self.ground.inodes
            return self.ground.used() + free, free, free, inodes + free, free

    def flush_content(self) -> None:
        """Seal what was written, without a commit."""
        for inode in self.inodes.dirty():
            if inode.chunks:
                self.content.flush(inode)
        if self.inodes.crowded():
            self.inodes.flush()

    def flush(self) -> None:
        """Put everything that is kept in memory into the tree."""
        self.flush_content()
        self.inodes.flush()


def _apply(inode: Inode, changes: Changes) -> None:
    if changes.mode is not None:
        inode.mode = S_IFMT(inode.mode) | (changes.mode & 0o7777)
    if changes.uid is not None:
        inode.uid = changes.uid
    if changes.gid is not None:
        inode.gid = changes.gid
    if changes.atime_ns is not None:
        inode.atime_ns = changes.atime_ns
    if changes.mtime_ns is not None:
        inode.mtime_ns = changes.mtime_ns
    if changes.ctime_ns is not None:
        inode.ctime_ns = changes.ctime_ns


def _verify_new(mode: int, target: bytes) -> None:
    if not is_kind(mode):
        raise refuse(errno.EINVAL)
    if S_IFMT(mode) == S_IFLNK and not 0 < len(target) <= layout.MAX_TARGET:
        raise refuse(errno.ENAMETOOLONG if target else errno.ENOENT)

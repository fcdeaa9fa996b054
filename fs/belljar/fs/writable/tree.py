"""The seam between the store of a writable file system and the server that shows it to a kernel.

Above it stands the FUSE server (`server.py`), which knows the kernel's protocol and no format; below it the encrypted
volume (`belljar.fs.volume`), which knows its format and no kernel. Everything is said in inode numbers and errnos: a
store raises `OSError` with the errno that Linux documents for the system call, and `VolumeCorrupt` for stored
bytes that are not what was written. Calls may come from several threads; a store does its own locking.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol
else:
    Protocol = object

ROOT_INO = 1


class Attributes:
    """What `stat` shows of an inode. Times are nanoseconds since the epoch, `blocks` counts 512 bytes as Linux does.

    A plain class with slots: it is made at every lookup, and a frozen dataclass costs four times as much.
    """

    __slots__ = ("atime_ns", "blocks", "ctime_ns", "gid", "ino", "mode", "mtime_ns", "nlink", "rdev", "size", "uid")

    def __init__(  # noqa: PLR0913 - the fields of struct stat
        self,
        ino: int,
        mode: int,
        nlink: int,
        uid: int,
        gid: int,
        rdev: int,
        size: int,
        blocks: int,
        atime_ns: int,
        mtime_ns: int,
        ctime_ns: int,
    ) -> None:
        self.ino = ino
        self.mode = mode
        self.nlink = nlink
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.size = size
        self.blocks = blocks
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns
        self.ctime_ns = ctime_ns


class Changes:
    """What `set_attributes` shall change; None leaves a field as it is. `mode` holds permission bits only."""

    __slots__ = ("atime_ns", "ctime_ns", "gid", "mode", "mtime_ns", "size", "uid")

    def __init__(  # noqa: PLR0913 - the fields setattr may change
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
        ctime_ns: int | None = None,
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns
        self.ctime_ns = ctime_ns


class WritableTree(Protocol):
    """A writable file system, by inode number. Root is inode 1; numbers are never used twice."""

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Return what a directory calls `name`. Raises ENOENT, ENOTDIR."""

    def attributes(self, ino: int) -> Attributes:
        """Return the attributes of an inode. Raises ENOENT for one that is gone."""

    def set_attributes(self, ino: int, changes: Changes) -> Attributes:
        """Change attributes; `size` cuts or extends a regular file. Raises EFBIG, ENOSPC, EDQUOT, EISDIR, EINVAL."""

    def make(  # noqa: PLR0913 - what mknod, mkdir and symlink take
        self, parent: int, name: bytes, mode: int, uid: int, gid: int, *, rdev: int = 0, target: bytes = b""
    ) -> Attributes:
        """Make what S_IFMT(mode) says: regular file, directory, fifo, socket, device node or symlink.

        Raises EEXIST, ENOENT, ENOTDIR, ENOSPC, EDQUOT, ENAMETOOLONG.
        """

    def make_unnamed(self, mode: int, uid: int, gid: int) -> Attributes:
        """Make a file without a name (O_TMPFILE): nlink 0 until it is linked."""

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        """Give an inode another name. Raises EMLINK, EEXIST, EPERM for directories."""

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name; the inode lives until `forget`. Raises ENOENT, EISDIR."""

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory. Raises ENOENT, ENOTDIR, ENOTEMPTY."""

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """Rename with RENAME_NOREPLACE or RENAME_EXCHANGE; EINVAL for RENAME_WHITEOUT and for a loop."""

    def forget(self, ino: int) -> None:
        """Say that the kernel knows an inode no more: one without names is deleted with its content."""

    def target(self, ino: int) -> bytes:
        """Return where a symlink points. Raises EINVAL."""

    def entries(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield (cookie, name, ino, mode) of what is in a directory, with cookies greater than `after`.

        Cookies are positive, stable and of 63 bits; "." and ".." are never among the names. Changes meanwhile do no
        harm: what is neither made nor removed is yielded exactly once.
        """

    def parent(self, ino: int) -> int:
        """Return the directory that holds a directory; the root holds itself."""

    def read(self, ino: int, offset: int, size: int) -> bytes:
        """Return content, shorter at the end of the file."""

    def write(self, ino: int, offset: int, content: bytes | memoryview) -> int:
        """Write the whole content and return its length. Raises ENOSPC, EDQUOT, EFBIG and then has written nothing."""

    def allocate(self, ino: int, offset: int, length: int, mode: int) -> None:
        """Do fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE with or without KEEP_SIZE; else EOPNOTSUPP."""

    def seek(self, ino: int, offset: int, whence: int) -> int:
        """Return the next data (SEEK_DATA) or hole (SEEK_HOLE) at or after an offset. Raises ENXIO."""

    def copy_range(self, ino: int, offset: int, to_ino: int, to_offset: int, length: int) -> int:
        """Copy content between files, or within one where the ranges do not meet (EINVAL); return the bytes copied."""

    def xattr(self, ino: int, name: bytes) -> bytes:
        """Return an extended attribute. Raises ENODATA."""

    def set_xattr(self, ino: int, name: bytes, content: bytes, flags: int) -> None:
        """Set an extended attribute, with XATTR_CREATE or XATTR_REPLACE. Raises E2BIG, ENOSPC, EEXIST, ENODATA."""

    def remove_xattr(self, ino: int, name: bytes) -> None:
        """Remove an extended attribute. Raises ENODATA."""

    def xattrs(self, ino: int) -> list[bytes]:
        """Return the names of the extended attributes."""

    def sync(self, ino: int) -> None:
        """Make durable, and anchor, everything that was written before: fsync, fsyncdir and syncfs alike."""

    def space(self) -> tuple[int, int, int, int, int]:
        """Return statfs in blocks of 4096 bytes: blocks, free, available, inodes, free inodes."""

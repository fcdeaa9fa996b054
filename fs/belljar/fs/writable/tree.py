"""The seam between the store of a writable file system and the server that shows it to a kernel.

Above it stands the FUSE server (`server.py`), which knows the kernel's protocol and no format; below it the encrypted
volume (`belljar.fs.volume`), which knows its format and no kernel. Everything is said in inode numbers and errnos: a
store raises `OSError` with the errno that Linux documents for the system call, and `IntegrityViolation` or
`VolumeCorrupt` for stored bytes that are not what was written. Calls may come from several threads; a store does its
own locking.

Who owns the times (docs/decisions/0014-writable-fuse.md):

* The kernel owns mtime and ctime of regular files (FUSE_WRITEBACK_CACHE) and tells them by `set_attributes`. So
  `write`, `allocate`, `copy_range` and a change of size touch no time, and `set_attributes` changes what it is given,
  no more.
* The store owns all others: `make`, `link`, `unlink`, `rmdir`, `rename` set mtime and ctime of directories they change,
  and ctime of the inode that gains or loses a name; `set_xattr` and `remove_xattr` set ctime. It takes them from
  `clock.py`, as the kernel does: a finer clock would make new files younger than what is written next.
* Nobody sets atime on reading: a volume behaves as if mounted with noatime.

What the kernel remembers, for ever: names, also missing ones, attributes, link targets and content. So a tree must not
change but through the server while it is mounted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

ROOT_INO = 1
NAME_MAX = 255  # bytes of a name; the server refuses longer ones
MAX_COOKIE = (1 << 63) - 3  # of `entries`: the server puts "." and ".." before them

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
FALLOC_FL_ZERO_RANGE = 16


class Attributes:
    """What `stat` shows of an inode.

    Attributes:
        ino: inode number, also the kernel's node id.
        mode: file type and permission bits.
        nlink: names; for a directory 2 and one for each directory in it.
        uid: owner, as the guest sees it.
        gid: group, as the guest sees it.
        rdev: device number of a device node in Linux's 32-bit encoding (new_encode_dev), else 0.
        size: bytes.
        blocks: what the content takes, in units of 512 bytes as Linux counts.
        atime_ns: nanoseconds since the epoch; may be negative.
        mtime_ns: as atime_ns.
        ctime_ns: as atime_ns.
    """

    __slots__ = ("atime_ns", "blocks", "ctime_ns", "gid", "ino", "mode", "mtime_ns", "nlink", "rdev", "size", "uid")

    def __init__(  # noqa: PLR0913, PLR0917 - one per field of the kernel's structure; made at every lookup
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
    """What `set_attributes` shall change; None leaves a field as it is.

    Attributes:
        mode: permission bits only, 0o7777.
        uid: new owner.
        gid: new group.
        size: bytes of a regular file; what is new reads as zeros.
        atime_ns: nanoseconds since the epoch; may be negative.
        mtime_ns: as atime_ns.
        ctime_ns: as atime_ns.
    """

    __slots__ = ("atime_ns", "ctime_ns", "gid", "mode", "mtime_ns", "size", "uid")

    def __init__(  # noqa: PLR0913 - one per field that can change
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


if TYPE_CHECKING:  # `typing` would cost its import

    class WritableTree(Protocol):
        """A store of inodes, directories and content."""

        def lookup(self, parent: int, name: bytes) -> Attributes:
            """Return what `name` in a directory is (ENOENT, ENOTDIR)."""
            ...

        def attributes(self, ino: int) -> Attributes:
            """Return an inode's attributes (ENOENT); also of one without names that the kernel still knows."""
            ...

        def set_attributes(self, ino: int, changes: Changes) -> Attributes:
            """Change attributes and return them all (EFBIG, ENOSPC, EDQUOT; EINVAL to resize what is no file)."""
            ...

        def make(  # noqa: PLR0913 - what mknod(2), mkdir(2) and symlink(2) are given, and by whom
            self, parent: int, name: bytes, mode: int, uid: int, gid: int, *, rdev: int = 0, target: bytes = b""
        ) -> Attributes:
            """Make a regular file, directory, fifo, socket, device node or symlink, by the type in `mode`.

            Owner, mode and group are taken as given; the server has looked at umask and setgid. A directory without
            names that is still open takes nothing (ENOENT). (EEXIST, ENOTDIR, ENOSPC, EDQUOT, EMLINK.)
            """
            ...

        def make_unnamed(self, mode: int, uid: int, gid: int) -> Attributes:
            """Make a regular file without a name (O_TMPFILE): nlink 0 until it is linked (ENOSPC, EDQUOT)."""
            ...

        def link(self, ino: int, parent: int, name: bytes) -> Attributes:
            """Give an inode one more name (EMLINK, EEXIST; EPERM for directories)."""
            ...

        def unlink(self, parent: int, name: bytes) -> None:
            """Take a name from what is no directory (ENOENT, EISDIR). The inode lives on until `forget`."""
            ...

        def rmdir(self, parent: int, name: bytes) -> None:
            """Take the name of an empty directory (ENOENT, ENOTDIR, ENOTEMPTY). It lives on until `forget`."""
            ...

        def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
            """Rename as renameat2(2): 0, RENAME_NOREPLACE or RENAME_EXCHANGE.

            What is replaced loses this name as by `unlink` or `rmdir`. (ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY,
            ENOSPC; EINVAL for other flags and for a directory that would move into itself.)
            """
            ...

        def forget(self, ino: int) -> None:
            """The kernel knows an inode no more: one without names is deleted with its content.

            Inodes of a crash that nobody forgot are deleted at the next mount.
            """
            ...

        def target(self, ino: int) -> bytes:
            """Return where a symlink points (EINVAL if it is none)."""
            ...

        def entries(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
            """Yield (cookie, name, ino, mode) of a directory's entries, by rising cookie, those greater than `after`.

            A cookie (1 to MAX_COOKIE) stays that of its entry as long as the entry lives: who continues behind one sees
            every entry once that was there all the time, whatever was added or removed meanwhile. "." and ".." are not
            among them. The iterator is dropped before any other call; finding `after` must not take a walk.
            """
            ...

        def parent(self, ino: int) -> int:
            """Return the directory that a directory lies in; the root lies in itself."""
            ...

        def read(self, ino: int, offset: int, size: int) -> bytes | bytearray:
            """Return content, short only at the end of the file; holes read as zeros (EISDIR, EIO)."""
            ...

        def write(self, ino: int, offset: int, content: bytes | memoryview) -> int:
            """Write all of `content`, and return its length (ENOSPC, EDQUOT, EFBIG: then nothing of it need be there).

            `content` is the server's buffer: it must not be kept beyond the call.
            """
            ...

        def allocate(self, ino: int, offset: int, length: int, mode: int) -> None:
            """Allocate, punch or zero as fallocate(2); EOPNOTSUPP for modes not named here.

            Args:
                ino: a regular file.
                offset: first byte.
                length: bytes, more than 0.
                mode: 0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE or ZERO_RANGE | KEEP_SIZE.
            """
            ...

        def seek(self, ino: int, offset: int, whence: int) -> int:
            """Return the next data or hole as lseek(2): SEEK_DATA, SEEK_HOLE (ENXIO at or behind the end)."""
            ...

        def copy_range(self, ino: int, offset: int, to_ino: int, to_offset: int, length: int) -> int:
            """Copy content as copy_file_range(2), and return how much: less only at the end of the source.

            Both may be the same file; the ranges do not overlap then.
            """
            ...

        def xattr(self, ino: int, name: bytes) -> bytes:
            """Return an extended attribute (ENODATA)."""
            ...

        def set_xattr(self, ino: int, name: bytes, content: bytes, flags: int) -> None:
            """Set an extended attribute; XATTR_CREATE (EEXIST), XATTR_REPLACE (ENODATA); E2BIG, ENOSPC, EDQUOT."""
            ...

        def remove_xattr(self, ino: int, name: bytes) -> None:
            """Remove an extended attribute (ENODATA)."""
            ...

        def xattrs(self, ino: int) -> list[bytes]:
            """Return the names of the extended attributes."""
            ...

        def sync(self, ino: int) -> None:
            """Return when everything written before is durable, and anchored; also for FSYNCDIR and SYNCFS."""
            ...

        def space(self) -> tuple[int, int, int, int, int]:
            """Return what statfs(2) shows, in blocks of 4096 bytes: blocks, free, available, inodes, free inodes."""
            ...

"""The wire of /dev/fuse: numbers and layouts, as in the kernel's include/uapi/linux/fuse.h.

Pure: bytes in, bytes out; no I/O. Protocol 7.31 (Linux 5.4) is the oldest spoken, 7.38 the newest; a newer kernel
answers to 7.38. All integers are in the machine's own byte order, which is little endian on every machine we run on.
"""

from __future__ import annotations

from struct import Struct

MAJOR = 7
OLDEST_MINOR = 31
NEWEST_MINOR = 38

ROOT_ID = 1

# enum fuse_opcode
LOOKUP = 1
FORGET = 2
GETATTR = 3
SETATTR = 4
READLINK = 5
SYMLINK = 6
MKNOD = 8
MKDIR = 9
UNLINK = 10
RMDIR = 11
RENAME = 12
LINK = 13
OPEN = 14
READ = 15
WRITE = 16
STATFS = 17
RELEASE = 18
FSYNC = 20
SETXATTR = 21
GETXATTR = 22
LISTXATTR = 23
REMOVEXATTR = 24
FLUSH = 25
INIT = 26
OPENDIR = 27
READDIR = 28
RELEASEDIR = 29
FSYNCDIR = 30
ACCESS = 34
CREATE = 35
INTERRUPT = 36
DESTROY = 38
IOCTL = 39
BATCH_FORGET = 42
FALLOCATE = 43
READDIRPLUS = 44
RENAME2 = 45
LSEEK = 46
COPY_FILE_RANGE = 47
SYNCFS = 50
TMPFILE = 51

# enum fuse_notify_code
NOTIFY_INVAL_INODE = 2
NOTIFY_STORE = 4

# flags of FUSE_INIT
ASYNC_READ = 1 << 0
POSIX_LOCKS = 1 << 1
ATOMIC_O_TRUNC = 1 << 3
BIG_WRITES = 1 << 5
FLOCK_LOCKS = 1 << 10
DO_READDIRPLUS = 1 << 13
READDIRPLUS_AUTO = 1 << 14
ASYNC_DIO = 1 << 15
WRITEBACK_CACHE = 1 << 16
NO_OPEN_SUPPORT = 1 << 17
PARALLEL_DIROPS = 1 << 18
POSIX_ACL = 1 << 20
ABORT_ERROR = 1 << 21
MAX_PAGES = 1 << 22
CACHE_SYMLINKS = 1 << 23
NO_OPENDIR_SUPPORT = 1 << 24
HANDLE_KILLPRIV_V2 = 1 << 28

# flags of an open reply
FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FOPEN_NONSEEKABLE = 1 << 2

MIN_READ_BUFFER = 8192  # FUSE_MIN_READ_BUFFER: a smaller read(2) of /dev/fuse is refused with EINVAL
PAGE = 4096

FOREVER_S = (1 << 63) - 1  # a timeout the kernel clamps to "never expires"

IN_HEADER = Struct("<IIQQIIIHH")  # len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding
BODY = IN_HEADER.size  # where the opcode's own structure starts in a request
OUT_HEADER = Struct("<IiQ")  # len, error, unique
INIT_IN = Struct("<IIII")  # major, minor, max_readahead, flags (flags2 and spares follow)
INIT_OUT = Struct("<IIIIHHIIHHI28x")  # … max_background congestion max_write time_gran max_pages map_align flags2
READ_IN = Struct("<QQII")  # fh, offset, size, read_flags (lock_owner, flags, padding follow)
RELEASE_IN = Struct("<QIIQ")  # fh, flags, release_flags, lock_owner
OPEN_OUT = Struct("<QIi")  # fh, open_flags, backing_id
ATTR = Struct("<QQQQQQ10I")  # ino size blocks a/m/ctime | a/m/ctimensec mode nlink uid gid rdev blksize flags
ENTRY_HEAD = Struct("<QQQQII")  # nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
ATTR_HEAD = Struct("<QII")  # attr_valid, attr_valid_nsec, dummy
DIRENT = Struct("<QQII")  # ino, off, namelen, type (name follows, padded to 8 bytes)
DIRENTPLUS = Struct("<QQQQII QQQQQQ10I QQII")  # ENTRY_HEAD, ATTR and DIRENT in one (no padding between them)
STATFS_OUT = Struct("<QQQQQIIII24x")  # blocks bfree bavail files ffree bsize namelen frsize padding spare[6]
NOTIFY_STORE_OUT = Struct("<QQII")  # nodeid, offset, size, padding

_NANOSECONDS = 1_000_000_000
_NAME_MAX = 255

NEGATIVE_ENTRY = ENTRY_HEAD.pack(0, 0, FOREVER_S, 0, 0, 0) + bytes(ATTR.size)
"""Reply to a LOOKUP that found nothing, which the kernel may remember: nodeid 0 with a timeout."""


NO_ENTRY = bytes(ENTRY_HEAD.size + ATTR.size)
"""Head of a READDIRPLUS entry that introduces no name."""


def attributes(node: int, mode: int, size: int, mtime_ns: int, nlink: int = 1) -> bytes:
    """Pack `struct fuse_attr` (88 bytes) of a node that belongs to user and group 0.

    Args:
        node: node id, also shown as the inode number.
        mode: file type and permission bits.
        size: bytes.
        mtime_ns: modification time, nanoseconds since the epoch; also shown as access and change time.
        nlink: number of names.
    """
    seconds, nanoseconds = divmod(mtime_ns, _NANOSECONDS)
    seconds &= 0xFFFFFFFFFFFFFFFF  # times before 1970 travel as two's complement
    blocks = (size + 511) >> 9
    return ATTR.pack(
        node, size, blocks, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        mode, nlink, 0, 0, 0, PAGE, 0,
    )  # fmt: skip


def entry(node: int, attr: bytes) -> bytes:
    """Pack `struct fuse_entry_out` (128 bytes) that never expires: nobody but us changes our trees."""
    return ENTRY_HEAD.pack(node, 0, FOREVER_S, FOREVER_S, 0, 0) + attr


def attr_reply(attr: bytes) -> bytes:
    """Pack `struct fuse_attr_out` (104 bytes) that never expires."""
    return ATTR_HEAD.pack(FOREVER_S, 0, 0) + attr


def dirent(node: int, next_offset: int, name: bytes, mode: int) -> bytes:
    """Pack `struct fuse_dirent`, padded to a multiple of 8 bytes.

    Args:
        node: inode number to show.
        next_offset: the offset that a later READDIR gives to continue behind this entry.
        name: the entry's name.
        mode: `st_mode`, of which the type is shown.
    """
    return DIRENT.pack(node, next_offset, len(name), mode >> 12 & 0xF) + name + bytes(-len(name) % 8)


def direntplus(next_offset: int, name: bytes, shown: tuple[int, int, int, int, int]) -> bytes:
    """Pack `struct fuse_direntplus`: the entry and its attributes in one go, since listings have many.

    Args:
        next_offset: as for `dirent`.
        name: the entry's name.
        shown: arguments of `attributes`.
    """
    node, mode, size, mtime_ns, nlink = shown
    seconds, nanoseconds = divmod(mtime_ns, _NANOSECONDS)
    seconds &= 0xFFFFFFFFFFFFFFFF
    return (
        DIRENTPLUS.pack(
            node, 0, FOREVER_S, FOREVER_S, 0, 0,
            node, size, (size + 511) >> 9, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
            mode, nlink, 0, 0, 0, PAGE, 0,
            node, next_offset, len(name), mode >> 12 & 0xF,
        )
        + name
        + bytes(-len(name) % 8)
    )  # fmt: skip


def statfs(files: int, size_bytes: int = 0) -> bytes:
    """Pack `struct fuse_statfs_out` of a full, read-only file system with so many files and bytes."""
    return STATFS_OUT.pack(-(-size_bytes // PAGE), 0, 0, files, 0, PAGE, _NAME_MAX, PAGE, 0)


def reply(unique: int, payload: bytes = b"", error: int = 0) -> bytes:
    """Pack a whole reply; `error` is a positive errno, 0 for success."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(payload), -error, unique) + payload


def notify_store(node: int, offset: int, content: bytes) -> bytes:
    """Pack a notification that puts `content` into the kernel's page cache of `node` at `offset`."""
    body = NOTIFY_STORE_OUT.pack(node, offset, len(content), 0)
    return OUT_HEADER.pack(OUT_HEADER.size + len(body) + len(content), NOTIFY_STORE, 0) + body + content


def request_name(request: bytes) -> bytes:
    """Return the name that a LOOKUP carries, without its NUL."""
    return request[BODY : request.index(0, BODY)]

"""The part of the /dev/fuse wire that only a writable file system needs, as in include/uapi/linux/fuse.h.

Pure: bytes in, bytes out; no I/O. `protocol.py` has the numbers and what every file system needs. Every reply is
packed in one go, because most requests of a writable tree end in attributes.
"""

from __future__ import annotations

from struct import Struct

from .protocol import BODY, FOREVER_S, NOTIFY_INVAL_INODE, OUT_HEADER, PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.writable.tree import Attributes

# fuse_setattr_in.valid
FATTR_MODE = 1 << 0
FATTR_UID = 1 << 1
FATTR_GID = 1 << 2
FATTR_SIZE = 1 << 3
FATTR_ATIME = 1 << 4
FATTR_MTIME = 1 << 5
FATTR_ATIME_NOW = 1 << 7
FATTR_MTIME_NOW = 1 << 8
FATTR_CTIME = 1 << 10
FATTR_KILL_SUIDGID = 1 << 11

WRITE_KILL_SUIDGID = 1 << 2  # fuse_write_in.write_flags

FORGET_IN = Struct("<Q")  # nlookup
BATCH_FORGET_IN = Struct("<II")  # count, dummy; count times FORGET_ONE follow
FORGET_ONE = Struct("<QQ")  # nodeid, nlookup
SETATTR_IN = Struct("<I4xQQQqqq8I")  # valid fh size lock_owner a/m/ctime a/m/ctimensec mode unused uid gid unused
MKNOD_IN = Struct("<IIII")  # mode, rdev, umask, padding (name follows)
MKDIR_IN = Struct("<II")  # mode, umask (name follows)
RENAME_IN = Struct("<Q")  # newdir (both names follow)
RENAME2_IN = Struct("<QI4x")  # newdir, flags (both names follow)
LINK_IN = Struct("<Q")  # oldnodeid (name follows)
CREATE_IN = Struct("<IIII")  # flags, mode, umask, open_flags (name follows): also of TMPFILE
WRITE_IN = Struct("<QQIIQI4x")  # fh, offset, size, write_flags, lock_owner, flags (content follows)
WRITE_OUT = Struct("<I4x")  # size: also of COPY_FILE_RANGE
SETXATTR_IN = Struct("<II")  # size, flags (name and value follow); the short form, without SETXATTR_EXT
GETXATTR_IN = Struct("<I4x")  # size: also of LISTXATTR
GETXATTR_OUT = Struct("<I4x")  # size
FALLOCATE_IN = Struct("<QQQI4x")  # fh, offset, length, mode
LSEEK_IN = Struct("<QqI4x")  # fh, offset, whence
LSEEK_OUT = Struct("<Q")  # offset
COPY_FILE_RANGE_IN = Struct("<QQQQQQQ")  # fh_in, off_in, nodeid_out, fh_out, off_out, len, flags
NOTIFY_INVAL_INODE_OUT = Struct("<Qqq")  # ino, off, len

CONTENT = BODY + WRITE_IN.size  # where the content of a WRITE starts in its request

_ATTR = "QQQqqqIIIIIIIIII"  # ino size blocks a/m/ctime | a/m/ctimensec mode nlink uid gid rdev blksize flags
ENTRY_OUT = Struct("<QQQQII" + _ATTR)  # nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
ATTR_OUT = Struct("<QII" + _ATTR)  # attr_valid, attr_valid_nsec, dummy
DIRENTPLUS_OUT = Struct("<QQQQII" + _ATTR + "QQII")  # fuse_entry_out; then ino, off, namelen, type (name follows)

_NANOSECONDS = 1_000_000_000


def _shown(of: Attributes) -> tuple[int, ...]:
    """Return the fields of `struct fuse_attr`."""
    atime_s, atime_ns = divmod(of.atime_ns, _NANOSECONDS)
    mtime_s, mtime_ns = divmod(of.mtime_ns, _NANOSECONDS)
    ctime_s, ctime_ns = divmod(of.ctime_ns, _NANOSECONDS)
    return (
        of.ino, of.size, of.blocks, atime_s, mtime_s, ctime_s, atime_ns, mtime_ns, ctime_ns,
        of.mode, of.nlink, of.uid, of.gid, of.rdev, PAGE, 0,
    )  # fmt: skip


def entry_reply(of: Attributes) -> bytes:
    """Pack `struct fuse_entry_out` (128 bytes) that never expires."""
    return ENTRY_OUT.pack(of.ino, 0, FOREVER_S, FOREVER_S, 0, 0, *_shown(of))


def attributes_reply(of: Attributes) -> bytes:
    """Pack `struct fuse_attr_out` (104 bytes) that never expires."""
    return ATTR_OUT.pack(FOREVER_S, 0, 0, *_shown(of))


def direntplus(of: Attributes, next_offset: int, name: bytes) -> bytes:
    """Pack `struct fuse_direntplus`: a directory entry and what LOOKUP would have answered."""
    length = len(name)
    head = DIRENTPLUS_OUT.pack(
        of.ino, 0, FOREVER_S, FOREVER_S, 0, 0, *_shown(of),
        of.ino, next_offset, length, of.mode >> 12 & 0xF,
    )  # fmt: skip
    return head + name + bytes(-length % 8)


def request_names(request: bytes, start: int) -> tuple[bytes, bytes]:
    """Return two strings, each ended by NUL, that lie one after the other from `start` on."""
    middle = request.index(0, start)
    return request[start:middle], request[middle + 1 : request.index(0, middle + 1)]


def request_name(request: bytes, start: int) -> bytes:
    """Return the string ended by NUL that lies at `start`."""
    return request[start : request.index(0, start)]


def notify_inval_inode(node: int, offset: int) -> bytes:
    """Pack a notification after which the kernel has written back and dropped its pages of `node` from `offset` on."""
    body = NOTIFY_INVAL_INODE_OUT.pack(node, offset, 0)
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), NOTIFY_INVAL_INODE, 0) + body

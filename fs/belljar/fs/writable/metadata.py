"""Operations on what is known of an inode: attributes, extended attributes, and the space of the whole.

The kernel has checked permissions (default_permissions) and keeps the times of regular files; what it leaves to us
is clearing setuid and setgid bits (HANDLE_KILLPRIV_V2) and the times of everything else. Extended attributes
are those that tmpfs has: user, security and trusted, for which the kernel asks its own capabilities; no ACLs.
"""

from __future__ import annotations

from errno import EINVAL, EOPNOTSUPP, ERANGE
from stat import S_ISDIR, S_ISGID, S_ISUID, S_IXGRP

from belljar.fs.fuse import protocol, writing

from .clock import kernel_time_ns
from .tree import NAME_MAX, Changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.fuse.session import Operation

    from .tree import WritableTree

_NANOSECONDS = 1_000_000_000
_PERMISSIONS = 0o7777
_XATTRS = (b"user.", b"security.", b"trusted.")
_HIDDEN = b"trusted."  # shown to nobody in a user namespace


class Metadata:
    """The operations on attributes of one tree.

    Args:
        tree: what is shown.
        now_ns: the clock.
    """

    def __init__(self, tree: WritableTree, now_ns: Callable[[], int] = kernel_time_ns) -> None:
        self._tree = tree
        self._now_ns = now_ns

    def table(self) -> dict[int, Operation]:
        """Return what answers which opcode."""
        return {
            protocol.GETATTR: self._getattr,
            protocol.SETATTR: self._setattr,
            protocol.STATFS: self._statfs,
            protocol.SETXATTR: self._setxattr,
            protocol.GETXATTR: self._getxattr,
            protocol.LISTXATTR: self._listxattr,
            protocol.REMOVEXATTR: self._removexattr,
        }

    def drop_privileges(self, ino: int) -> None:
        """Clear setuid and setgid of a file that is written to."""
        mode = self._without_privileges(ino)
        if mode is not None:
            self._tree.set_attributes(ino, Changes(mode=mode, ctime_ns=self._now_ns()))

    def _without_privileges(self, ino: int) -> int | None:
        """Return the mode without setuid, and without setgid if the group may execute; None if it has neither."""
        mode = self._tree.attributes(ino).mode
        if S_ISDIR(mode) or not mode & (S_ISUID | S_ISGID):
            return None
        kept = mode & _PERMISSIONS & ~S_ISUID
        return kept & ~S_ISGID if mode & S_IXGRP else kept

    def _getattr(self, node: int, _request: bytes) -> bytes:
        return writing.attributes_reply(self._tree.attributes(node))

    def _setattr(self, node: int, request: bytes) -> bytes:
        (
            valid, _, size, _, atime_s, mtime_s, ctime_s, atime_ns, mtime_ns, ctime_ns, mode, _, uid, gid, _,
        ) = writing.SETATTR_IN.unpack_from(request, protocol.BODY)  # fmt: skip
        now = self._now_ns()
        changes = Changes(
            mode=mode & _PERMISSIONS if valid & writing.FATTR_MODE else None,
            uid=uid if valid & writing.FATTR_UID else None,
            gid=gid if valid & writing.FATTR_GID else None,
            size=size if valid & writing.FATTR_SIZE else None,
            ctime_ns=ctime_s * _NANOSECONDS + ctime_ns if valid & writing.FATTR_CTIME else now,
        )
        if valid & writing.FATTR_ATIME:
            changes.atime_ns = now if valid & writing.FATTR_ATIME_NOW else atime_s * _NANOSECONDS + atime_ns
        if valid & writing.FATTR_MTIME:
            changes.mtime_ns = now if valid & writing.FATTR_MTIME_NOW else mtime_s * _NANOSECONDS + mtime_ns
        if valid & _DROPS_PRIVILEGES and not valid & writing.FATTR_MODE:
            changes.mode = self._without_privileges(node)
        return writing.attributes_reply(self._tree.set_attributes(node, changes))

    def _statfs(self, _node: int, _request: bytes) -> bytes:
        return protocol.STATFS_OUT.pack(*self._tree.space(), protocol.PAGE, NAME_MAX, protocol.PAGE, 0)

    def _setxattr(self, node: int, request: bytes) -> bytes:
        size, flags = writing.SETXATTR_IN.unpack_from(request, protocol.BODY)
        name = _xattr_name(request, writing.SETXATTR_IN.size)
        start = protocol.BODY + writing.SETXATTR_IN.size + len(name) + 1
        self._tree.set_xattr(node, name, request[start : start + size], flags)
        return b""

    def _getxattr(self, node: int, request: bytes) -> bytes:
        (room,) = writing.GETXATTR_IN.unpack_from(request, protocol.BODY)
        return _fitting(self._tree.xattr(node, _xattr_name(request, writing.GETXATTR_IN.size)), room)

    def _listxattr(self, node: int, request: bytes) -> bytes:
        (room,) = writing.GETXATTR_IN.unpack_from(request, protocol.BODY)
        names = [name + b"\0" for name in self._tree.xattrs(node) if not name.startswith(_HIDDEN)]
        return _fitting(b"".join(names), room)

    def _removexattr(self, node: int, request: bytes) -> bytes:
        self._tree.remove_xattr(node, _xattr_name(request, 0))
        return b""


_DROPS_PRIVILEGES = writing.FATTR_UID | writing.FATTR_GID | writing.FATTR_KILL_SUIDGID


def _xattr_name(request: bytes, size: int) -> bytes:
    name = writing.request_name(request, protocol.BODY + size)
    if not name.startswith(_XATTRS):
        raise OSError(EOPNOTSUPP, "no such kind of extended attribute")
    if name in _XATTRS:
        raise OSError(EINVAL, "no name after the dot")
    return name


def _fitting(content: bytes, room: int) -> bytes:
    """Return what getxattr(2) and listxattr(2) are answered: the length if they ask for it by offering no room."""
    if not room:
        return writing.GETXATTR_OUT.pack(len(content))
    if len(content) > room:
        raise OSError(ERANGE, "longer than the caller's buffer")
    return content

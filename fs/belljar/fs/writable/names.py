"""Operations on names: look up, make, link, remove, rename, list.

In come requests, out go entries. Owner and mode of what is made are decided here as Linux does: the kernel has applied
the umask and cleared a setgid bit its caller may not set; the group and the bit that a setgid directory hands down are
left to the file system. OPEN, CREATE and OPENDIR are left to ENOSYS, after which the kernel opens without asking and
makes files by MKNOD: one request instead of three.
"""

from __future__ import annotations

from errno import ENAMETOOLONG
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISDIR, S_ISGID
from struct import Struct

from belljar.fs.fuse import protocol, writing

from .tree import NAME_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.fuse.session import Operation

    from .known import Known
    from .tree import WritableTree

_CALLER = Struct("<II")  # uid, gid in fuse_in_header
_CALLER_AT = 24
_LINK_MODE = S_IFLNK | 0o777
_PERMISSIONS = 0o7777
_DOTS = 2  # "." and ".." come first in every listing: an entry's offset is its cookie and this
_OPEN_OUT = protocol.OPEN_OUT.pack(0, protocol.FOPEN_KEEP_CACHE, 0)


class Names:
    """The operations on names of one tree.

    Args:
        tree: what is shown.
        known: counts what the kernel is told of.
    """

    def __init__(self, tree: WritableTree, known: Known) -> None:
        self._tree = tree
        self._known = known

    def table(self) -> dict[int, Operation]:
        """Return what answers which opcode."""
        return {
            protocol.LOOKUP: self._lookup,
            protocol.MKNOD: self._mknod,
            protocol.MKDIR: self._mkdir,
            protocol.SYMLINK: self._symlink,
            protocol.TMPFILE: self._tmpfile,
            protocol.LINK: self._link,
            protocol.UNLINK: self._unlink,
            protocol.RMDIR: self._rmdir,
            protocol.RENAME: self._rename,
            protocol.RENAME2: self._rename2,
            protocol.READLINK: lambda node, _request: self._tree.target(node),
            protocol.READDIR: self._readdir,
            protocol.READDIRPLUS: self._readdirplus,
            protocol.RELEASE: lambda _node, _request: b"",  # of TMPFILE only
        }

    def _lookup(self, node: int, request: bytes) -> bytes:
        name = request[protocol.BODY : -1]
        if len(name) > NAME_MAX:
            raise OSError(ENAMETOOLONG, "name too long")
        try:
            found = self._tree.lookup(node, name)
        except FileNotFoundError:
            return protocol.NEGATIVE_ENTRY
        return self._known.introduce(found)

    def _mknod(self, node: int, request: bytes) -> bytes:
        mode, rdev, *_ = writing.MKNOD_IN.unpack_from(request, protocol.BODY)
        name = _name(request, writing.MKNOD_IN.size)
        if not S_IFMT(mode):
            mode |= S_IFREG
        uid, gid, mode = self._owned(node, mode, request)
        return self._known.introduce(self._tree.make(node, name, mode, uid, gid, rdev=rdev))

    def _mkdir(self, node: int, request: bytes) -> bytes:
        mode, _ = writing.MKDIR_IN.unpack_from(request, protocol.BODY)
        name = _name(request, writing.MKDIR_IN.size)
        uid, gid, mode = self._owned(node, S_IFDIR | mode & _PERMISSIONS, request)
        return self._known.introduce(self._tree.make(node, name, mode, uid, gid))

    def _symlink(self, node: int, request: bytes) -> bytes:
        name, target = writing.request_names(request, protocol.BODY)
        _checked(name)
        uid, gid, mode = self._owned(node, _LINK_MODE, request)
        return self._known.introduce(self._tree.make(node, name, mode, uid, gid, target=target))

    def _tmpfile(self, node: int, request: bytes) -> bytes:
        _, mode, *_ = writing.CREATE_IN.unpack_from(request, protocol.BODY)
        uid, gid, mode = self._owned(node, S_IFREG | mode & _PERMISSIONS, request)
        return self._known.introduce(self._tree.make_unnamed(mode, uid, gid)) + _OPEN_OUT

    def _owned(self, parent: int, mode: int, request: bytes) -> tuple[int, int, int]:
        """Return uid, gid and mode of what its caller makes in a directory (inode_init_owner of Linux)."""
        uid, gid = _CALLER.unpack_from(request, _CALLER_AT)
        above = self._tree.attributes(parent)
        if above.mode & S_ISGID:
            return uid, above.gid, mode | S_ISGID if S_ISDIR(mode) else mode
        return uid, gid, mode

    def _link(self, node: int, request: bytes) -> bytes:
        (ino,) = writing.LINK_IN.unpack_from(request, protocol.BODY)
        return self._known.introduce(self._tree.link(ino, node, _name(request, writing.LINK_IN.size)))

    def _unlink(self, node: int, request: bytes) -> bytes:
        self._tree.unlink(node, request[protocol.BODY : -1])
        return b""

    def _rmdir(self, node: int, request: bytes) -> bytes:
        self._tree.rmdir(node, request[protocol.BODY : -1])
        return b""

    def _rename(self, node: int, request: bytes) -> bytes:
        (new_parent,) = writing.RENAME_IN.unpack_from(request, protocol.BODY)
        return self._move(node, new_parent, writing.request_names(request, protocol.BODY + writing.RENAME_IN.size), 0)

    def _rename2(self, node: int, request: bytes) -> bytes:
        new_parent, flags = writing.RENAME2_IN.unpack_from(request, protocol.BODY)
        names = writing.request_names(request, protocol.BODY + writing.RENAME2_IN.size)
        return self._move(node, new_parent, names, flags)

    def _move(self, parent: int, new_parent: int, names: tuple[bytes, bytes], flags: int) -> bytes:
        _checked(names[1])
        self._tree.rename(parent, names[0], new_parent, names[1], flags)
        return b""

    def _readdir(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return b"".join(
            protocol.dirent(ino, next_offset, name, mode)
            for next_offset, name, ino, mode in self._some(node, offset, size, protocol.DIRENT.size)
        )

    def _readdirplus(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        packed: list[bytes] = []
        for next_offset, name, ino, mode in self._some(node, offset, size, protocol.DIRENTPLUS.size):
            if next_offset > _DOTS:
                packed.append(self._introduced(ino, next_offset, name, mode))
            else:  # "." and ".." are no new names of anything
                packed.append(protocol.NO_ENTRY + protocol.dirent(ino, next_offset, name, mode))
        return b"".join(packed)

    def _introduced(self, ino: int, next_offset: int, name: bytes, mode: int) -> bytes:
        try:
            packed = writing.direntplus(self._tree.attributes(ino), next_offset, name)
        except OSError:  # the name is shown; whoever looks it up will be told what is wrong
            return protocol.NO_ENTRY + protocol.dirent(ino, next_offset, name, mode)
        self._known.count(ino)
        return packed

    def _some(self, node: int, offset: int, size: int, head: int) -> list[tuple[int, bytes, int, int]]:
        """Return (next offset, name, ino, mode) of the entries from `offset` on that `size` bytes have room for."""
        found: list[tuple[int, bytes, int, int]] = []
        room = size
        if offset < 1:
            found.append((1, b".", node, S_IFDIR))
            room -= head + 8
        if offset < _DOTS:
            found.append((_DOTS, b"..", self._tree.parent(node), S_IFDIR))
            room -= head + 8
        for cookie, name, ino, mode in self._tree.entries(node, max(offset - _DOTS, 0)):
            room -= head + (len(name) + 7 & ~7)
            if room < 0:
                break
            found.append((cookie + _DOTS, name, ino, mode))
        return found


def _name(request: bytes, size: int) -> bytes:
    """Return the name that follows a structure of `size` bytes."""
    start = protocol.BODY + size
    return _checked(request[start : request.index(0, start)])


def _checked(name: bytes) -> bytes:
    if len(name) > NAME_MAX:
        raise OSError(ENAMETOOLONG, "name too long")
    return name

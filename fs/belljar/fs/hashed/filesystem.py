"""FUSE operations on the guest's read-only root: lookup, attributes, links, directories, content.

In comes a `Tree`; out comes the table of operations for a `Session`. Everything is answered with an endless timeout,
so that the kernel asks once; OPEN and OPENDIR are left to ENOSYS, after which the kernel opens without asking.
"""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENOENT, ENOTTY
from stat import S_IFMT, S_ISDIR, S_ISREG

from belljar.fs.fuse import protocol

from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.fuse.session import Operation

    from .tree import Tree

_SMALLEST_DIRENT = 32
_PARENT_ENTRIES = 2  # "." and ".." come first in every listing


def operations(tree: Tree) -> dict[int, Operation]:
    """Return the operations that show `tree`, read-only."""
    return _TreeOperations(tree).table()


class _TreeOperations:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def table(self) -> dict[int, Operation]:
        return {
            protocol.LOOKUP: self._lookup,
            protocol.GETATTR: self._getattr,
            protocol.READLINK: self._readlink,
            protocol.READ: self._read,
            protocol.READDIR: self._readdir,
            protocol.READDIRPLUS: self._readdirplus,
            protocol.STATFS: self._statfs,
            protocol.IOCTL: self._ioctl,
            protocol.DESTROY: lambda _node, _request: b"",
        }

    def _entry(self, node: int) -> bytes:
        inode, mode, size, mtime_ns, nlink = self._tree.attributes(node)
        return protocol.entry(inode, protocol.attributes(inode, mode, size, mtime_ns, nlink))

    def _lookup(self, node: int, request: bytes) -> bytes:
        found = self._tree.child(node, protocol.request_name(request))
        return protocol.NEGATIVE_ENTRY if found is None else self._entry(found)

    def _getattr(self, node: int, _request: bytes) -> bytes:
        inode, mode, size, mtime_ns, nlink = self._tree.attributes(node)
        return protocol.attr_reply(protocol.attributes(inode, mode, size, mtime_ns, nlink))

    def _readlink(self, node: int, _request: bytes) -> bytes:
        target = self._tree.target(node)
        if target is None:
            raise OSError(EINVAL, "not a link")
        return target

    def _read(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        skeleton = self._tree.skeleton(node)
        if skeleton is not None:
            if not S_ISREG(skeleton.mode):
                raise OSError(EISDIR, "not a file")
            return skeleton.content[offset : offset + size]
        source, number, record = self._tree.record(node)
        if record[2] != layout.KIND_FILE:
            raise OSError(EISDIR, "not a file")
        return source.read(number, record, offset, size)

    def _readdir(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return self._listing(node, offset, size, plus=False)

    def _readdirplus(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return self._listing(node, offset, size, plus=True)

    def _listing(self, node: int, offset: int, size: int, *, plus: bool) -> bytes:
        """Return as many directory entries as fit into `size` bytes, from position `offset` on."""
        packed: list[bytes] = []
        room = size
        for position, name, child in self._positions(node, offset, size // _SMALLEST_DIRENT + 1):
            inode, mode, length, mtime_ns, nlink = self._tree.attributes(child)
            part = protocol.dirent(inode, position + 1, name, S_IFMT(mode) >> 12)
            if plus:
                # For "." and ".." the kernel wants node 0: they are no new names of anything.
                known = position >= _PARENT_ENTRIES
                attr = protocol.attributes(inode, mode, length, mtime_ns, nlink)
                part = (protocol.entry(inode, attr) if known else bytes(len(protocol.NEGATIVE_ENTRY))) + part
            room -= len(part)
            if room < 0:
                break
            packed.append(part)
        return b"".join(packed)

    def _positions(self, node: int, offset: int, limit: int) -> list[tuple[int, bytes, int]]:
        if not S_ISDIR(self._tree.attributes(node)[1]):
            raise OSError(ENOENT, "not a directory")
        first = [(0, b".", node), (1, b"..", protocol.ROOT_ID)][offset:]
        skip = max(offset - _PARENT_ENTRIES, 0)
        rest = self._tree.children(node, skip, limit)
        return first + [(skip + _PARENT_ENTRIES + i, name, child) for i, (name, child) in enumerate(rest)]

    def _statfs(self, _node: int, _request: bytes) -> bytes:
        files = sum(source.index.entries for source in self._tree.sources)
        return protocol.STATFS_OUT.pack(0, 0, 0, files, 0, protocol.PAGE, layout.MAX_NAME_BYTES, protocol.PAGE, 0)

    def _ioctl(self, _node: int, _request: bytes) -> bytes:
        raise OSError(ENOTTY, "not a terminal")  # CPython up to 3.12 asks every file it opens

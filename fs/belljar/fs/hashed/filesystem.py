"""FUSE operations on the guest's read-only root: lookup, attributes, links, directories, content.

In comes a `Tree`; out comes the table of operations for a `Session`. Everything is answered with an endless timeout,
so that the kernel asks once; OPEN and OPENDIR are left to ENOSYS, after which the kernel opens without asking.
"""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENOENT, ENOTTY
from stat import S_ISDIR, S_ISREG

from belljar.fs.fuse import protocol

from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.fuse.session import Operation

    from .tree import Tree
    from .usage import Usage

_SMALLEST_DIRENT = 32
_PARENT_ENTRIES = 2  # "." and ".." come first in every listing


def operations(tree: Tree, usage: Usage) -> dict[int, Operation]:
    """Return the operations that show `tree`, read-only, and note in `usage` what is asked for."""
    return _TreeOperations(tree, usage).table()


class _TreeOperations:
    def __init__(self, tree: Tree, usage: Usage) -> None:
        self._tree = tree
        self._usage = usage

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
        name = protocol.request_name(request)
        self._usage.looked_up(node, name)
        found = self._tree.child(node, name)
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
        if size and offset < record[4]:
            last = min(offset + size, record[4]) - 1
            self._usage.read(node, offset // layout.CHUNK_BYTES, last // layout.CHUNK_BYTES)
        return source.read(number, record, offset, size)

    def _readdir(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return self._listing(node, offset, size, plus=False)

    def _readdirplus(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return self._listing(node, offset, size, plus=True)

    def _listing(self, node: int, offset: int, size: int, *, plus: bool) -> bytes:
        """Return as many directory entries as fit into `size` bytes, from position `offset` on."""
        self._usage.listed(node)
        packed: list[bytes] = []
        room = size
        head = protocol.DIRENTPLUS.size if plus else protocol.DIRENT.size
        for position, (name, attributes) in enumerate(self._named(node, offset, size), offset):
            room -= head + len(name) + (-len(name) % 8)
            if room < 0:
                break
            if not plus:
                packed.append(protocol.dirent(attributes[0], position + 1, name, attributes[1]))
            elif position < _PARENT_ENTRIES:
                # For "." and ".." the kernel wants node 0: they are no new names of anything.
                packed.append(protocol.NO_ENTRY + protocol.dirent(attributes[0], position + 1, name, attributes[1]))
            else:
                packed.append(protocol.direntplus(position + 1, name, attributes))
        return b"".join(packed)

    def _named(self, node: int, offset: int, size: int) -> list[tuple[bytes, tuple[int, int, int, int, int]]]:
        """Return (name, attributes) from position `offset` on, a few more than `size` bytes can hold."""
        own = self._tree.attributes(node)
        if not S_ISDIR(own[1]):
            raise OSError(ENOENT, "not a directory")
        first = [(b".", own), (b"..", self._tree.attributes(protocol.ROOT_ID))][offset:]
        return first + self._tree.listing(node, max(offset - _PARENT_ENTRIES, 0), size // _SMALLEST_DIRENT + 1)

    def _statfs(self, _node: int, _request: bytes) -> bytes:
        """Say how big the tree is, to the chunk, and that it is full: programs divide by the size of a disk."""
        indexes = [source.index for source in self._tree.sources]
        chunks = sum(index.chunks for index in indexes)
        return protocol.statfs(sum(index.entries for index in indexes), chunks * layout.CHUNK_BYTES)

    def _ioctl(self, _node: int, _request: bytes) -> bytes:
        raise OSError(ENOTTY, "not a terminal")  # CPython up to 3.12 asks every file it opens

"""FUSE operations on generated files: each open takes a snapshot, reads come from it, close drops it.

In comes a mapping of paths to functions that make the content; out comes the table of operations for a `Session`.
Unlike the hashed tree, nothing is cached by the kernel: files are opened with FOPEN_DIRECT_IO.
"""

from __future__ import annotations

from _thread import allocate_lock
from errno import EBADF, EMFILE, ENOENT, ENOTTY
from stat import S_IFDIR, S_IFREG

from belljar.fs.fuse import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.fuse.session import Operation

    MakeContent = Callable[[], bytes]

_MAX_HANDLES = 4096  # a guest that opens without end must not fill the supervisor's memory


class _Node:
    __slots__ = ("children", "make", "mode")

    def __init__(self, mode: int, make: MakeContent | None) -> None:
        self.mode = mode
        self.make = make
        self.children: dict[bytes, int] = {}


def operations(files: dict[str, MakeContent]) -> dict[int, Operation]:
    """Return the operations that show `files`, read-only.

    Args:
        files: path without a leading slash -> what makes its content.
    """
    return _GeneratedOperations(files).table()


class _GeneratedOperations:
    def __init__(self, files: dict[str, MakeContent]) -> None:
        self._nodes = [_Node(0, None), _Node(S_IFDIR | 0o555, None)]  # node 0 is never used, node 1 is the root
        self._handles: dict[int, bytes] = {}
        self._next_handle = 1
        self._lock = allocate_lock()
        for path, make in files.items():
            self._add(path, make)

    def _add(self, path: str, make: MakeContent) -> None:
        *directories, name = path.encode().split(b"/")
        node = self._nodes[1]
        for directory in directories:
            node = self._nodes[node.children.get(directory) or self._grow(node, directory, S_IFDIR | 0o555, None)]
        self._grow(node, name, S_IFREG | 0o444, make)

    def _grow(self, parent: _Node, name: bytes, mode: int, make: MakeContent | None) -> int:
        self._nodes.append(_Node(mode, make))
        parent.children[name] = len(self._nodes) - 1
        return len(self._nodes) - 1

    def table(self) -> dict[int, Operation]:
        return {
            protocol.LOOKUP: self._lookup,
            protocol.GETATTR: lambda node, _request: protocol.attr_reply(self._attributes(node)),
            protocol.OPEN: self._open,
            protocol.READ: self._read,
            protocol.RELEASE: self._release,
            protocol.READDIR: self._readdir,
            protocol.STATFS: self._statfs,
            protocol.IOCTL: self._ioctl,
            protocol.DESTROY: lambda _node, _request: b"",
        }

    def _attributes(self, node: int) -> bytes:
        return protocol.attributes(node, self._nodes[node].mode, 0, 0)

    def _lookup(self, node: int, request: bytes) -> bytes:
        found = self._nodes[node].children.get(protocol.request_name(request))
        return protocol.NEGATIVE_ENTRY if found is None else protocol.entry(found, self._attributes(found))

    def _open(self, node: int, _request: bytes) -> bytes:
        make = self._nodes[node].make
        if make is None:
            raise OSError(ENOENT, "no content")
        content = make()
        with self._lock:
            if len(self._handles) >= _MAX_HANDLES:
                raise OSError(EMFILE, "too many generated files are open")
            handle = self._next_handle
            self._next_handle += 1
            self._handles[handle] = content
        return protocol.OPEN_OUT.pack(handle, protocol.FOPEN_DIRECT_IO, 0)

    def _read(self, _node: int, request: bytes) -> bytes:
        handle, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        content = self._handles.get(handle)
        if content is None:
            raise OSError(EBADF, "not open")
        return content[offset : offset + size]

    def _release(self, _node: int, request: bytes) -> bytes:
        handle, *_ = protocol.RELEASE_IN.unpack_from(request, protocol.BODY)
        self._handles.pop(handle, None)
        return b""

    def _readdir(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        names = [(b".", node), (b"..", protocol.ROOT_ID), *sorted(self._nodes[node].children.items())]
        packed = b""
        for position, (name, child) in enumerate(names[offset:], offset):
            part = protocol.dirent(child, position + 1, name, self._nodes[child].mode)
            if len(packed) + len(part) > size:
                break
            packed += part
        return packed

    def _statfs(self, _node: int, _request: bytes) -> bytes:
        return protocol.statfs(len(self._nodes))

    def _ioctl(self, _node: int, _request: bytes) -> bytes:
        raise OSError(ENOTTY, "not a terminal")

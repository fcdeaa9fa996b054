"""Operations on content: read, write, allocate, seek, copy, make durable.

The kernel caches pages and writes them back when it likes, at the latest before FSYNC and close(2): a WRITE names no
open file, its offset is absolute (O_APPEND is the kernel's business), and it may come for a file that was opened to
write only, after a READ for the rest of its page. So nothing here depends on open files, and none are counted.
"""

from __future__ import annotations

from errno import EINVAL, ENOTTY, ENXIO
from os import SEEK_DATA, SEEK_HOLE

from belljar.fs.fuse import protocol, writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.fuse.session import Operation

    from .metadata import Metadata
    from .tree import WritableTree

_COPY_AT_ONCE = 64 << 20  # bytes of one COPY_FILE_RANGE: nobody else is served by this thread meanwhile


class Content:
    """The operations on content of one tree.

    Args:
        tree: what is shown.
        metadata: clears setuid bits of what is written to.
        seek_later: answers an LSEEK once the kernel has written back what it holds.
    """

    def __init__(self, tree: WritableTree, metadata: Metadata, seek_later: Callable[[int, bytes], None]) -> None:
        self._tree = tree
        self._metadata = metadata
        self._seek_later = seek_later

    def table(self) -> dict[int, Operation]:
        """Return what answers which opcode."""
        return {
            protocol.READ: self._read,
            protocol.WRITE: self._write,
            protocol.FALLOCATE: self._fallocate,
            protocol.LSEEK: self._lseek,
            protocol.COPY_FILE_RANGE: self._copy_file_range,
            protocol.FSYNC: self._sync,
            protocol.FSYNCDIR: self._sync,
            protocol.SYNCFS: self._sync,
            protocol.IOCTL: self._ioctl,
        }

    def _read(self, node: int, request: bytes) -> bytes | bytearray:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return self._tree.read(node, offset, size)

    def _write(self, node: int, request: bytes) -> bytes:
        _, offset, size, flags, _, _ = writing.WRITE_IN.unpack_from(request, protocol.BODY)
        if flags & writing.WRITE_KILL_SUIDGID:
            self._metadata.drop_privileges(node)
        return writing.WRITE_OUT.pack(self._tree.write(node, offset, request[writing.CONTENT : writing.CONTENT + size]))

    def _fallocate(self, node: int, request: bytes) -> bytes:
        _, offset, length, mode = writing.FALLOCATE_IN.unpack_from(request, protocol.BODY)
        self._tree.allocate(node, offset, length, mode)
        self._metadata.drop_privileges(node)
        return b""

    def _lseek(self, node: int, request: bytes) -> None:
        self._seek_later(node, request)

    def seek(self, node: int, request: bytes) -> bytes:
        """Answer an LSEEK: only SEEK_DATA and SEEK_HOLE come, the kernel does the others."""
        _, offset, whence = writing.LSEEK_IN.unpack_from(request, protocol.BODY)
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise OSError(EINVAL, "neither SEEK_DATA nor SEEK_HOLE")
        if offset < 0:
            raise OSError(ENXIO, "before the file")
        return writing.LSEEK_OUT.pack(self._tree.seek(node, offset, whence))

    def _copy_file_range(self, node: int, request: bytes) -> bytes:
        _, offset, to_node, _, to_offset, length, _ = writing.COPY_FILE_RANGE_IN.unpack_from(request, protocol.BODY)
        copied = self._tree.copy_range(node, offset, to_node, to_offset, min(length, _COPY_AT_ONCE))
        self._metadata.drop_privileges(to_node)
        return writing.WRITE_OUT.pack(copied)

    def _sync(self, node: int, _request: bytes) -> bytes:
        self._tree.sync(node)
        return b""

    def _ioctl(self, _node: int, _request: bytes) -> bytes:
        raise OSError(ENOTTY, "not a terminal")

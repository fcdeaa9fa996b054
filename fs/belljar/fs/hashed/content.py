"""Read host files and let through only what their index says (design section 4, "hashed").

In come an index entry and a range; out come verified bytes, or an `IntegrityViolation`. The host may change, replace,
truncate or remove a file at any moment, or swap it for a link, a fifo or a device: each is found out or harmless,
none can block. Content is verified chunk by chunk at every read; only the kernel's page cache remembers it.
"""

from __future__ import annotations

import hashlib
import os
from _thread import allocate_lock
from errno import EMFILE, ENFILE, ENOMEM
from stat import S_ISREG

from belljar.fs.errors import IntegrityViolation

from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .index import Index, Record

    Stamp = tuple[int, int, int, int, int]

_MAX_OPEN = 64  # descriptors kept per source: NO_OPEN means that the kernel never tells us when to close
_RECENT_CHUNKS = 8  # half-used chunks kept: readahead is not aligned to chunks and soon asks for the other half
_PROBE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # names a file without any effect on it, whatever it turned into
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


_OURS = frozenset({EMFILE, ENFILE, ENOMEM})  # we have run out of something: the file is not to blame


class _OpenFile:
    """A descriptor that lives as long as somebody reads from it, also after its eviction by another thread."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class Source:
    """The host directory (or single file) behind one hashed mount.

    Args:
        index: what the source was measured to hold.
        host_path: the directory or file on the host; opened now, so later renames above it change nothing.
        guest_path: where it is mounted, for messages.

    Attributes:
        opened: host path -> stamp (as `walk.Stamp`) of every file that was opened.

    Raises:
        OSError: the source cannot be opened.
    """

    def __init__(self, index: Index, host_path: bytes, guest_path: str) -> None:
        self.index = index
        self._host_path = host_path
        self._guest_path = guest_path
        self._root = os.open(host_path, os.O_PATH | os.O_CLOEXEC)
        self._lock = allocate_lock()
        self._open: dict[int, _OpenFile] = {}
        self._recent: dict[tuple[int, int], bytes] = {}
        self._ready: dict[tuple[int, int], bytes] = {}
        self.opened: dict[str, Stamp] = {}

    def close(self) -> None:
        """Release every descriptor."""
        with self._lock:
            self._open.clear()
            os.close(self._root)
        self.index.close()

    def host_file(self, number: int) -> str:
        """Return the host path of an entry."""
        path = self.index.path(number)
        return os.fsdecode(os.path.join(self._host_path, path) if path else self._host_path)

    def read(self, number: int, record: Record, offset: int, size: int) -> bytes:
        """Return `size` verified bytes at `offset` of entry `number`, fewer at the end of the file.

        Raises:
            IntegrityViolation: the host file is not what was measured.
        """
        end = min(offset + size, record[4])
        if end <= offset:
            return b""
        first, last = offset // layout.CHUNK_BYTES, (end - 1) // layout.CHUNK_BYTES
        chunks = [self._chunk(number, record, chunk) for chunk in range(first, last + 1)]
        whole = chunks[0] if first == last else b"".join(chunks)
        start = offset - first * layout.CHUNK_BYTES
        if start == 0 and len(whole) == end - offset:
            return whole
        self._keep(number, first, chunks[0])
        self._keep(number, last, chunks[-1])
        return whole[start : start + end - offset]

    def make_ready(self, number: int, chunk: int) -> None:
        """Verify one chunk of an entry, and keep it until `read` or `take_ready` asks for it.

        Raises:
            FsError: the host file is not what was measured, or there is no such chunk.
        """
        record = self.index.record(number)
        if record[2] == layout.KIND_FILE and chunk * layout.CHUNK_BYTES < record[4]:
            self._ready[number, chunk] = self._chunk(number, record, chunk)

    def take_ready(self, number: int, chunk: int) -> bytes | None:
        """Return a chunk that was made ready, if nobody has taken it yet."""
        return self._ready.pop((number, chunk), None)

    def _keep(self, number: int, chunk: int, content: bytes) -> None:
        with self._lock:
            self._recent[number, chunk] = content
            while len(self._recent) > _RECENT_CHUNKS:
                self._recent.pop(next(iter(self._recent)))

    def _chunk(self, number: int, record: Record, chunk: int) -> bytes:
        """Return one verified chunk."""
        known = self._recent.get((number, chunk)) or self._ready.pop((number, chunk), None)
        if known is not None:
            return known
        content = self._pread(number, chunk * layout.CHUNK_BYTES)
        expected_bytes = min(layout.CHUNK_BYTES, record[4] - chunk * layout.CHUNK_BYTES)
        if len(content) < expected_bytes:
            raise self._violation(number, f"is truncated: expected {record[4]} bytes")
        content = content[:expected_bytes]  # a file that grew: what lies behind the measured end is never served
        if hashlib.sha256(content).digest() != self.index.chunk_digest(record, chunk):
            raise self._violation(number, f"has changed since it was measured (chunk {chunk} of 64 KiB)")
        return content

    def _pread(self, number: int, at: int) -> bytes:
        try:
            with self._lock:
                file = self._open.get(number)
                if file is None:
                    file = self._open[number] = self._open_file(number)
                    while len(self._open) > _MAX_OPEN:
                        self._open.pop(next(iter(self._open)))
            return os.pread(file.descriptor, layout.CHUNK_BYTES, at)
        except FileNotFoundError as error:
            raise self._violation(number, "was removed since it was measured") from error
        except OSError as error:
            if error.errno in _OURS:
                raise
            raise self._violation(number, f"cannot be read any more: {error.strerror}") from error

    def _open_file(self, number: int) -> _OpenFile:
        """Open the host file of an entry. An O_PATH probe comes first: opening a device or a fifo has effects."""
        path = self.index.path(number)
        probe = os.open(path, _PROBE, dir_fd=self._root) if path else os.dup(self._root)
        try:
            status = os.fstat(probe)
            if not S_ISREG(status.st_mode):
                raise self._violation(number, "was replaced by something that is not a regular file")
            self.opened[self.host_file(number)] = (
                status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            )  # fmt: skip
            return _OpenFile(os.open(f"/proc/self/fd/{probe}", _READ))
        finally:
            os.close(probe)

    def _violation(self, number: int, reason: str) -> IntegrityViolation:
        path = self.index.path(number)
        guest = os.path.join(self._guest_path, os.fsdecode(path)) if path else self._guest_path
        return IntegrityViolation(guest, self.host_file(number), reason)

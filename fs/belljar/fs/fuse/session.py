"""A FUSE session: negotiate with the kernel, then read requests and write replies until the file system is unmounted.

In comes an open /dev/fuse descriptor that is (or is about to be) mounted, and a table of operations; out go replies.
Several threads may run `serve` on one session. It must never leave a request unanswered: whatever an operation
raises becomes an errno, because a guest that waits for a reply cannot be killed.
"""

from __future__ import annotations

import os
from errno import EINTR, EIO, ENODEV, ENOENT, ENOSYS, EPROTO
from struct import Struct

from belljar.fs.errors import IntegrityViolation, VolumeCorrupt

from . import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.errors import FsError

    Payload = bytes | bytearray | tuple[bytes, ...] | None
    Operation = Callable[[int, bytes], Payload]
    """(node id, whole request) -> what follows the reply's header; None: `Session.finish` will be called later.

    Raises OSError for an errno. In a session that takes writes, the request of a WRITE is a memoryview of a buffer that
    is used again after the operation has returned.
    """

_NO_REPLY = frozenset({protocol.FORGET, protocol.BATCH_FORGET, protocol.INTERRUPT})
_GONE = frozenset({ENODEV, ENOENT, EINTR})
READ_ONLY = (
    protocol.ASYNC_READ
    | protocol.NO_OPEN_SUPPORT
    | protocol.PARALLEL_DIROPS
    | protocol.MAX_PAGES
    | protocol.CACHE_SYMLINKS
    | protocol.NO_OPENDIR_SUPPORT
)
"""Features of a session that takes no writes."""

_WANTED_FOR_PLUS = protocol.DO_READDIRPLUS | protocol.READDIRPLUS_AUTO
_WHAT = Struct("<4xIQQ")  # opcode, unique, nodeid of fuse_in_header
_WRITE_HEAD = 80  # bytes before the content of a WRITE: fuse_in_header and fuse_write_in


class Session:
    """Serves one /dev/fuse connection.

    Args:
        device: open descriptor of /dev/fuse; stays the caller's to close.
        operations: what to do for each opcode; an opcode that is missing gets ENOSYS, which the kernel remembers.
        on_violation: told of stored bytes that are not what was measured or written (the guest gets EIO).
        on_failure: told of every other exception of an operation (the guest gets EIO): a defect of ours.
        max_read: longest READ the kernel may send, bytes, a multiple of 4096; of a WRITE, too.
        writable: features that a session with writes wants besides (flags of FUSE_INIT); the kernel must have all of
            them. 0 for a session that takes no writes.
    """

    def __init__(
        self,
        device: int,
        operations: dict[int, Operation],
        *,
        on_violation: Callable[[FsError], None],
        on_failure: Callable[[BaseException], None],
        max_read: int = 1 << 20,
        writable: int = 0,
    ) -> None:
        self.device = device
        self._operations = {**operations, protocol.INIT: self._negotiate}
        self._on_violation = on_violation
        self._on_failure = on_failure
        self._max_pages = max_read // protocol.PAGE
        self._writable = writable

    def serve(self) -> None:
        """Answer requests until the file system is unmounted or the connection aborted.

        Raises:
            OSError: /dev/fuse failed in a way that ends the session (never for a single request).
        """
        read = self._reader()
        operations = self._operations
        unpack = _WHAT.unpack_from
        while True:
            try:
                request = read()
            except OSError as error:
                if error.errno == ENODEV:  # unmounted, or aborted because the last guest process is gone
                    return
                if error.errno in _GONE:  # a request was withdrawn between wake-up and read
                    continue
                raise
            opcode, unique, node = unpack(request)
            operation = operations.get(opcode)
            if opcode in _NO_REPLY:
                if operation is not None:
                    self._run(operation, node, request)
                continue
            if operation is None:
                self._answer(unique, b"", ENOSYS)
                continue
            self.finish(unique, operation, node, request)

    def _reader(self) -> Callable[[], bytes]:
        """Return what reads one request."""
        device = self.device
        if not self._writable:
            return lambda: os.read(device, protocol.MIN_READ_BUFFER)
        content = bytearray(_WRITE_HEAD + self._max_pages * protocol.PAGE)  # less is refused with EINVAL
        buffer = memoryview(content)
        parts = (content,)
        opcode_at, write = 4, protocol.WRITE  # its lowest byte tells it from every other

        def read() -> bytes:
            length = os.readv(device, parts)
            if content[opcode_at] == write:  # a megabyte is not copied
                return buffer[:length]  # type: ignore[return-value] # the one operation that gets it knows
            return bytes(buffer[:length])

        return read

    def finish(self, unique: int, operation: Operation, node: int, request: bytes) -> None:
        """Run an operation and answer its request, unless that will be done later.

        Raises:
            OSError: /dev/fuse failed in a way that ends the session.
        """
        payload, error = self._run(operation, node, request)
        if payload is not None:
            self._answer(unique, payload, error)

    def _run(self, operation: Operation, node: int, request: bytes) -> tuple[Payload, int]:
        try:
            return operation(node, request), 0
        except OSError as error:
            return b"", error.errno or EIO
        except (IntegrityViolation, VolumeCorrupt) as violation:
            self._on_violation(violation)
        except BaseException as failure:  # noqa: BLE001 - a request without a reply would hang the guest for ever
            self._on_failure(failure)
        return b"", EIO

    def _answer(self, unique: int, payload: bytes | bytearray | tuple[bytes, ...], error: int) -> None:
        head = protocol.OUT_HEADER
        try:
            if isinstance(payload, tuple):
                length = head.size + sum(map(len, payload))
                os.writev(self.device, (head.pack(length, -error, unique), *payload))
            else:
                os.writev(self.device, (head.pack(head.size + len(payload), -error, unique), payload))
        except OSError as failure:
            if failure.errno not in _GONE:  # ENOENT: the caller was killed meanwhile, nobody waits
                raise

    def _negotiate(self, _node: int, request: bytes) -> Payload:
        """Answer FUSE_INIT: the protocol version and the features both sides know."""
        major, minor, _, offered = protocol.INIT_IN.unpack_from(request, protocol.BODY)
        if major != protocol.MAJOR or minor < protocol.OLDEST_MINOR:
            raise OSError(EPROTO, f"kernel speaks FUSE {major}.{minor}, expected 7.{protocol.OLDEST_MINOR} or newer")
        if self._writable & ~offered:
            raise OSError(EPROTO, f"kernel lacks FUSE features {self._writable & ~offered:#x}, expected all")
        wanted = READ_ONLY | self._writable | (_WANTED_FOR_PLUS if protocol.READDIRPLUS in self._operations else 0)
        most = self._max_pages * protocol.PAGE
        return protocol.INIT_OUT.pack(
            protocol.MAJOR, min(minor, protocol.NEWEST_MINOR), most,
            offered & wanted, 16, 12, most if self._writable else protocol.PAGE, 1, self._max_pages, 0, 0,
        )  # fmt: skip

"""A FUSE session: negotiate with the kernel, then read requests and write replies until the file system is unmounted.

In comes an open /dev/fuse descriptor that is (or is about to be) mounted, and a table of operations; out go replies.
Several threads may run `serve` on one session. It must never leave a request unanswered: whatever an operation
raises becomes an errno, because a guest that waits for a reply cannot be killed.
"""

from __future__ import annotations

import os
from errno import EINTR, EIO, ENODEV, ENOENT, ENOSYS, EPROTO

from belljar.fs.errors import IntegrityViolation

from . import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Payload = bytes | tuple[bytes, ...]
    Operation = Callable[[int, bytes], Payload]
    """(node id, whole request) -> what follows the reply's header. Raises OSError for an errno."""

_NO_REPLY = frozenset({protocol.FORGET, protocol.BATCH_FORGET, protocol.INTERRUPT})
_GONE = frozenset({ENODEV, ENOENT, EINTR})
_WANTED = (
    protocol.ASYNC_READ
    | protocol.NO_OPEN_SUPPORT
    | protocol.PARALLEL_DIROPS
    | protocol.MAX_PAGES
    | protocol.CACHE_SYMLINKS
    | protocol.NO_OPENDIR_SUPPORT
)
_WANTED_FOR_PLUS = protocol.DO_READDIRPLUS | protocol.READDIRPLUS_AUTO


class Session:
    """Serves one /dev/fuse connection.

    Args:
        device: open descriptor of /dev/fuse; stays the caller's to close.
        operations: what to do for each opcode; an opcode that is missing gets ENOSYS, which the kernel remembers.
        on_violation: told of every host file that is not what was measured (the guest gets EIO).
        on_failure: told of every other exception of an operation (the guest gets EIO): a defect of ours.
        max_read: longest READ the kernel may send, bytes, a multiple of 4096.
    """

    def __init__(
        self,
        device: int,
        operations: dict[int, Operation],
        *,
        on_violation: Callable[[IntegrityViolation], None],
        on_failure: Callable[[BaseException], None],
        max_read: int = 1 << 20,
    ) -> None:
        self.device = device
        self._operations = {**operations, protocol.INIT: self._negotiate}
        self._on_violation = on_violation
        self._on_failure = on_failure
        self._max_pages = max_read // protocol.PAGE

    def serve(self) -> None:
        """Answer requests until the file system is unmounted or the connection aborted.

        Raises:
            OSError: /dev/fuse failed in a way that ends the session (never for a single request).
        """
        device, operations = self.device, self._operations
        unpack = protocol.IN_HEADER.unpack_from
        while True:
            try:
                request = os.read(device, protocol.MIN_READ_BUFFER)
            except OSError as error:
                if error.errno == ENODEV:  # unmounted, or aborted because the last guest process is gone
                    return
                if error.errno in _GONE:  # a request was withdrawn between wake-up and read
                    continue
                raise
            _, opcode, unique, node, *_ = unpack(request)
            if opcode in _NO_REPLY:
                continue
            operation = operations.get(opcode)
            if operation is None:
                self._answer(unique, b"", ENOSYS)
                continue
            self._answer(unique, *self._run(operation, node, request))

    def _run(self, operation: Operation, node: int, request: bytes) -> tuple[Payload, int]:
        try:
            return operation(node, request), 0
        except OSError as error:
            return b"", error.errno or EIO
        except IntegrityViolation as violation:
            self._on_violation(violation)
        except BaseException as failure:  # noqa: BLE001 - a request without a reply would hang the guest for ever
            self._on_failure(failure)
        return b"", EIO

    def _answer(self, unique: int, payload: Payload, error: int) -> None:
        parts = payload if isinstance(payload, tuple) else (payload,)
        length = protocol.OUT_HEADER.size + sum(map(len, parts))
        try:
            os.writev(self.device, (protocol.OUT_HEADER.pack(length, -error, unique), *parts))
        except OSError as failure:
            if failure.errno not in _GONE:  # ENOENT: the caller was killed meanwhile, nobody waits
                raise

    def _negotiate(self, _node: int, request: bytes) -> Payload:
        """Answer FUSE_INIT: the protocol version and the features both sides know."""
        major, minor, _, offered = protocol.INIT_IN.unpack_from(request, protocol.BODY)
        if major != protocol.MAJOR or minor < protocol.OLDEST_MINOR:
            raise OSError(EPROTO, f"kernel speaks FUSE {major}.{minor}, expected 7.{protocol.OLDEST_MINOR} or newer")
        wanted = _WANTED | (_WANTED_FOR_PLUS if protocol.READDIRPLUS in self._operations else 0)
        return protocol.INIT_OUT.pack(
            protocol.MAJOR, min(minor, protocol.NEWEST_MINOR), self._max_pages * protocol.PAGE,
            offered & wanted, 16, 12, protocol.PAGE, 1, self._max_pages, 0, 0,
        )  # fmt: skip

"""The server of a writable tree: one /dev/fuse, one tree, and the threads that bring them together.

In comes a mounted /dev/fuse and a `WritableTree`; out go replies until the file system is unmounted. The kernel holds
written pages back, so the server must live until `serve` returns by itself: ended before, it loses what was written.
Locks (flock, fcntl) are left to the kernel: everybody who sees the tree runs on one kernel.
"""

from __future__ import annotations

import os
from _queue import SimpleQueue
from _thread import allocate_lock, start_new_thread

from belljar.fs.fuse import protocol, writing
from belljar.fs.fuse.session import Session

from .content import Content
from .known import Known
from .metadata import Metadata
from .names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.errors import FsError
    from belljar.fs.fuse.session import Operation

    from .tree import WritableTree

FEATURES = (
    protocol.BIG_WRITES
    | protocol.WRITEBACK_CACHE
    | protocol.ASYNC_DIO
    | protocol.HANDLE_KILLPRIV_V2  # without it, every write(2) would ask for file capabilities
)
"""What a kernel must offer; Linux 5.11 has all. Left out on purpose: see docs/decisions/0014-writable-fuse.md."""


class WritableServer:
    """Shows a tree to the kernel behind one /dev/fuse.

    Args:
        device: open descriptor of /dev/fuse; stays the caller's to close.
        tree: what is shown; stays the caller's to close, after `close`.
        on_violation: told of stored bytes that are not what was written (the guest gets EIO).
        on_failure: told of every other exception (the guest gets EIO): a defect of ours.
    """

    def __init__(
        self,
        device: int,
        tree: WritableTree,
        *,
        on_violation: Callable[[FsError], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._known = Known(tree)
        self._seeks: SimpleQueue[tuple[int, int, bytes] | None] = SimpleQueue()
        self._seeking = allocate_lock()  # held while the thread that seeks lives
        self._on_failure = on_failure
        self._session = Session(
            device, self._operations(tree), on_violation=on_violation, on_failure=on_failure, writable=FEATURES
        )

    def _operations(self, tree: WritableTree) -> dict[int, Operation]:
        metadata = Metadata(tree)
        self._content = Content(tree, metadata, self._seek_later)
        return {
            **self._known.table(),
            **Names(tree, self._known).table(),
            **metadata.table(),
            **self._content.table(),
            protocol.DESTROY: lambda _node, _request: b"",
        }

    def serve(self) -> None:
        """Answer requests until the file system is unmounted; may run in several threads at once.

        Raises:
            OSError: /dev/fuse failed in a way that ends the session.
        """
        self._session.serve()

    def close(self) -> None:
        """End the thread that seeks, and tell the store that the kernel knows nothing any more.

        To be called after every `serve` has returned.

        Raises:
            Exception: the first of what the store raised; the others were told all the same.
        """
        self._seeks.put(None)
        with self._seeking:
            self._known.forget_all()

    def _seek_later(self, node: int, request: bytes) -> None:
        """Let the kernel write back what it holds of a file, then look for data and holes in it.

        The kernel asks us without looking at its own unwritten pages, and would be told that they are holes. Writing
        them back needs a thread that serves, so this is done by one that does not; one for all, however many ask.
        """
        if self._seeking.acquire(blocking=False):
            try:
                start_new_thread(self._seek_on, ())
            except RuntimeError:  # no thread to be had: this one fails, the next may try again
                self._seeking.release()
                raise
        _, _, unique, *_ = protocol.IN_HEADER.unpack_from(request)
        self._seeks.put((unique, node, request))

    def _seek_on(self) -> None:
        try:
            while (wanted := self._seeks.get()) is not None:
                unique, node, request = wanted
                self._session.finish(unique, self._seek, node, request)
        except BaseException as failure:  # noqa: BLE001 - a silent end would leave the guest waiting for ever
            self._on_failure(failure)
        finally:
            self._seeking.release()

    def _seek(self, node: int, request: bytes) -> bytes:
        _, offset, _ = writing.LSEEK_IN.unpack_from(request, protocol.BODY)
        try:
            os.write(self._session.device, writing.notify_inval_inode(node, max(offset, 0)))
        except FileNotFoundError:  # the kernel has dropped the inode meanwhile
            pass
        return self._content.seek(node, request)

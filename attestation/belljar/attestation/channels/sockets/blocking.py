"""A channel over a socket, for programs with threads: used as a socket is.

In come a connected socket and a session; out comes a `Channel`. One thread may receive while
another sends. Time limits are the socket's own; what the session has due is looked at while a thread receives. The
socket belongs to the channel, which closes it.
"""

from __future__ import annotations

import io
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self, cast

from belljar.attestation.errors import ChannelRefused

from .raw import RawChannel

if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO

    from belljar.attestation.channels.session import ChannelSession
    from belljar.attestation.channels.terms import Peer

_AT_ONCE = 1 << 17
_PARTING_S = 1.0


class Channel:
    """An open channel: send and receive as with a socket; `peer` says who is on the other side."""

    def __init__(self, connection: socket.socket, session: ChannelSession) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._session = session
        self._timeout_s: float | None = None
        self._lock = threading.Condition()  # of the session
        self._reading = threading.Lock()
        self._sending = False
        self._leftover = b""  # what the network did not take when somebody who receives had something to send
        self._closed = False

    @property
    def peer(self) -> Peer:
        """Who is on the other side, by its latest evidence.

        Raises:
            ChannelRefused: the channel was given up.
        """
        with self._lock:
            return self._session.peer

    def fileno(self) -> int:
        """Return the socket's descriptor: it is ready to be read when something may have come."""
        return self._connection.fileno()

    def settimeout(self, timeout_s: float | None) -> None:
        """Set how long one call waits, in seconds; None for as long as it takes."""
        self._timeout_s = timeout_s

    def gettimeout(self) -> float | None:
        """Return how long one call waits."""
        return self._timeout_s

    def pending(self) -> int:
        """Return how many bytes can be received without waiting."""
        with self._lock:
            return self._session.readable

    def recv(self, most: int) -> bytes:
        """Return content, at most so many bytes; b"" once the other side has finished.

        Raises:
            ChannelRefused: the channel was given up.
            TimeoutError: nothing has come in time.
            OSError: as of a socket.
        """
        until = self._until()
        while True:
            with self._lock:
                content = self._session.read(most)
                if content or not most or self._session.at_end:
                    return content
            self._fill(until)

    def recv_into(self, buffer: bytearray | memoryview, most: int = 0) -> int:
        """Put content into a buffer and return how many bytes; as `recv`."""
        view = memoryview(buffer).cast("B")
        content = self.recv(min(most or len(view), len(view)))
        view[: len(content)] = content
        return len(content)

    def send(self, content: bytes | bytearray | memoryview) -> int:
        """Send content, and return how many bytes of it.

        Raises:
            ChannelRefused: the channel was given up, or this side has finished.
            TimeoutError: it could not be sent in time; nothing more can be sent.
            OSError: as of a socket.
        """
        if not memoryview(content).nbytes:
            return 0
        until = self._until()
        with self._lock:
            while self._sending:
                self._lock.wait(_left(until))
            taken = self._session.write(content)
            self._sending = True  # at once: who receives must never wait for the network to take content
        self._push(until)
        return taken

    def sendall(self, content: bytes | bytearray | memoryview) -> None:
        """Send all of some content; raises as `send`."""
        view = memoryview(content).cast("B")
        while view:
            view = view[self.send(view) :]

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """Say that nothing more is sent (SHUT_WR, SHUT_RDWR); what the other side sends still comes.

        Raises:
            ChannelRefused: the channel was given up.
        """
        if how != socket.SHUT_RD:
            with self._lock:
                self._session.finish()
            self._send_rest()

    def reattest(self) -> Peer:
        """Have the other side attest anew, wait for it, and return who it is. What it sends meanwhile is kept.

        Raises:
            ChannelRefused: it does not, or is not accepted any more; or so much has come that must be read first.
        """
        with self._lock:
            self._session.reattest(time.monotonic())
        self._send_rest()
        while True:
            with self._lock:
                if not self._session.is_attesting_anew:
                    return self._session.peer
                if not self._session.wants_input:
                    raise ChannelRefused("attesting anew: content has come that must be received first")
            self._fill(None)

    def makefile(
        self, mode: str = "r", buffering: int = -1, *, encoding: str | None = None, newline: str | None = None
    ) -> IO[Any]:
        """Return a file over the channel, as sockets do; closing it does not close the channel."""
        raw = RawChannel(self, reads="r" in mode or "w" not in mode, writes="w" in mode)
        size = io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering
        if not size:
            return cast("IO[Any]", raw)
        if raw.readable() and raw.writable():
            buffered: io.BufferedIOBase = io.BufferedRWPair(raw, raw, size)
        else:
            buffered = io.BufferedReader(raw, size) if raw.readable() else io.BufferedWriter(raw, size)
        if "b" in mode:
            return cast("IO[Any]", buffered)
        return io.TextIOWrapper(cast("IO[bytes]", buffered), encoding, newline=newline)

    def close(self) -> None:
        """Finish, as far as that goes without waiting long, and let go of the socket."""
        if self._closed:
            return
        self._closed = True
        try:
            self._timeout_s = _PARTING_S
            self.shutdown()
        except (ChannelRefused, OSError):
            pass  # the other side has gone, or was refused
        finally:
            self._connection.close()

    def abort(self) -> None:
        """Give the channel up without finishing: the other side learns that what came may be cut short."""
        with self._lock:
            self._session.abort()
        self._part()
        self._closed = True
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def open(self) -> Self:
        """Go through the exchange with the other side; called once, before anything else.

        Raises:
            ChannelRefused: the channel is not opened.
            OSError: as of a socket.
        """
        try:
            self._flush()
            while not self._session.is_open:
                self._fill(None)
        except BaseException:
            self._connection.close()
            raise
        return self

    # within

    def _until(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _fill(self, until: float | None) -> None:
        """Take what has come, or wait for something; return when anything has happened."""
        with self._reading:
            with self._lock:
                if self._session.readable:
                    return  # another thread was faster
                due = self._session.due
            content = self._received(until if due is None else min(due, until if until is not None else due))
            try:
                with self._lock:
                    if content is not None:
                        self._session.receive(content)
                    self._session.tick(time.monotonic())
            except ChannelRefused:
                self._part()
                raise
        self._flush()
        if content is None:
            _left(until)

    def _received(self, until: float | None) -> bytes | None:
        """Return what the network has; b"" at its end; None if nothing came in time, or something can be sent again."""
        while True:
            try:
                return self._connection.recv(_AT_ONCE)
            except BlockingIOError:
                if not _ready(self._connection, until, to_read=True, to_write=bool(self._leftover)):
                    return None
                if self._leftover:
                    self._flush()
            except ConnectionError:
                return b""

    def _send_rest(self) -> None:
        """Send what the session has to send, and wait for it."""
        until = self._until()
        with self._lock:
            while self._sending:
                self._lock.wait(_left(until))
            self._sending = True
        self._push(until)

    def _push(self, until: float | None) -> None:
        """Send until the session has nothing more to send; `_sending` is this thread's own."""
        while content := self._outgoing():
            try:
                self._send_bytes(content, until)
            except BaseException:
                self._release()
                raise

    def _outgoing(self) -> bytes:
        """Return what is to be sent; if nothing, the next may send."""
        with self._lock:
            content = self._leftover + self._session.to_send()
            self._leftover = b""
            if not content:
                self._sending = False
                self._lock.notify_all()
            return content

    def _release(self) -> None:
        with self._lock:
            self._sending = False
            self._lock.notify_all()

    def _flush(self) -> None:
        """Send what can be sent without waiting; if another thread sends, leave it to that one."""
        with self._lock:
            if self._sending:
                return
            content = self._leftover + self._session.to_send()
            sent = 0
            try:
                sent = self._connection.send(content) if content else 0
            except BlockingIOError:
                pass
            except ConnectionError:
                sent = len(content)  # nobody will have it; receiving says so
            self._leftover = content[sent:]

    def _send_bytes(self, content: bytes, until: float | None) -> None:
        view = memoryview(content)
        while view:
            try:
                view = view[self._connection.send(view) :]
            except BlockingIOError:
                if not _ready(self._connection, until, to_read=False, to_write=True):
                    with self._lock:
                        self._session.abort()  # the rest of a record is missing
                    raise TimeoutError("the other side takes nothing") from None

    def _part(self) -> None:
        """Tell the other side why, if it listens."""
        try:
            self._flush()
        except OSError:
            pass  # it does not


def _left(until: float | None) -> float | None:
    """Return how many seconds are left; None for as many as it takes.

    Raises:
        TimeoutError: none.
    """
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _ready(connection: socket.socket, until: float | None, *, to_read: bool, to_write: bool) -> bool:
    """Wait until a socket can be used; say whether it can."""
    left = None if until is None else max(0.0, until - time.monotonic())
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection, (select.POLLIN if to_read else 0) | (select.POLLOUT if to_write else 0))
        return bool(poll.poll(None if left is None else left * 1000 + 1))
    reads, writes = [connection] if to_read else [], [connection] if to_write else []
    return any(select.select(reads, writes, [], left))

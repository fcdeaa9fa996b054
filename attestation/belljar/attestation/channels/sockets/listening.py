"""Channels from a listening socket, for programs with threads: a thread for each channel, and none before it is open.

In comes a socket that listens, and what to do with a channel; out go channels, each in a thread of its own. Until a
channel is open it costs no thread: one loop goes through the exchange with all that knock, under a deadline each. Who
knocks and says nothing costs a socket; when too many wait, who has waited longest is let go. Evidence is made and
judged in that loop, one at a time.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.errors import ChannelRefused

from .blocking import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.channels.endpoint import Endpoint
    from belljar.attestation.channels.session import ChannelSession

_AT_ONCE = 1 << 16
_ACCEPTED_AT_ONCE = 64
_BREATH_S = 0.1


@dataclass(slots=True, kw_only=True, eq=False)
class _Knocking:
    """Somebody with whom there is no channel yet."""

    connection: socket.socket
    address: object
    deadline: float
    session: ChannelSession | None = None
    unsent: bytes = b""


class Listener:
    """Serves channels until it is told to stop.

    Args:
        listening: a socket that listens; it is closed here.
        endpoint: of the server.
        connected: is called for each channel, in a thread of its own; the channel is closed when it returns.
        refused: is told the address of who was refused, and why.
        waiting: how many may be on their way to a channel at once.
        channels: how many may be open at once.
    """

    def __init__(
        self,
        listening: socket.socket,
        endpoint: Endpoint,
        connected: Callable[[Channel], None],
        *,
        refused: Callable[[object, ChannelRefused], None] | None = None,
        waiting: int = 1024,
        channels: int = 256,
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._endpoint = endpoint
        self._connected = connected
        self._refused = refused
        self._most_waiting = waiting
        self._places = threading.BoundedSemaphore(channels)
        self._waiting: OrderedDict[socket.socket, _Knocking] = OrderedDict()  # in the order of their deadlines
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()

    def stop(self) -> None:
        """End the loop; may be called from a signal handler or another thread. Open channels go on."""
        with suppress(OSError):
            self._wake.send(b"s")

    def serve(self) -> None:
        """Serve until told to stop."""
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        try:
            while self._served():
                pass
        finally:
            for knocking in list(self._waiting.values()):
                self._drop(knocking)
            self._selector.close()
            for one in (self._listening, self._wake, self._woken):
                one.close()

    def _served(self) -> bool:
        """Do what is to be done; say whether to go on."""
        first = next(iter(self._waiting.values()), None)
        timeout = None if first is None else max(0.0, first.deadline - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._woken:
                return False
            if key.fileobj is self._listening:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._waiting:
                self._go_on(self._waiting[key.fileobj])
        self._let_go_of_the_late()
        return True

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:  # out of descriptors: others will end
                time.sleep(_BREATH_S)
                return
            self._take(connection, address)

    def _take(self, connection: socket.socket, address: object) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._waiting) >= self._most_waiting:
            oldest = next(iter(self._waiting.values()))
            self._refuse(oldest, ChannelRefused("too many are waiting, and this one the longest", code="too-many"))
        deadline = time.monotonic() + self._endpoint.terms.limits.handshake_s
        self._waiting[connection] = _Knocking(connection=connection, address=address, deadline=deadline)
        self._selector.register(connection, selectors.EVENT_READ)

    def _go_on(self, knocking: _Knocking) -> None:
        """Go on with one exchange."""
        try:
            if not knocking.unsent:
                self._receive(knocking)
            self._send(knocking)
        except BlockingIOError:
            return
        except ChannelRefused as error:
            self._refuse(knocking, error)
        except OSError as error:
            self._refuse(knocking, ChannelRefused(f"the other side has gone: {error.strerror}", code="cut-short"))

    def _receive(self, knocking: _Knocking) -> None:
        content = knocking.connection.recv(_AT_ONCE)
        if knocking.session is None:
            if not content:
                raise ChannelRefused("the other side has gone without a word", code="cut-short")
            knocking.session = self._endpoint.session(time.monotonic())
        knocking.session.receive(content)
        knocking.unsent = knocking.session.to_send()

    def _send(self, knocking: _Knocking) -> None:
        if knocking.unsent:
            sent = knocking.connection.send(knocking.unsent)
            knocking.unsent = knocking.unsent[sent:]
        wanted = selectors.EVENT_WRITE if knocking.unsent else selectors.EVENT_READ
        self._selector.modify(knocking.connection, wanted)
        if knocking.session is not None and knocking.session.is_open and not knocking.unsent:
            self._open(knocking, knocking.session)

    def _open(self, knocking: _Knocking, session: ChannelSession) -> None:
        """Give an open channel to a thread of its own."""
        if not self._places.acquire(blocking=False):
            session.abort("too-many")
            self._refuse(knocking, ChannelRefused("too many channels are open", code="too-many"))
            return
        del self._waiting[knocking.connection]
        self._selector.unregister(knocking.connection)
        channel = Channel(knocking.connection, session)
        try:
            threading.Thread(target=self._run, args=(channel,), daemon=True).start()
        except RuntimeError:  # no thread to be had: others will end
            self._places.release()
            channel.abort()

    def _run(self, channel: Channel) -> None:
        try:
            with channel:
                self._connected(channel)
        except (ChannelRefused, OSError) as error:
            if self._refused is not None:
                said = error if isinstance(error, ChannelRefused) else ChannelRefused(str(error.strerror or error))
                self._refused(None, said)
        finally:
            self._places.release()

    def _let_go_of_the_late(self) -> None:
        now = time.monotonic()
        late: list[_Knocking] = []
        for knocking in self._waiting.values():
            if knocking.deadline > now:
                break
            late.append(knocking)
        for knocking in late:
            if knocking.session is not None:
                knocking.session.abort("too-late")
            self._refuse(knocking, ChannelRefused("the other side has not proved itself in time", code="too-late"))

    def _refuse(self, knocking: _Knocking, error: ChannelRefused) -> None:
        """Tell both sides, and part."""
        if knocking.session is not None:
            with suppress(OSError):
                knocking.connection.send(knocking.unsent + knocking.session.to_send())
        self._drop(knocking)
        if self._refused is not None:
            self._refused(knocking.address, error)

    def _drop(self, knocking: _Knocking) -> None:
        self._waiting.pop(knocking.connection, None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(knocking.connection)
        knocking.connection.close()

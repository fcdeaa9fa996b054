"""Between asyncio's transport and the protocol of an application: a session, and a transport of its own.

In come an endpoint and the application's protocol; its `connection_made` is called once both sides have
agreed, and the transport's `get_extra_info("peer")` says who the other is. Evidence is made and judged in the loop's
executor, so that one slow root of trust stops nobody else. Back-pressure goes through both ways: `pause_writing` when
the network takes no more, `pause_reading` when the application does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from belljar.attestation.errors import ChannelRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.channels.endpoint import Endpoint
    from belljar.attestation.channels.session import ChannelSession
    from belljar.attestation.channels.work import Work

_AT_ONCE = 1 << 18
_ARRIVING = 1 << 16
_PARTING_S = 5.0
_NOBODY = asyncio.Protocol()  # hears nothing, and keeps nothing


class ChannelTransport(asyncio.Transport):
    """What the application writes to. Made by `ChannelProtocol`."""

    def __init__(self, below: asyncio.Transport, protocol: ChannelProtocol, application: asyncio.Protocol) -> None:
        super().__init__()
        self._below = below
        self._channel = protocol
        self._application: asyncio.BaseProtocol = application

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return who is on the other side for "peer"; else what the network's transport knows."""
        if name == "peer":
            return self._channel.session.peer
        return self._below.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send content."""
        self._channel.write(data)

    def can_write_eof(self) -> bool:
        """Say that a side can finish while the other goes on."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more is sent."""
        self._channel.finish()

    def close(self) -> None:
        """Finish, send what is left, and part."""
        self._channel.finish()
        self._below.close()

    def abort(self) -> None:
        """Part at once."""
        self._channel.give_up()

    def is_closing(self) -> bool:
        """Say whether it is being closed."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Have no more content for now."""
        self._channel.paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Have content again."""
        if not self._below.is_closing():
            self._below.resume_reading()
        self._channel.resume()

    def is_reading(self) -> bool:
        """Say whether content is given on."""
        return not self._channel.paused

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set between which sizes of its buffer writing is paused and resumed."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how much waits to be sent."""
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return between which sizes writing is paused and resumed."""
        return self._below.get_write_buffer_limits()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to another protocol."""
        self._application = protocol
        self._channel.application = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return what gets what comes."""
        return self._application


class ChannelProtocol(asyncio.BufferedProtocol):
    """Between asyncio's transport and the application's protocol.

    Args:
        endpoint: makes the session.
        application: gets content.
        refused: is told why a channel is not opened or was given up.
        loop: runs this.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        application: asyncio.Protocol,
        refused: Callable[[ChannelRefused], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.session: ChannelSession = endpoint.session(loop.time(), inline=False)
        self.application: asyncio.BaseProtocol = application
        self._first = application
        self.paused = False
        self._arrived = bytearray()
        self._refused = refused
        self._loop = loop
        self._below: asyncio.Transport | None = None
        self._transport: ChannelTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._working = False
        self._ended = False
        self._failure: ChannelRefused | None = None
        self._told_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        if isinstance(transport, asyncio.Transport):
            self._below = transport
            self._after()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where bytes from the network are put: there is none while nothing comes."""
        del sizehint
        self._arrived = bytearray(_ARRIVING)
        return self._arrived

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes from the network."""
        arrived, self._arrived = memoryview(self._arrived)[:nbytes], bytearray()
        self._try(self.session.receive, arrived)

    def eof_received(self) -> bool:
        """Take that nothing more comes; say whether to go on sending."""
        self._try(self.session.receive, b"")
        return self.session.is_open and not self.session.is_over

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        if self._timer is not None:
            self._timer.cancel()
        self._below = None
        if self._transport is not None:
            known = self._failure or (None if self.session.is_over else exc)  # after both have finished, none matters
            self.application.connection_lost(known)
            self._transport.set_protocol(_NOBODY)  # a cycle of all three would keep OpenSSL's memory for long
            self._transport, self._first = None, _NOBODY
        elif not self._ended:
            self._refused(ChannelRefused("the other side has gone before both sides had agreed", code="cut-short"))
        self._refused = _unheard  # it may know who waits, and that may know this

    def pause_writing(self) -> None:
        """Tell the application that the network takes no more."""
        if self._transport is not None:
            self.application.pause_writing()

    def resume_writing(self) -> None:
        """Tell the application that the network takes more."""
        if self._transport is not None:
            self.application.resume_writing()

    def has_room(self) -> bool:
        """Say whether the channel may be open; a server with places has a say in it."""
        return True

    def let_go(self, why: str) -> None:
        """Part at once with a side that has no place here, and say so."""
        self.session.abort("too-many")
        below = self._below
        self._end(ChannelRefused(why, code="too-many"))
        if below is not None and below.get_write_buffer_size():
            below.abort()  # who takes nothing keeps no descriptor of ours

    # what the application asks

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Send content; after the end of the channel it goes nowhere, as with asyncio's own transports."""
        view = memoryview(content).cast("B")
        try:
            while view and self._below is not None:
                view = view[self.session.write(view) :]
                self._below.write(self.session.to_send())
        except ChannelRefused:
            pass

    def finish(self) -> None:
        """Say that nothing more is sent."""
        try:
            self.session.finish()
        except ChannelRefused:
            pass
        self._flush()
        if self.session.is_over and self._below is not None:
            self._below.close()

    def give_up(self) -> None:
        """Part at once."""
        self.session.abort()
        self._part()

    def resume(self) -> None:
        """Give the application what has come meanwhile, from the loop."""
        if self.paused:
            self.paused = False
            self._loop.call_soon(self._deliver)

    # within

    def _try(self, step: Callable[[Any], None], given: object) -> None:
        """Take a step of the session, and see to what follows from it."""
        if self._ended:
            return
        try:
            step(given)
        except ChannelRefused as error:
            self._deliver()
            self._end(error)
            return
        self._after()

    def _after(self) -> None:
        self._flush()
        if self.session.is_open:
            if self._transport is None and self._below is not None:
                if not self.has_room():
                    return
                self._transport = ChannelTransport(self._below, self, self._first)
                self._first.connection_made(self._transport)
            self._deliver()
            if self.session.is_over and self._below is not None:
                self._below.close()
        self._give_work()
        self._arm()

    def _deliver(self) -> None:
        """Give the application what has come."""
        application = self.application
        if self._transport is None or not isinstance(application, asyncio.Protocol):
            return
        try:
            while not self.paused and (content := self.session.read(_AT_ONCE)):
                application.data_received(content)
        except ChannelRefused:
            return
        if not self.paused and self.session.at_end and not self._told_end:
            self._told_end = True
            if not application.eof_received():
                self.finish()

    def _flush(self) -> None:
        content = self.session.to_send()
        if content and self._below is not None:
            self._below.write(content)

    def _end(self, error: ChannelRefused) -> None:
        """Part with a side that was refused, or refuses."""
        self._ended, self._failure = True, error.bare()
        self._refused(error)
        self._part()

    def _part(self) -> None:
        self._flush()
        if self._below is not None:
            self._below.close()
            self._loop.call_later(_PARTING_S, self._below.abort)  # who takes nothing does not keep us

    def _give_work(self) -> None:
        work = self.session.work
        if work is None or self._working:
            return
        self._working = True
        done = self._loop.run_in_executor(None, work.run)
        done.add_done_callback(lambda _: self._worked(work))

    def _worked(self, work: Work) -> None:
        self._working = False
        if self._below is not None:
            self._try(self.session.complete, work)

    def _arm(self) -> None:
        due = self.session.due
        if self._timer is not None and (due is None or self._timer.when() > due):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._try(self.session.tick, self._loop.time())


def _unheard(_error: ChannelRefused) -> None:
    """Take what nobody is told any more."""

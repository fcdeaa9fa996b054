"""One connection: bytes between a socket outside and a socket of the guest, through a codec, with back-pressure.

In come two connected sockets, one after the other; out goes the end. Whoever does not read is not read from: at most
`HIGH_WATER` bytes and one piece are held for each direction. Ends of streams pass one by one (half-close). Whatever
goes wrong with one connection ends this one, and the guest sees a reset rather than an end that nobody sent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from .served import NotServed

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from .codecs import Codec, Work
    from .journal import Counts

HIGH_WATER = 256 << 10
PIECE = 256 << 10
_MAX_UNSENT = 2 << 20  # of the guest's bytes and of what the other side asked for; twice what an honest one leaves
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with a reset (socket(7))


class Bridge:
    """Two sockets and what is between them.

    Args:
        codec: translates.
        counts: where bytes are counted.
        workshop: room to receive into, which bridges of one thread share, as each piece is used at once; and threads.

    Attributes:
        done: done when everything is over; its result is why, or empty for a proper end.
        gone: done when both sockets are closed.
        touched: when the last byte came, by the loop's clock.
        was_reset: whether one side just went away: that is its own business.
    """

    def __init__(self, codec: Codec, counts: Counts, workshop: tuple[memoryview, ThreadPoolExecutor]) -> None:
        self._loop = asyncio.get_running_loop()
        self.codec = codec
        self._counts = counts
        self._room, self._threads = workshop
        self._working: Work | None = None
        self._far: asyncio.Transport | None = None
        self._near: asyncio.Transport | None = None
        self._guest_ended = self._guest_told = self._far_ended = False
        self._opened: asyncio.Future[str] = self._loop.create_future()  # its result is why not, or empty
        self.done: asyncio.Future[str] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._attached_ends: set[asyncio.Transport] = set()
        self.touched = self._loop.time()
        self.was_reset = False

    @property
    def is_drained(self) -> bool:
        """Whether all that the guest sent, to its end, has been given to the kernel."""
        far = self._far
        return self.done.done() or (self._guest_ended and (far is None or far.get_write_buffer_size() == 0))

    async def until_open(self) -> None:
        """Wait until the codec lets bytes flow.

        Raises:
            NotServed: it does not; made here, as one that is kept would keep this bridge and its codec.
        """
        if why := await self._opened:
            raise NotServed(why)

    async def attach_far(self, outside: socket.socket) -> None:
        """Take the socket outside, and let the codec begin."""
        self._far = await self._attached(outside, self._from_outside, self._outside_ended, self._pause_near)
        self._guarded(self._flow)

    async def attach_near(self, guest: socket.socket, first: bytes = b"") -> None:
        """Take the guest's socket; `first` is written before all else."""
        near = await self._attached(guest, self._from_guest, self._on_guest_end, self._pause_far)
        if first:
            near.write(first)
        self._near = near
        if self._far is not None:
            self._far.resume_reading()
        self._guarded(self._flow)

    async def _attached(
        self,
        end: socket.socket,
        take: Callable[[bytes], None],
        ended: Callable[[], None],
        pause: Callable[[bool], None],
    ) -> asyncio.Transport:
        protocol = _End(self, self._room, take, ended, pause)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, end)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        protocol.transport = transport
        if not protocol.is_lost:
            self._attached_ends.add(transport)
        return transport

    def _from_outside(self, octets: bytes) -> None:
        self.codec.receive(octets)
        self._flow()

    def _outside_ended(self) -> None:
        self.codec.receive_end()
        self._flow()
        if not self._opened.done():
            self.fail("ended by the other side")

    def _from_guest(self, octets: bytes) -> None:
        self._counts.sent_bytes += len(octets)
        self.codec.write(octets)
        self._flow()

    def _on_guest_end(self) -> None:
        self._guest_ended = True
        self.codec.finish()
        self._flow()
        if self.codec.ends_stream and self._far is not None and not self._far.is_closing():
            self._far_ended = True
            self._far.write_eof()

    def _flow(self) -> None:
        """Move what the codec has."""
        self.touched = self._loop.time()
        self._have_worked()
        if self._far is not None and (outward := self.codec.to_send()) and not self._far_is_over():
            self._write_far(self._far, outward)
        if self.codec.is_open and not self._opened.done():
            self._opened.set_result("")
            if self._near is None and self._far is not None:
                self._far.pause_reading()  # until there is somebody to give it to
        if self._near is None:
            return
        if inward := self.codec.read():
            self._counts.received_bytes += len(inward)
            self._near.write(inward)
        if self.codec.has_ended and not self._guest_told:
            self._guest_told = True
            self._near.write_eof()
        if self._guest_told and self._guest_ended:
            self._close("")

    @staticmethod
    def _write_far(far: asyncio.Transport, outward: bytes) -> None:
        """Send; the guest is not read when this piles up, but who asks for evidence and reads none has to go."""
        far.write(outward)
        if far.get_write_buffer_size() > _MAX_UNSENT:
            raise NotServed("the other side does not read what it asks for")

    def _far_is_over(self) -> bool:
        return self._far_ended or self._far is None or self._far.is_closing()

    def _have_worked(self) -> None:
        """Have slow work done in a thread; go on when it is."""
        work = self.codec.work
        if work is not None and self._working is None and not self.done.done():
            self._working = work
            self._loop.run_in_executor(self._threads, work.run).add_done_callback(lambda _: self._worked(work))

    def _worked(self, work: Work) -> None:
        self._working = None
        if not self.done.done():
            self._guarded(lambda: self._go_on(work))

    def _go_on(self, work: Work) -> None:
        self.codec.complete(work)
        self._flow()

    def tick(self, now: float) -> None:
        """Look at the time, by the loop's clock; most connections have nothing due."""
        due = self.codec.due
        if due is not None and now >= due and not self.done.done():
            touched = self.touched
            self._guarded(lambda: self._ticked(now))
            self.touched = touched  # to look at the time is no sign of life

    def _ticked(self, now: float) -> None:
        self.codec.tick(now)
        self._flow()

    def _pause_near(self, paused: bool) -> None:  # noqa: FBT001 - the one thing it is told
        _pause(self._near, paused=paused)

    def _pause_far(self, paused: bool) -> None:  # noqa: FBT001 - the one thing it is told
        _pause(self._far, paused=paused)

    def guarded(self, step: Callable[[], None]) -> None:
        """Take a step of the connection; if that fails, the connection does."""
        self._guarded(step)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except NotServed as refused:
            self._send_last()
            self.fail(str(refused))
        except (OSError, RuntimeError) as error:  # RuntimeError: the transport is closing
            self.fail(str(error))
        except Exception as mistake:  # noqa: BLE001 - of ours; the sweep, and so the gateway, must not end with it
            self.fail(f"a mistake of the gateway: {mistake!r}")

    def _send_last(self) -> None:
        """Send what the codec still has to say: why it refuses."""
        try:
            if self._far is not None and (last := self.codec.to_send()) and not self._far_is_over():
                self._far.write(last)
        except NotServed:
            pass

    def lost(self, transport: asyncio.Transport | None, error: Exception | None) -> None:
        """Learn that a socket is closed."""
        if transport is not None:
            self._attached_ends.discard(transport)
        if not self.done.done():
            self.was_reset = True
            self.fail("reset" if error is None else str(error) or "reset")
        self._see_if_gone()

    def _see_if_gone(self) -> None:
        if self.done.done() and not self._attached_ends and not self.gone.done():
            self.gone.set_result(None)

    def fail(self, why: str) -> None:
        """End it: the guest sees a reset, the other side what was written so far."""
        if self._near is not None:
            _reset(self._near)
        self._near = None
        self._close(why or "ended")

    def _close(self, why: str) -> None:
        for transport in (self._near, self._far):
            if transport is not None and not transport.is_closing():
                transport.close()
        if not self._opened.done():
            self._opened.set_result(why or "ended")
        if not self.done.done():
            self.done.set_result(why)
        self._see_if_gone()

    def abort(self, why: str) -> None:
        """End it now, and drop what was not yet sent."""
        self.fail(why)
        for transport in tuple(self._attached_ends):
            transport.abort()


def _pause(transport: asyncio.Transport | None, *, paused: bool) -> None:
    if transport is None or transport.is_closing():
        return
    if paused:
        transport.pause_reading()
    else:
        transport.resume_reading()


def _reset(transport: asyncio.Transport) -> None:
    made = transport.get_extra_info("socket")
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:  # a unix socket, or closed already
        pass
    transport.abort()


class _End(asyncio.BufferedProtocol):
    """One socket of a bridge, as asyncio talks to it."""

    def __init__(
        self,
        bridge: Bridge,
        room: memoryview,
        take: Callable[[bytes], None],
        ended: Callable[[], None],
        pause: Callable[[bool], None],
    ) -> None:
        self._bridge = bridge
        self._room = room
        self._take = take
        self._ended = ended
        self._pause = pause
        self.transport: asyncio.Transport | None = None
        self.is_lost = False

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        octets = bytes(self._room[:nbytes])
        self._bridge.guarded(lambda: self._take(octets))

    def eof_received(self) -> bool:
        self._bridge.guarded(self._ended)
        return True

    def pause_writing(self) -> None:
        self._pause(True)

    def resume_writing(self) -> None:
        self._pause(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._bridge.lost(self.transport, exc)

"""Local connections, each carried through a channel of its own to one server; many at once in one loop.

In come local connections; out go channels, and a word on stderr for each that was refused or broke. Bytes go both
ways with back-pressure: who takes nothing more stops who sends. A side that finishes stops nobody else: the other way
goes on until it ends, too. What breaks is reset on the local side, so that nobody takes half of something for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING

from belljar.attestation.channel import ChannelRefused, create_channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.channel import Address, Endpoint

MAX_CONNECTIONS = 1024
_QUEUE = 128
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 seconds
_LARGEST_BUFFER = 1 << 18
_ARRIVING = (1 << 16) - 4  # what fills one frame


class Half(asyncio.Protocol):
    """One of two ends that are tied together."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Half | None = None
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, without reading: there may be nowhere to carry it to."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
            transport.set_write_buffer_limits(_LARGEST_BUFFER)
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Carry content over."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Finish on the other end; this one may still send."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Part, on the other end, too."""
        if not self.ended.done():
            self.ended.set_result(exc)
        other, self.other = self.other, None
        if other is not None:
            other.leave(broken=exc is not None)

    def pause_writing(self) -> None:
        """Have the other end take nothing more from its network."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Have it go on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def leave(self, *, broken: bool) -> None:
        """Part; a local connection is reset where the channel broke."""
        if self.transport is None or self.transport.is_closing():
            return
        if not broken:
            self.transport.close()
            return
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.family != getattr(socket, "AF_UNIX", None):
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class Local(Half, asyncio.BufferedProtocol):
    """The end on this machine: what arrives is carried over before more does, and kept nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, without reading: before Python 3.11.4 a socket is read behind this, paused or not."""
        super().connection_made(transport)
        asyncio.get_running_loop().call_soon(self._pause_again)

    def _pause_again(self) -> None:
        if self.other is None and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where bytes are put: there is no such place while nothing comes."""
        del sizehint
        self._arrived = bytearray(_ARRIVING)
        return self._arrived

    def buffer_updated(self, nbytes: int) -> None:
        """Carry content over: a channel takes a copy at once."""
        arrived, self._arrived = memoryview(self._arrived)[:nbytes], bytearray()
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(arrived)


def tie(one: Half, other: Half) -> None:
    """Tie two ends together, and let both read."""
    one.other, other.other = other, one
    for half in (one, other):
        if half.transport is not None and not half.transport.is_closing():
            half.transport.resume_reading()


class Relay:
    """Carries local connections to one server.

    Args:
        address: of the server.
        endpoint: opens channels.
        say: tells a person what went wrong with one connection, and what to do about it.
        once: whether to end with the first connection.
    """

    def __init__(
        self, address: Address, endpoint: Endpoint, say: Callable[[str, str | None], None], *, once: bool
    ) -> None:
        self._address = address
        self._endpoint = endpoint
        self._say = say
        self._once = once
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = 0

    def stop(self) -> None:
        """End: no more connections, and those there are part."""
        self._stopped.set()

    async def serve(self, listening: socket.socket, ready: Callable[[], None]) -> None:
        """Carry connections until told to stop, or until the first has ended if there is to be only one."""
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if listening.family == getattr(socket, "AF_UNIX", None) else loop.create_server
        server = await make(self._accepted, sock=listening, backlog=_QUEUE)
        ready()
        try:
            await self._stopped.wait()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self) -> Local:
        local = Local()
        task = asyncio.get_running_loop().create_task(self._carry(local))
        self._tasks.add(task)
        task.add_done_callback(self._carried)
        return local

    def _carried(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._once:
            self.stop()

    async def _carry(self, local: Local) -> None:
        """Carry one connection to its end."""
        remote: Half | None = None
        try:
            if len(self._tasks) > MAX_CONNECTIONS:
                await asyncio.sleep(0)  # its transport is there by then
                self._tell(ChannelRefused(f"{MAX_CONNECTIONS} are open already"))
                local.leave(broken=True)
                return
            _, opened = await create_channel(Half, self._address, self._endpoint)
            if isinstance(opened, Half):
                remote = opened
                tie(local, remote)
                reason = await remote.ended
                if reason is not None:
                    self._tell(reason)
                await local.ended
        except (ChannelRefused, OSError) as error:
            self._tell(error)
            local.leave(broken=True)
        except asyncio.CancelledError:
            for half in (local, remote):
                if half is not None:
                    half.leave(broken=True)
            raise

    def _tell(self, error: Exception) -> None:
        self.failed += 1
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._say(f"a connection failed: {text}", getattr(error, "hint", None))


def listen(address: Address) -> socket.socket:
    """Return a socket that listens on an address, of which a unix one is this user's alone.

    Raises:
        OSError: nobody can listen there.
    """
    if not isinstance(address, str):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        return socket.create_server(address, family=family, backlog=_QUEUE)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listening.bind(address)
        finally:
            os.umask(before)
        listening.listen(_QUEUE)
    except OSError:
        listening.close()
        raise
    return listening

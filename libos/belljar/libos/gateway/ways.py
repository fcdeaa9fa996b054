"""What the gateway does with one connection, for each kind of entry: who must prove what before anybody is connected.

In comes a visit of a door; out comes a bridge that carries it. Inward, the guest learns of a connection only when the
other side has proven what the entry asks. Outward, the guest's bytes are read only when the other side has.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from .addresses import Address, address
from .bridge import PIECE, Bridge
from .codecs import Plain, Tls
from .hello import Hello
from .resolving import NotPublic, connect_outside, keep_alive
from .served import NotServed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from concurrent.futures import ThreadPoolExecutor

    from belljar.attestation.channel import Endpoint, RatlsEndpoint
    from belljar.libos.spec import Inward, Outward

    from .codecs import Codec
    from .doors import Door, Visit
    from .giving import Sockets
    from .journal import Counts
    from .peers import Peers

_FIRST_S = 10.0  # after the start: so long a port that nobody listens at yet is tried again
_AGAIN_S = 0.05


class Around:
    """What the ways of one gateway share.

    Args:
        counts: of the gateway.
        threads: for slow work.
        sockets: connections to the guest; None if none is ever made.
        peers: shows the guest who comes.
    """

    def __init__(self, counts: Counts, threads: ThreadPoolExecutor, sockets: Sockets | None, peers: Peers) -> None:
        self.counts = counts
        self.sockets = sockets
        self.peers = peers
        self.workshop = memoryview(bytearray(PIECE)), threads
        self._begun = asyncio.get_running_loop().time()

    def bridge(self, visit: Visit, codec: Codec) -> Bridge:
        """Return the bridge of a visit."""
        visit.bridge = Bridge(codec, self.counts, self.workshop)
        return visit.bridge

    async def to_guest(self, where: Address, peer: bytes) -> socket.socket:
        """Return a connection to the guest; while it starts, that may take a moment.

        Args:
            where: the guest listens.
            peer: what the guest may look up of who comes, from before it is connected; empty for nothing.

        Raises:
            NotServed: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        while self.sockets is not None:
            try:
                return await self._connected(self.sockets, where, peer)
            except BlockingIOError:  # a unix socket that has not taken those before: TCP would wait, too
                pass
            except (ConnectionRefusedError, FileNotFoundError) as error:
                if loop.time() - self._begun > _FIRST_S:
                    raise NotServed(f"the program does not listen at {where}") from error
            await asyncio.sleep(_AGAIN_S)
        raise NotServed("no connection to the enclave can be made")

    async def _connected(self, sockets: Sockets, where: Address, peer: bytes) -> socket.socket:
        if where.path:
            return await sockets.connected(where.path)
        made = await sockets.unconnected()
        port = 0
        try:
            if peer:
                made.bind(("", 0))
                port = _port(made)
                self.peers.come(port, peer)
            await asyncio.get_running_loop().sock_connect(made, (where.host, where.port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.peers.go(port, peer)
            made.close()
            raise
        return made


class InwardWay:
    """Connections from outside to the guest.

    Args:
        entry: of the specification.
        around: what all ways share.
        endpoint: of attested channels; None for plain connections.

    Attributes:
        door: the door they come through.
    """

    def __init__(self, entry: Inward, around: Around, endpoint: Endpoint | RatlsEndpoint | None) -> None:
        self._entry = entry
        self._around = around
        self._endpoint = endpoint
        self._guest = address(entry.guest)
        self.door: Door | None = None

    async def serve(self, visit: Visit) -> None:
        """Serve one connection to its end."""
        port, known = 0, b""
        try:
            async with asyncio.timeout(self._entry.traffic.handshake_ms / 1000):
                bridge, places = await self._proven(visit)
                header, known = self._introduction(visit, bridge.codec, places)
                guest = await self._around.to_guest(self._guest, known)
                port = _port(guest)
                await bridge.attach_near(guest, header)
            await _through(bridge)
        finally:
            self._around.peers.go(port, known)

    async def _proven(self, visit: Visit) -> tuple[Bridge, tuple[object, object]]:
        """Return the bridge to who comes, once that has proven what it must, and both its addresses."""
        places = _places(visit.end)
        codec: Codec = Plain()
        if self._endpoint is not None:
            from .channels import session_of

            codec = await session_of(self._endpoint, self._around.workshop[1])
        bridge = self._around.bridge(visit, codec)
        await bridge.attach_far(visit.take())
        await bridge.until_open()
        if self.door is not None:
            self.door.proven(visit)
        return bridge, places

    def _introduction(self, visit: Visit, codec: Codec, places: tuple[object, object]) -> tuple[bytes, bytes]:
        """Return who comes: for a header, if it is asked for, and for the file of the guest."""
        short = known = b""
        if self._endpoint is not None:
            from .channels import Channel
            from .peers import described

            if isinstance(codec, Channel):
                peer = codec.peer
                short = described(peer, visit.who, whole=False)
                known = described(peer, visit.who, whole=True)
        if not self._entry.proxy_protocol:
            return b"", known
        from .proxy import header

        return header(*places, short), known


class OutwardWay:
    """Connections of the guest to one place outside.

    Args:
        entry: of the specification.
        around: what all ways share.
        make: returns the codec of a new connection; None where the guest's own TLS passes through.
    """

    def __init__(self, entry: Outward, around: Around, make: Callable[[], Awaitable[Codec]] | None) -> None:
        self._entry = entry
        self._around = around
        self._make = make
        self._outside = address(entry.outside)
        self.door: Door | None = None

    async def serve(self, visit: Visit) -> None:
        """Serve one connection to its end."""
        async with asyncio.timeout(self._entry.traffic.handshake_ms / 1000):
            bridge = await self._connect(visit)
        await _through(bridge)

    async def _connect(self, visit: Visit) -> Bridge:
        first = await self._first(visit) if self._make is None else b""
        outside = await self._reached()
        try:
            codec: Codec = Plain() if self._make is None else await self._make()
            if first:
                codec.write(first)
        except BaseException:
            outside.close()
            raise
        bridge = self._around.bridge(visit, codec)
        await bridge.attach_far(outside)
        await bridge.until_open()
        if self.door is not None:
            self.door.proven(visit)
        await bridge.attach_near(visit.take())
        return bridge

    async def _reached(self) -> socket.socket:
        try:
            return await connect_outside(self._outside, private=self._entry.private)
        except NotPublic:
            self._around.counts.unmet.note("address", self._outside.host)
            raise

    async def _first(self, visit: Visit) -> bytes:
        """Return the guest's first bytes, once they name the server that the manifest allows."""
        hello, read = Hello(), b""
        loop = asyncio.get_running_loop()
        while visit.end is not None:
            octets = await loop.sock_recv(visit.end, PIECE)
            if not octets:
                raise NotServed("the program ended the connection before it said which server it wants")
            read += octets
            named = hello.receive(octets)
            if named is not None:
                if named.lower().rstrip(".") != self._outside.host.lower():
                    self._around.counts.unmet.note("server", named.lower().rstrip("."))
                    raise NotServed(f"the program wants the server {named[:80]}, expected {self._outside.host}")
                return read
        raise NotServed("gone")


async def _through(bridge: Bridge) -> None:
    why = await bridge.done
    if why:
        raise NotServed(why)


def _places(outside: socket.socket | None) -> tuple[object, object]:
    if outside is None or outside.family == socket.AF_UNIX:
        return "", ""
    keep_alive(outside)
    return outside.getpeername(), outside.getsockname()


def _port(inside: socket.socket) -> int:
    return 0 if inside.family == socket.AF_UNIX else int(inside.getsockname()[1])


def codec_maker(
    entry: Outward, endpoint: Endpoint | RatlsEndpoint | None, context: ssl.SSLContext | None, around: Around
) -> Callable[[], Awaitable[Codec]] | None:
    """Return what makes the codec of a connection to one place outside; None where the guest's own TLS passes."""
    if entry.security == "guest-tls":
        return None
    name = address(entry.outside).host

    async def make() -> Codec:
        if endpoint is not None:
            from .channels import session_of

            return await session_of(endpoint, around.workshop[1])
        return Plain() if context is None else Tls(context, name)

    return make

"""Channels for asyncio: protocols or streams over them, as asyncio has them over connections.

In come addresses, endpoints, policies; out come channels that both sides have agreed on. `get_extra_info("peer")` of a
transport or writer says who is on the other side.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from belljar.attestation.channels.binding import Role
from belljar.attestation.channels.endpoint import Endpoint

from .dialling import with_policy
from .places import PlacedProtocol, Places
from .transport import ChannelProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from belljar.attestation.channels.terms import Terms
    from belljar.attestation.errors import ChannelRefused
    from belljar.attestation.verifier import Policy

    from .dialling import Address

_STREAM_LIMIT = 1 << 18
_MOST_WAITING = 1024
_MOST_CHANNELS = 1024


async def create_channel(
    application: Callable[[], asyncio.Protocol], address: Address, endpoint: Endpoint
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """Open a channel for a protocol, as `loop.create_connection` does a connection.

    Raises:
        ChannelRefused: the server is not accepted, or does not accept this client.
        OSError: it cannot be reached.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[asyncio.Transport] = loop.create_future()
    protocol = _Announcing(application(), opened)

    def refused(error: ChannelRefused) -> None:
        if not opened.done():
            opened.set_exception(error)

    def below() -> ChannelProtocol:
        return ChannelProtocol(endpoint, protocol, refused, loop)

    if isinstance(address, str):
        transport, _ = await loop.create_unix_connection(below, address)
    else:
        transport, _ = await loop.create_connection(below, *address)
    try:
        found = await opened
    except BaseException:
        transport.abort()
        raise
    return found, protocol.inner


async def open_channel(
    address: Address,
    *,
    policy: Policy | None = None,
    terms: Terms | None = None,
    endpoint: Endpoint | None = None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return streams over an open channel to a server that the policy accepts, as `asyncio.open_connection` does.

    Args:
        address: host and port, or the path of a unix socket.
        policy: what the server must be.
        terms: everything else.
        endpoint: in place of both, where many channels are opened.

    Raises:
        ChannelRefused: the server is not accepted, or does not accept this client.
        OSError: it cannot be reached.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_STREAM_LIMIT, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    using = endpoint or Endpoint(Role.CLIENT, with_policy(terms, policy))
    transport, _ = await create_channel(lambda: protocol, address, using)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def create_server(
    application: Callable[[], asyncio.Protocol],
    address: Address,
    endpoint: Endpoint,
    *,
    refused: Callable[[ChannelRefused], None] | None = None,
    waiting: int = _MOST_WAITING,
    channels: int = _MOST_CHANNELS,
) -> asyncio.Server:
    """Serve channels with a protocol for each, as `loop.create_server` does connections.

    Args:
        application: makes the protocol of one channel.
        address: where to listen.
        endpoint: of the server.
        refused: is told why a client was refused.
        waiting: how many may be on their way to a channel at once; for one more, who has waited longest is let go.
        channels: how many may be open at once; one more is refused.

    Raises:
        ChannelRefused: there is no place for anybody.
        OSError: nobody can listen there.
    """
    loop = asyncio.get_running_loop()

    places = Places(waiting, channels)

    def below() -> ChannelProtocol:
        return PlacedProtocol(endpoint, application(), refused or _ignored, loop, places=places)

    if isinstance(address, str):
        return await loop.create_unix_server(below, address)
    return await loop.create_server(below, *address)


async def serve(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    address: Address,
    endpoint: Endpoint,
    *,
    refused: Callable[[ChannelRefused], None] | None = None,
    waiting: int = _MOST_WAITING,
    channels: int = _MOST_CHANNELS,
) -> asyncio.Server:
    """Serve channels with streams, as `asyncio.start_server` does connections.

    Args:
        connected: is called for each channel; `writer.get_extra_info("peer")` says who it is.
        address: where to listen.
        endpoint: of the server.
        refused: is told why a client was refused.
        waiting: how many may be on their way to a channel at once; for one more, who has waited longest is let go.
        channels: how many may be open at once; one more is refused.

    Raises:
        ChannelRefused: there is no place for anybody.
        OSError: nobody can listen there.
    """
    loop = asyncio.get_running_loop()

    def application() -> asyncio.Protocol:
        reader = asyncio.StreamReader(_STREAM_LIMIT, loop)
        return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

    return await create_server(application, address, endpoint, refused=refused, waiting=waiting, channels=channels)


class _Announcing(asyncio.Protocol):
    """Says when a channel is open, and then gets out of the way."""

    def __init__(self, inner: asyncio.Protocol, opened: asyncio.Future[asyncio.Transport]) -> None:
        self.inner = inner
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the transport to the application's protocol."""
        if isinstance(transport, asyncio.Transport):
            transport.set_protocol(self.inner)
            self.inner.connection_made(transport)
            if not self._opened.done():
                self._opened.set_result(transport)


def _ignored(_error: ChannelRefused) -> None:
    return

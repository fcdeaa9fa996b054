"""Channels where httpcore wants connections: for threads, and for asyncio.

In come addresses; out come streams over open channels, whose errors are httpcore's. Both kinds differ in nothing but
how they wait. How long it may take to open a channel, the terms say.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpcore

from belljar.attestation.channels.sockets.aio import open_channel
from belljar.attestation.channels.sockets.dialling import connect
from belljar.attestation.errors import ChannelRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Iterable

    from belljar.attestation.channels.endpoint import Endpoint
    from belljar.attestation.channels.sockets.blocking import Channel

_HAS_TLS = "a channel has its TLS already"


class Refused(httpcore.ConnectError):
    """A channel that was not opened, and why: httpcore takes causes off."""

    def __init__(self, message: str, why: ChannelRefused) -> None:
        super().__init__(message)
        self.why = why


@contextmanager
def _connecting(host: str, port: int) -> Generator[None]:
    """Raise whatever keeps a channel from being opened as httpcore's errors."""
    try:
        yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(f"{host}:{port}: {str(error) or 'not in time'}") from error
    except ChannelRefused as error:
        raise Refused(f"{host}:{port}: {error}", error) from error
    except OSError as error:
        raise httpcore.ConnectError(f"{host}:{port}: {error}") from error


@contextmanager
def _reading() -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpcore.ReadTimeout(str(error)) from error
    except (ChannelRefused, OSError) as error:
        raise httpcore.ReadError(str(error)) from error


@contextmanager
def _writing() -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpcore.WriteTimeout(str(error)) from error
    except (ChannelRefused, OSError) as error:
        raise httpcore.WriteError(str(error)) from error


class Backend(httpcore.NetworkBackend):
    """Opens channels for threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Return a stream over an open channel."""
        del timeout, local_address, socket_options
        with _connecting(host, port):
            return _Stream(connect((host, port), endpoint=self._endpoint))


class _Stream(httpcore.NetworkStream):
    """A channel as httpcore sees a connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come; b"" at the end."""
        self._channel.settimeout(timeout)
        with _reading():
            return self._channel.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self._channel.settimeout(timeout)
        with _writing():
            self._channel.sendall(buffer)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Refuse: there is TLS already."""
        del ssl_context, server_hostname, timeout
        raise httpcore.ConnectError(_HAS_TLS)

    def get_extra_info(self, info: str) -> Any:
        """Return who is on the other side for "peer", and whether httpcore should look for something to read."""
        if info == "peer":
            return self._channel.peer
        return bool(self._channel.pending()) if info == "is_readable" else None


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Opens channels for asyncio."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a stream over an open channel."""
        del timeout, local_address, socket_options
        with _connecting(host, port):
            async with asyncio.timeout(self._endpoint.terms.limits.handshake_s):
                return _AsyncStream(*await open_channel((host, port), endpoint=self._endpoint))

    async def sleep(self, seconds: float) -> None:
        """Wait, between two attempts of httpcore's."""
        await asyncio.sleep(seconds)


class _AsyncStream(httpcore.AsyncNetworkStream):
    """A channel of asyncio as httpcore sees a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        """Return what has come; b"" at the end."""
        with _reading():
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Send all of it."""
        with _writing():
            self._writer.write(buffer)
            async with asyncio.timeout(timeout):
                await self._writer.drain()

    async def aclose(self) -> None:
        """Close the channel."""
        self._writer.close()
        with suppress(ChannelRefused, OSError):
            await self._writer.wait_closed()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: there is TLS already."""
        del ssl_context, server_hostname, timeout
        raise httpcore.ConnectError(_HAS_TLS)

    def get_extra_info(self, info: str) -> Any:
        """Return who is on the other side for "peer", and whether the channel has ended for "is_readable"."""
        if info == "peer":
            return self._writer.get_extra_info("peer")
        if info != "is_readable":
            return None
        return self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing()

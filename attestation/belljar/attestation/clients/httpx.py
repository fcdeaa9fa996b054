"""httpx over attested channels: every request of a client goes to an enclave that the policy accepts, or nowhere.

    with httpx.Client(transport=ChannelTransport(policy=policy)) as client:
        client.get("http://enclave.example:8443/")

    async with httpx.AsyncClient(transport=AsyncChannelTransport(policy=policy)) as client:
        await client.get("http://enclave.example:8443/")

In come requests; out come answers. URLs say `http`: the channel is the TLS, and ends in the enclave. Connections are
kept and used again as httpx does it. Redirects to other addresses go through channels on the same terms, so they are
refused elsewhere; proxies are not used. Of asynchronous libraries it is asyncio alone. Needs `pip install
belljar[clients]`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httpx

from .endpoints import client_endpoint
from .streams import AsyncBackend, Backend, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from belljar.attestation.channels.endpoint import Endpoint
    from belljar.attestation.channels.terms import Terms
    from belljar.attestation.verifier import Policy

_MOST, _KEPT, _KEPT_S = 100, 20, 5.0  # connections, as httpx has it


class ChannelTransport(httpx.BaseTransport):
    """Carries the requests of an `httpx.Client`.

    Args:
        policy: what servers must be.
        terms: everything else.
        endpoint: in place of both.

    Raises:
        ChannelRefused: nothing says what servers must be.
    """

    def __init__(
        self, *, policy: Policy | None = None, terms: Terms | None = None, endpoint: Endpoint | None = None
    ) -> None:
        backend = Backend(client_endpoint(policy, terms, endpoint))
        self._pool = httpcore.ConnectionPool(
            max_connections=_MOST, max_keepalive_connections=_KEPT, keepalive_expiry=_KEPT_S, network_backend=backend
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return the answer, whose body is still to be read.

        Raises:
            httpx.ConnectError: the server was refused, or refuses; a `ChannelRefused` is its cause.
            httpx.TransportError: as httpx has it.
        """
        carried = _carried(request)
        with _as_httpx():
            answer = self._pool.handle_request(carried)
        return _answered(answer, _Body(answer))

    def close(self) -> None:
        """Close every channel."""
        self._pool.close()


class AsyncChannelTransport(httpx.AsyncBaseTransport):
    """Carries the requests of an `httpx.AsyncClient`, on asyncio; arguments and errors are `ChannelTransport`'s."""

    def __init__(
        self, *, policy: Policy | None = None, terms: Terms | None = None, endpoint: Endpoint | None = None
    ) -> None:
        backend = AsyncBackend(client_endpoint(policy, terms, endpoint))
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_MOST, max_keepalive_connections=_KEPT, keepalive_expiry=_KEPT_S, network_backend=backend
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return the answer, whose body is still to be read; raises as `handle_request`."""
        carried = _carried(request)
        with _as_httpx():
            answer = await self._pool.handle_async_request(carried)
        return _answered(answer, _AsyncBody(answer))

    async def aclose(self) -> None:
        """Close every channel."""
        await self._pool.aclose()


def _carried(request: httpx.Request) -> httpcore.Request:
    """Return a request as httpcore has it.

    Raises:
        httpx.UnsupportedProtocol: its URL is not http://.
    """
    if request.url.scheme != "http":
        raise httpx.UnsupportedProtocol(f"{request.url.scheme}://: expected http://: the channel is the TLS")
    body: Any = request.stream  # iterated as the client does it: asynchronously, or not
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        ),
        headers=request.headers.raw,
        content=body,
        extensions=request.extensions,
    )


def _answered(answer: httpcore.Response, body: httpx.SyncByteStream | httpx.AsyncByteStream) -> httpx.Response:
    extensions = cast("Any", answer).extensions  # httpcore leaves the type of its values open
    return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=extensions)


class _Body(httpx.SyncByteStream):
    """The body of an answer."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        """Give the connection back."""
        self._answer.close()


class _AsyncBody(httpx.AsyncByteStream):
    """The body of an answer, for asyncio."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for part in self._answer.aiter_stream():
                yield part

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._answer.aclose()


@contextmanager
def _as_httpx() -> Generator[None]:
    """Raise httpcore's errors as httpx's of the same name."""
    try:
        yield
    except Refused as error:
        raise httpx.ConnectError(str(error)) from error.why
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error

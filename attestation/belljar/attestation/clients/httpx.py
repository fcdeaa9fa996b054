"""httpx over attested channels: every request of a client goes to an enclave that the policy accepts, or nowhere.

    with httpx.Client(transport=ChannelTransport(policy=policy)) as client:
        client.get("http://enclave.example:8443/")

In come requests; out come answers. URLs say `http`: the channel is the TLS, and ends in the enclave. Connections are
kept and used again as httpx does it. Redirects to other addresses go through channels on the same terms, so they are
refused elsewhere; proxies are not used. Needs `pip install belljar[clients]`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httpx

from belljar.attestation.channels.binding import Role
from belljar.attestation.channels.endpoint import Endpoint
from belljar.attestation.channels.sockets.dialling import connect, with_policy
from belljar.attestation.errors import ChannelRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Iterable, Iterator

    from belljar.attestation.channels.sockets.blocking import Channel
    from belljar.attestation.channels.terms import Terms
    from belljar.attestation.verifier import Policy

_KEPT, _MOST = 20, 100  # connections, as httpx has it


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
        using = endpoint or Endpoint(Role.CLIENT, with_policy(terms, policy))
        self._pool = httpcore.ConnectionPool(
            max_connections=_MOST, max_keepalive_connections=_KEPT, keepalive_expiry=5.0,
            network_backend=_Backend(using),
        )  # fmt: skip

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return the answer, whose body is still to be read.

        Raises:
            httpx.ConnectError: the server was refused, or refuses; a `ChannelRefused` is its cause.
            httpx.TransportError: as httpx has it.
        """
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol(f"{request.url.scheme}://: expected http://: the channel is the TLS")
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        body: Any = request.stream  # of a client that is not asynchronous, so it can be iterated
        with _as_httpx():
            answer = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=url,
                    headers=request.headers.raw,
                    content=body,
                    extensions=request.extensions,
                )
            )
        extensions = cast("Any", answer).extensions  # httpcore leaves the type of its values open
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=extensions)

    def close(self) -> None:
        """Close every channel."""
        self._pool.close()


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


@contextmanager
def _as_httpx() -> Generator[None]:
    """Raise httpcore's errors as httpx's of the same name."""
    try:
        yield
    except _Refused as error:
        raise httpx.ConnectError(str(error)) from error.why
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error


class _Refused(httpcore.ConnectError):
    """A channel that was not opened, and why: httpcore takes causes off."""

    def __init__(self, message: str, why: ChannelRefused) -> None:
        super().__init__(message)
        self.why = why


class _Backend(httpcore.NetworkBackend):
    """Opens channels where httpcore wants connections."""

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
        """Return a stream over an open channel; how long that may take, the terms say."""
        del timeout, local_address, socket_options
        try:
            return _Stream(connect((host, port), endpoint=self._endpoint))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except ChannelRefused as error:
            raise _Refused(f"{host}:{port}: {error}", error) from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host}:{port}: {error}") from error


class _Stream(httpcore.NetworkStream):
    """A channel as httpcore sees a connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come; b"" at the end."""
        self._channel.settimeout(timeout)
        try:
            return self._channel.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except (ChannelRefused, OSError) as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except (ChannelRefused, OSError) as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Refuse: there is TLS already."""
        del ssl_context, server_hostname, timeout
        raise httpcore.ConnectError("a channel has its TLS already")

    def get_extra_info(self, info: str) -> Any:
        """Return who is on the other side for "peer", and whether httpcore should look for something to read."""
        if info == "peer":
            return self._channel.peer
        return bool(self._channel.pending()) if info == "is_readable" else None

"""requests over attested channels: what goes through this adapter goes to an enclave the policy accepts, or nowhere.

    session = requests.Session()
    session.mount("http://", ChannelAdapter(policy=policy))
    session.get("http://enclave.example:8443/")

In come requests; out come answers. URLs say `http`: the channel is the TLS, and ends in the enclave. Mounted on
`http://` it takes every such URL, redirects, too; `https://` is still everybody's. Proxies are not used, whatever the
environment says. Needs `pip install belljar[clients]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from requests.adapters import DEFAULT_POOLBLOCK, HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from belljar.attestation.channels.sockets.dialling import connect
from belljar.attestation.errors import ChannelRefused

from .endpoints import client_endpoint

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from requests import PreparedRequest, Response

    from belljar.attestation.channels.endpoint import Endpoint
    from belljar.attestation.channels.terms import Terms
    from belljar.attestation.verifier import Policy


class ChannelAdapter(HTTPAdapter):
    """Carries the requests of a `requests.Session`.

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
        self._endpoint = client_endpoint(policy, terms, endpoint)
        super().__init__()

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = DEFAULT_POOLBLOCK,  # noqa: FBT001 - requests' own signature
        **pool_kwargs: Any,
    ) -> None:
        """Make pools of channels where requests wants pools of connections."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": pool_over(self._endpoint)}

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - requests' own signature
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002 - requests' own signature
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request, past every proxy.

        Raises:
            requests.ConnectionError: the server was refused, or refuses.
        """
        del proxies  # one would see the request in the clear
        return super().send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=None)


def pool_over(endpoint: Endpoint) -> type[HTTPConnectionPool]:
    """Return a class of urllib3's pools whose connections are channels."""

    class ChannelConnection(HTTPConnection):
        """One channel."""

        def _new_conn(self) -> socket.socket:
            try:
                channel = connect((self.host, int(self.port or 80)), endpoint=endpoint)
            except (ChannelRefused, OSError) as error:
                raise NewConnectionError(self, f"{self.host}:{self.port}: {error}") from error
            timeout = self.timeout
            channel.settimeout(timeout if isinstance(timeout, int | float) else None)
            return cast("socket.socket", channel)  # it has every method of a socket that urllib3 uses

    class ChannelPool(HTTPConnectionPool):
        """Channels to one server."""

        ConnectionCls = cast("Any", ChannelConnection)  # urllib3's own classes do not fit its declaration either

    return ChannelPool

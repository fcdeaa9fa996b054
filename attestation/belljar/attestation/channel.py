"""Door: attested channels (IEEE 2952 5.2.2.2, 5.3.3 a b d e, 7.2.1; docs/formats/channel.md).

    with connect(("enclave.example", 8443), policy=load_policy(text)) as channel:
        channel.sendall(b"hello")
        print(channel.peer.claims.measurement.hex(), channel.recv(100))

`connect` and `Listener` for threads, `open_channel` and `serve` for asyncio; `Endpoint.session` gives a channel
without sockets, for everything else. Works on any operating system, without the sandbox.
"""

from __future__ import annotations

from .channels.binding import Role
from .channels.endpoint import Endpoint, appraises_by, attests_with
from .channels.identity import Identity, load_authorities, load_identity, make_identity
from .channels.ratls import ra_tls_identity
from .channels.renewing import RatlsEndpoint
from .channels.session import ChannelSession
from .channels.sockets.aio import create_channel, create_server, open_channel, serve
from .channels.sockets.blocking import Channel
from .channels.sockets.dialling import Address, connect
from .channels.sockets.listening import Listener
from .channels.terms import Appraises, Attests, Limits, Peer, Terms
from .channels.tokens import Tokens, make_token, read_token, read_tokens
from .channels.work import Work
from .errors import ChannelRefused

__all__ = [
    "Address",
    "Appraises",
    "Attests",
    "Channel",
    "ChannelRefused",
    "ChannelSession",
    "Endpoint",
    "Identity",
    "Limits",
    "Listener",
    "Peer",
    "RatlsEndpoint",
    "Role",
    "Terms",
    "Tokens",
    "Work",
    "appraises_by",
    "attests_with",
    "connect",
    "create_channel",
    "create_server",
    "load_authorities",
    "load_identity",
    "make_identity",
    "make_token",
    "open_channel",
    "ra_tls_identity",
    "read_token",
    "read_tokens",
    "serve",
]

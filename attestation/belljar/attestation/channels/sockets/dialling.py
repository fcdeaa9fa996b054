"""Channels to addresses, for programs with threads.

In come an address and terms; out comes an open `Channel`, or a refusal. The only place here that connects sockets.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from typing import TYPE_CHECKING

from belljar.attestation.channels.binding import Role
from belljar.attestation.channels.endpoint import Endpoint, appraises_by
from belljar.attestation.channels.terms import Terms

from .blocking import Channel

if TYPE_CHECKING:
    from belljar.attestation.channels.identity import Identity
    from belljar.attestation.verifier import Policy

Address = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""


def connect(
    address: Address,
    *,
    policy: Policy | None = None,
    terms: Terms | None = None,
    identity: Identity | None = None,
    endpoint: Endpoint | None = None,
) -> Channel:
    """Return an open channel to a server that the policy accepts.

    Args:
        address: host and port, or the path of a unix socket.
        policy: what the server must be.
        terms: everything else; `policy` takes the place of what they say of the server.
        identity: key and certificate for TLS; by default made for this channel alone.
        endpoint: in place of all three, where many channels are opened.

    Raises:
        ChannelRefused: the server is not accepted, or does not accept this client.
        OSError: it cannot be reached.
    """
    using = endpoint or Endpoint(Role.CLIENT, with_policy(terms, policy), identity)
    connection = connected(address, using.terms.limits.handshake_s)
    return Channel(connection, using.session(time.monotonic())).open()


def with_policy(terms: Terms | None, policy: Policy | None) -> Terms:
    """Return terms under which the other side must be what a policy says."""
    found = terms or Terms()
    return found if policy is None else dataclasses.replace(found, appraises=appraises_by(policy))


def connected(address: Address, timeout_s: float) -> socket.socket:
    """Return a socket that is connected.

    Raises:
        OSError: it cannot be.
    """
    if not isinstance(address, str):
        connection = socket.create_connection(address, timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection

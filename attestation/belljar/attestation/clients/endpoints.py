"""The endpoint of a client of any HTTP library: what its servers must be, said in one of three ways.

In come a policy, terms, or an endpoint; out comes an endpoint. Nothing here knows one of the libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.channels.binding import Role
from belljar.attestation.channels.endpoint import Endpoint
from belljar.attestation.channels.sockets.dialling import with_policy

if TYPE_CHECKING:
    from belljar.attestation.channels.terms import Terms
    from belljar.attestation.verifier import Policy


def client_endpoint(policy: Policy | None, terms: Terms | None, endpoint: Endpoint | None) -> Endpoint:
    """Return the endpoint of a client.

    Args:
        policy: what servers must be.
        terms: everything else.
        endpoint: in place of both.

    Raises:
        ChannelRefused: nothing says what servers must be.
    """
    return endpoint or Endpoint(Role.CLIENT, with_policy(terms, policy))

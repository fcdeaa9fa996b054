"""One end of channels: what all its sessions share, which is the key in TLS and the terms.

In come a role, terms and an identity; out come sessions. A TLS context costs more than a session, so a server has one
endpoint for each listening address. Also the usual ways to make and to judge evidence: from an `Attester`, and by a
`Policy`. Clock and random source are arguments.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from belljar.attestation.attesting import CWT_TYPE, Purpose, Request, media_type
from belljar.attestation.dice.reading import Reading
from belljar.attestation.errors import ChannelRefused
from belljar.attestation.verifier import Endorsements, Message, Verifier

from .binding import Role
from .exchange import Exchange
from .identity import Identity, make_identity
from .ratls import CertificateExchange, RatlsSession
from .session import ChannelSession
from .tls import TlsEngine, make_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.attesting import Attester
    from belljar.attestation.verifier import Appraisal, Challenge, Policy

    from .terms import Appraises, Attests, Terms


class Endpoint:
    """One end of channels.

    Args:
        role: on which side of them.
        terms: on what terms.
        identity: key and certificate for TLS; None makes one, for this endpoint alone.
        random: makes nonces.

    Raises:
        ChannelRefused: the terms leave open who the server is, or contradict the role.
    """

    def __init__(
        self,
        role: Role,
        terms: Terms,
        identity: Identity | None = None,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        terms.check(role)
        if terms.insecure_ra_tls and role is Role.SERVER and identity is None:
            raise ChannelRefused(
                "an RA-TLS server needs an identity with evidence in it", hint="ra_tls_identity makes one"
            )
        self.role = role
        self.terms = terms
        self.identity = identity or make_identity(int(time.time()))
        self._random = random
        self._context = make_context(role, self.identity, terms.authorities, plain=terms.insecure_ra_tls)

    def session(self, now: float, *, inline: bool = True) -> ChannelSession:
        """Return a session for a connection that has just been made.

        Args:
            now: by the clock that `ChannelSession.tick` is given.
            inline: whether evidence is made and judged inside of `receive`; else by who asks for `work`.
        """
        deadline = now + self.terms.limits.handshake_s
        engine = TlsEngine(self._context, self.role)
        if self.terms.insecure_ra_tls:
            judging = CertificateExchange(self.role, self.terms)
            return RatlsSession(self.terms, engine, judging, deadline=deadline, inline=inline)
        exchange = Exchange(self.role, self.terms, self.identity.public_key, self._random)
        return ChannelSession(self.terms, engine, exchange, deadline=deadline, inline=inline)


def seconds() -> int:
    """Return the time in seconds since 1970."""
    return int(time.time())


def attests_with(attester: Attester, *, clock: Callable[[], int] = seconds) -> Attests:
    """Return what makes the evidence of one run.

    Args:
        attester: of the run; one piece of evidence is made at a time, as a TPM wants it.
        clock: seconds since 1970.
    """
    one_at_a_time = threading.Lock()

    def attest(nonce: bytes, body: bytes) -> Message:
        request = Request(nonce=nonce, purpose=Purpose.CHANNEL, body=body, now=clock())
        with one_at_a_time:
            return Message(content=attester.cwt(request), media_type=media_type(CWT_TYPE))

    return attest


def appraises_by(
    policy: Policy,
    endorsements: Endorsements | None = None,
    *,
    instances: frozenset[bytes] = frozenset(),
    clock: Callable[[], int] = seconds,
) -> Appraises:
    """Return what judges evidence by a policy.

    Args:
        policy: what is acceptable.
        endorsements: certificates, revocation lists and collateral that the caller gathered.
        instances: of which one the other side must be; empty takes any run that the policy takes. Two runs of the same
            enclave differ in nothing else. Where the policy names instances, too, it must be one of both.
        clock: seconds since 1970.
    """
    known, verifier = endorsements or Endorsements(), Verifier(reading=Reading())
    asked = policy.pinned_to(instances) if instances else policy

    def appraise(evidence: Message, challenge: Challenge) -> Appraisal:
        found = verifier.verify(evidence, endorsements=known, policy=asked, challenge=challenge, now=clock())
        found.require()
        return found

    return appraise

"""On what terms a side talks: what the other must prove, what this one can, and how much of everything there may be.

Values and two seams: `Attests` makes evidence, `Appraises` judges it. Whoever asks the other for nothing says so by a
name that begins with `insecure_`; what a server asks of its clients is the service's business, and may be nothing
(IEEE 2952 5.2.2.2 a). Nothing here reads, waits or decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from belljar.attestation.errors import ChannelRefused

from .binding import Role
from .messages import Proof

if TYPE_CHECKING:
    from cryptography import x509

    from belljar.attestation.claims import Claims
    from belljar.attestation.verifier import Appraisal, Challenge, Message

    from .tokens import Tokens

_SHORTEST_S = 0.001


class Attests(Protocol):
    """Makes evidence for the purpose `channel`. May be slow."""

    def __call__(self, nonce: bytes, body: bytes) -> Message:
        """Return evidence with its media type.

        Args:
            nonce: the other side's, 32 bytes.
            body: the binder, 32 bytes: what report data is made of.

        Raises:
            AttestationError: there is none to be had.
        """
        ...


class Appraises(Protocol):
    """Judges evidence. May be slow."""

    def __call__(self, evidence: Message, challenge: Challenge) -> Appraisal:
        """Return the verdict on evidence that is accepted.

        Raises:
            AttestationError: it is not believed, or refused.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long, and how much.

    Attributes:
        handshake_s: seconds from the connection to both verdicts.
        answer_s: seconds for evidence that is asked for on an open channel.
        reattest_s: how often the other side must attest anew; None for never.
        buffer_bytes: how much one direction of a session keeps before it takes no more.
    """

    handshake_s: float = 10.0
    answer_s: float = 30.0
    reattest_s: float | None = None
    buffer_bytes: int = 1 << 18

    def check(self) -> None:
        """Hold that they can be met.

        Raises:
            ChannelRefused: one is not positive.
        """
        times = (self.handshake_s, self.answer_s, self.reattest_s or _SHORTEST_S)
        if min(times) < _SHORTEST_S or self.buffer_bytes < 1:
            raise ChannelRefused("limits of a channel: times and sizes must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a side talks.

    Attributes:
        appraises: judges the other's evidence; None asks for none.
        attests: makes this side's; None has none to show.
        token: a client's own; shown only after the server's evidence was accepted.
        tokens: those of which a client must show one.
        authorities: of which one must have issued the other's certificate; empty takes any.
        limits: how long, and how much.
        insecure_unattested: do without evidence of the server, on either side: its operator may be anybody, and read
            along.
        insecure_classical_group: take a key exchange without ML-KEM: who records the channel today may read it once
            there are quantum computers.
        insecure_ra_tls: plain TLS 1.3 with evidence inside of certificates, for peers that know nothing better. It
            shows that an enclave once had the key, not that it has it now nor that it made this session: whoever gets
            the key of a certificate is taken for the enclave until the certificate ends. No tokens, no attesting anew,
            no word for why somebody is refused, any key exchange.
    """

    appraises: Appraises | None = None
    attests: Attests | None = None
    token: str | None = field(default=None, repr=False)
    tokens: Tokens | None = None
    authorities: tuple[x509.Certificate, ...] = ()
    limits: Limits = Limits()
    insecure_unattested: bool = False
    insecure_classical_group: bool = False
    insecure_ra_tls: bool = False

    @property
    def asks(self) -> frozenset[Proof]:
        """What the other side must prove."""
        asked = {Proof.EVIDENCE: self.appraises is not None, Proof.TOKEN: self.tokens is not None}
        return frozenset(proof for proof, wanted in asked.items() if wanted)

    @property
    def shows(self) -> frozenset[Proof]:
        """What this side can prove."""
        shown = {Proof.EVIDENCE: self.attests is not None, Proof.TOKEN: self.token is not None}
        return frozenset(proof for proof, there in shown.items() if there)

    def check(self, role: Role) -> None:
        """Hold that the terms say enough for a role.

        Raises:
            ChannelRefused: they leave open who the server is, or contradict the role.
        """
        self.limits.check()
        if self.insecure_ra_tls and (self.token or self.tokens or self.attests or self.limits.reattest_s):
            raise ChannelRefused("terms of RA-TLS: it has no tokens, and evidence only in certificates")
        if role is Role.CLIENT:
            self._check_client()
        elif self.token is not None:
            raise ChannelRefused("terms of a server: it shows no token, its clients do")
        elif self.attests is None and not (self.insecure_unattested or self.insecure_ra_tls):
            raise ChannelRefused(
                "terms of a server: nothing makes its evidence", hint="attests=…, or insecure_unattested=True"
            )

    def _check_client(self) -> None:
        if self.tokens is not None:
            raise ChannelRefused("terms of a client: it asks for no token, servers do")
        if self.appraises is None and not self.insecure_unattested:
            raise ChannelRefused(
                "terms of a client: nothing says what the server must be",
                hint="a policy, or insecure_unattested=True",
            )
        if self.appraises is None and self.token is not None and not self.authorities:
            raise ChannelRefused(
                "terms of a client: its token would go to anybody", hint="a policy, or authorities=… to pin"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is on the other side.

    Attributes:
        public_key: SubjectPublicKeyInfo (DER) of the key it holds.
        certificate: DER, as it came; believed only where `certified`.
        certified: whether a pinned authority issued it.
        appraisal: the verdict on its latest evidence; None where it was asked for none.
        holder: whose token it has shown.
        group: key exchange of the session.
    """

    public_key: bytes
    certificate: bytes
    certified: bool
    appraisal: Appraisal | None
    holder: str | None
    group: str

    @property
    def claims(self) -> Claims | None:
        """What its evidence says."""
        return None if self.appraisal is None else self.appraisal.claims

"""Who proves what to whom, and in which order: the exchange inside an established session (docs/formats/channel.md).

    client -> hello                          server -> hello, evidence, [verdict]
    client -> verdict, [token], [evidence]   server -> verdict

In come frames; out come frames, and work to be done. Each side's verdict says that it has all it asked for. A client
proves nothing before it has accepted the server. Evidence answers the other's nonce and binds this session, role and
key (binding.py); it is judged by what the terms say, and what it binds is compared here once more, whatever they say.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from belljar.attestation.claims import Purpose
from belljar.attestation.crypto.compare import same
from belljar.attestation.eat.cmw import Wrapped, unwrap, wrap
from belljar.attestation.eat.report_data import report_data
from belljar.attestation.errors import ChannelRefused, EvidenceRefused
from belljar.attestation.verifier import Challenge, Message

from .binding import Role, binder
from .frames import Frame, Kind
from .messages import (
    NONCE_BYTES,
    Hello,
    Proof,
    Verdict,
    challenge,
    failure,
    read_challenge,
    read_failure,
    read_hello,
    read_verdict,
)
from .terms import Peer
from .work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from belljar.attestation.verifier import Appraisal

    from .terms import Appraises, Attests, Terms
    from .tls import TlsEngine

_CBOR_RECORD = b"\x83"


class Exchange:
    """What has been asked, shown and said in one session.

    Args:
        role: of this side.
        terms: on what terms.
        public_key: SubjectPublicKeyInfo of this side's certificate.
        random: makes nonces.
    """

    def __init__(self, role: Role, terms: Terms, public_key: bytes, random: Callable[[int], bytes]) -> None:
        self._role = role
        self._terms = terms
        self._public_key = public_key
        self._random = random
        self._engine: TlsEngine | None = None
        self._peer_certificate = b""
        self._peer_key = b""
        self._nonce = random(NONCE_BYTES)
        self._asked: bytes | None = None  # what the other's next evidence must answer
        self._hello: Hello | None = None
        self._appraisal: Appraisal | None = None
        self._holder: str | None = None
        self._said = self._heard = False  # the first verdict of either side
        self._answering = self._shown = False  # evidence that was asked for anew: being made, sent and not yet judged
        self._judging = False
        self._works: deque[Work] = deque()
        self._out: list[tuple[Kind, bytes]] = []

    @property
    def agreed(self) -> bool:
        """Whether both sides have accepted each other."""
        return self._said and self._heard

    @property
    def outstanding(self) -> bool:
        """Whether the other side has yet to attest anew, or what it showed is yet to be judged."""
        return self._asked is not None or self._judging

    @property
    def work(self) -> Work | None:
        """What is to be done next."""
        return self._works[0] if self._works else None

    def peer(self) -> Peer:
        """Return who is on the other side.

        Raises:
            ChannelRefused: nobody knows yet.
        """
        if not self.agreed or self._engine is None:
            raise ChannelRefused("nobody knows yet who is on the other side: the channel is not open")
        return Peer(
            public_key=self._peer_key,
            certificate=self._peer_certificate,
            certified=bool(self._terms.authorities),
            appraisal=self._appraisal,
            holder=self._holder,
            group=self._engine.group,
        )

    def begin(self, engine: TlsEngine, certificate: bytes, key: bytes) -> None:
        """Open, once TLS is established.

        Args:
            engine: the session.
            certificate: the other side's, DER.
            key: SubjectPublicKeyInfo in it.
        """
        self._engine = engine
        self._peer_certificate, self._peer_key = certificate, key
        if Proof.EVIDENCE in self._terms.asks:
            self._asked = self._nonce
        hello = Hello(nonce=self._nonce, asks=self._terms.asks, shows=self._terms.shows)
        self._send(Kind.HELLO, hello.encode())

    def take(self, frame: Frame) -> None:
        """Take a frame of the exchange.

        Raises:
            ChannelRefused: it is malformed, out of order, or says that the other side refuses.
        """
        if self._hello is None and frame.kind not in (Kind.HELLO, Kind.ERROR):
            raise ChannelRefused(f"{frame.kind.name.lower()} before hello", code="malformed")
        self._TAKERS[frame.kind](self, frame.body)

    def to_send(self) -> list[tuple[Kind, bytes]]:
        """Return the frames to send."""
        out, self._out = self._out, []
        return out

    def complete(self, work: Work) -> None:
        """Go on with work that was done.

        Raises:
            ChannelRefused: it failed, or is not what `work` gave.
        """
        if not self._works or self._works[0] is not work:
            raise ChannelRefused("work that this session has not given")
        self._works.popleft()
        work.proceed()

    def challenge(self) -> bytes:
        """Return the body of a new challenge.

        Raises:
            ChannelRefused: the channel is not open, no evidence is asked for on these terms, or some is outstanding.
        """
        if not self.agreed or Proof.EVIDENCE not in self._terms.asks:
            raise ChannelRefused("nothing to attest anew: the channel is not open, or its terms ask for no evidence")
        if self.outstanding:
            raise ChannelRefused("the other side has been asked to attest anew, and has yet to answer")
        self._asked = self._random(NONCE_BYTES)
        return challenge(self._asked)

    def parting(self, error: ChannelRefused) -> tuple[Kind, bytes]:
        """Return the last frame: a verdict if none was said, an error otherwise."""
        if self._said or self._hello is None:
            return Kind.ERROR, failure(error.code)
        return Kind.VERDICT, Verdict(accepted=False, reason=error.code).encode()

    # what the other side sends

    def _take_hello(self, body: bytes) -> None:
        if self._hello is not None:
            raise ChannelRefused("a second hello", code="malformed")
        hello = read_hello(body)
        if same(hello.nonce, self._nonce):
            raise ChannelRefused("hello: this side's own nonce came back", code="malformed")
        for proof in self._terms.asks - hello.shows:
            raise ChannelRefused(f"the other side shows no {proof.value}, expected some", code=f"needs-{proof.value}")
        for proof in hello.asks - self._terms.shows:
            raise ChannelRefused(
                f"the other side asks for {proof.value}, and there is none here",
                code=f"has-no-{proof.value}",
                hint=_hint(f"needs-{proof.value}"),
            )
        self._hello = hello
        if self._role is Role.SERVER:
            self._prove(hello)
        self._conclude()

    def _take_evidence(self, body: bytes) -> None:
        nonce, appraises, engine = self._asked, self._terms.appraises, self._engine
        if nonce is None or appraises is None or engine is None:
            raise ChannelRefused("evidence that nobody asked for", code="malformed")
        self._asked, self._judging = None, True
        role = self._role.other
        bound = report_data(Purpose.CHANNEL, binder(role, self._peer_key, engine.exported(role, nonce), nonce))
        message = _unwrapped(body)
        call = partial(self._judge, appraises, message, Challenge(nonce=nonce, report_data=bound))
        self._works.append(Work(call, code="evidence-refused", what="the other side's evidence"))

    def _judge(self, appraises: Appraises, message: Message, asked: Challenge) -> Callable[[], None]:
        """Judge evidence, in any thread."""
        appraisal = appraises(message, asked)
        found = appraisal.require()
        if not same(found.report_data or b"", asked.report_data or b"\0"):
            raise EvidenceRefused("it binds another session, side or key, expected this one")
        if found.purpose not in (None, Purpose.CHANNEL):
            raise EvidenceRefused(f"it was made for {found.purpose.value}, expected {Purpose.CHANNEL.value}")
        return partial(self._judged, appraisal)

    def _judged(self, appraisal: Appraisal) -> None:
        self._appraisal, self._judging = appraisal, False
        if self._said:
            self._send(Kind.VERDICT, Verdict(accepted=True).encode())
        else:
            self._conclude()

    def _take_token(self, body: bytes) -> None:
        if self._terms.tokens is None or self._holder is not None or self._said:
            raise ChannelRefused("a token that nobody asked for", code="malformed")
        self._holder = self._terms.tokens.holder(body)
        self._conclude()

    def _take_verdict(self, body: bytes) -> None:
        verdict = read_verdict(body)
        if not verdict.accepted:
            raise ChannelRefused(f"the other side refuses this one: {verdict.reason}", hint=_hint(verdict.reason))
        if self._heard and not self._shown:
            raise ChannelRefused("a verdict that nobody asked for", code="malformed")
        if self._heard:
            self._answering = self._shown = False
        self._heard = True

    def _take_challenge(self, body: bytes) -> None:
        nonce = read_challenge(body)
        if not self.agreed or self._answering:
            raise ChannelRefused("a challenge before its time", code="malformed")
        if self._terms.attests is None:
            raise ChannelRefused("the other side asks for evidence, and there is none here", code="has-no-evidence")
        self._answering = True
        self._attest(self._terms.attests, nonce)

    def _take_failure(self, body: bytes) -> None:
        reason = read_failure(body)
        raise ChannelRefused(f"the other side gives up: {reason}", hint=_hint(reason))

    # Of the class: bound methods in a session would be a cycle, and OpenSSL's memory would wait for the collector.
    _TAKERS: ClassVar[Mapping[Kind, Callable[[Exchange, bytes], None]]] = MappingProxyType(
        {
            Kind.HELLO: _take_hello,
            Kind.EVIDENCE: _take_evidence,
            Kind.VERDICT: _take_verdict,
            Kind.CHALLENGE: _take_challenge,
            Kind.ERROR: _take_failure,
            Kind.TOKEN: _take_token,
        }
    )

    # what this side shows and says

    def _conclude(self) -> None:
        """Say the verdict, once this side has all it asks for."""
        if self._hello is None or self._said:
            return
        asks = self._terms.asks
        if (Proof.EVIDENCE in asks and self._appraisal is None) or (Proof.TOKEN in asks and self._holder is None):
            return
        self._said = True
        self._send(Kind.VERDICT, Verdict(accepted=True).encode())
        if self._role is Role.CLIENT:
            self._prove(self._hello)

    def _prove(self, hello: Hello) -> None:
        """Show what the other side asks for."""
        if Proof.TOKEN in hello.asks and self._terms.token is not None:
            self._send(Kind.TOKEN, self._terms.token.encode())
        if Proof.EVIDENCE in hello.asks and self._terms.attests is not None:
            self._attest(self._terms.attests, hello.nonce)

    def _attest(self, attests: Attests, nonce: bytes) -> None:
        if self._engine is None:
            raise ChannelRefused("evidence before TLS is established")
        exported = self._engine.exported(self._role, nonce)
        bound = binder(self._role, self._public_key, exported, nonce)
        call = partial(self._make, attests, nonce, bound)
        self._works.append(Work(call, code="has-no-evidence", what="this side's evidence cannot be made"))

    def _make(self, attests: Attests, nonce: bytes, bound: bytes) -> Callable[[], None]:
        """Make evidence, in any thread."""
        made = attests(nonce, bound)
        if made.media_type is None:
            raise EvidenceRefused("it has no media type")
        record = wrap(Wrapped(media_type=made.media_type, content=made.content))
        return partial(self._show, record)

    def _show(self, record: bytes) -> None:
        self._send(Kind.EVIDENCE, record)
        self._shown = self._answering

    def _send(self, kind: Kind, body: bytes) -> None:
        self._out.append((kind, body))


def _unwrapped(body: bytes) -> Message:
    """Return the evidence in a CBOR record of RFC 9999."""
    if not body.startswith(_CBOR_RECORD):
        raise ChannelRefused("evidence: not a CBOR record of media type and content", code="malformed")
    try:
        record = unwrap(body)
    except EvidenceRefused as error:
        raise ChannelRefused(f"evidence: {error}", code="malformed") from error
    return Message(content=record.content, media_type=record.media_type)


def _hint(reason: str) -> str | None:
    """Return what a person can do about the other side's word."""
    return {
        "needs-evidence": "it talks only to enclaves: mutual attestation",
        "needs-token": "it asks for a token: --token-file",
        "token-refused": "it does not know this token",
        "evidence-refused": "its policy does not take this enclave; its own log says why",
        "has-no-evidence": "it cannot attest: is it an enclave, on a platform with a root of trust?",
        "too-late": "it waited for longer than its limit",
    }.get(reason)

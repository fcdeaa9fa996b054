"""RA-TLS for peers that know nothing better: plain TLS 1.3, evidence inside of certificates (CCC Attestation SIG).

In come quotes, or the other side's certificate; out come an identity, or a session that is used as a channel is. What
this lacks stands beside `Terms.insecure_ra_tls`, which is the only way here. Nothing goes to the application before the
certificate was judged; a server's client may have none, where the server asks for no evidence.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from belljar.attestation.cbor import Tagged, encode
from belljar.attestation.errors import ChannelRefused, EvidenceRefused
from belljar.attestation.ratls.certificate import parse_self_signed
from belljar.attestation.ratls.verify import EXTENSION, INTEL_QUOTE
from belljar.attestation.verifier import Challenge, Message

from .exchange import Exchange
from .frames import Frame, Kind
from .identity import self_signed, spki
from .session import ChannelSession
from .work import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.verifier import Appraisal

    from .binding import Role
    from .identity import Identity
    from .terms import Appraises, Terms
    from .tls import TlsEngine

_MEDIA_TYPE = "application/pkix-cert"
_SHA256 = 1  # of IANA's named information hash algorithms
_REPORT_DATA_BYTES = 64


def ra_tls_identity(quote: Callable[[bytes], bytes], now: int) -> Identity:
    """Return a new key with a certificate that has a quote over it inside.

    Args:
        quote: makes a quote over 64 bytes of report data, such as `Quoter.quote`. Ours are rooted in our platform and
            hold for seven days: who pins Intel's root refuses them, rightly.
        now: seconds since 1970.

    Raises:
        AttestationError: there is no quote to be had.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    digest = hashlib.sha256(spki(key.public_key())).digest()
    claims = encode({"pubkey-hash": encode([_SHA256, digest])})
    made = quote(hashlib.sha256(claims).digest().ljust(_REPORT_DATA_BYTES, b"\0"))
    content = encode(Tagged(tag=INTEL_QUOTE, value=[made, claims]))
    return self_signed(key, now, x509.UnrecognizedExtension(EXTENSION, content))


class CertificateExchange(Exchange):
    """Judges the other side's certificate, and asks for nothing else."""

    def __init__(self, role: Role, terms: Terms) -> None:
        super().__init__(role, terms, b"", bytes)

    def begin(self, engine: TlsEngine, certificate: bytes, key: bytes) -> None:
        """Judge a certificate, if these terms ask for evidence."""
        self._engine = engine
        self._peer_certificate, self._peer_key = certificate, key
        appraises = self._terms.appraises
        if appraises is None:
            self._said = self._heard = True
            return
        call = partial(self._judge_certificate, appraises, certificate, key)
        self._works.append(Work(call, code="evidence-refused", what="the other side's certificate"))

    def _judge_certificate(self, appraises: Appraises, certificate: bytes, key: bytes) -> Callable[[], None]:
        appraisal = appraises(Message(content=certificate, media_type=_MEDIA_TYPE), Challenge())
        found = appraisal.require().platform.get("tls_key")
        if found != hashlib.sha256(key).digest():
            raise EvidenceRefused("it speaks of another key than this session's")
        return partial(self._taken, appraisal)

    def _taken(self, appraisal: Appraisal) -> None:
        self._appraisal = appraisal
        self._said = self._heard = True


class RatlsSession(ChannelSession):
    """A session without frames: TLS's own end takes the place of finish."""

    def _check_session(self) -> None:
        """Take any group and no protocol: the other side knows nothing of ours."""

    def _begin(self) -> None:
        try:
            certificate = self._engine.peer_certificate()
        except ChannelRefused:
            if self._terms.appraises is not None:
                raise
            self._exchange.begin(self._engine, b"", b"")
        else:
            self._exchange.begin(self._engine, certificate, _key_in(certificate))

    def _pump(self) -> None:
        self._forward()
        if not self._exchange.agreed:
            return  # what has come stays in TLS until the certificate was judged
        while (chunk := self._engine.read()) is not None:
            if not chunk:
                self._peer_finished = True
                self._end_if_over()
                break
            self._take(Frame(Kind.DATA, chunk))

    def _completed(self, work: Work) -> None:
        super()._completed(work)
        self._pump()

    def _send(self, kind: Kind, body: bytes) -> None:
        del body
        if kind is Kind.FINISH:
            self._engine.close()

    def _write_frame(self, part: memoryview) -> None:
        self._engine.write(part)
        self._unsent += len(part)

    def _tell(self, error: ChannelRefused) -> None:
        """Say nothing: there is no word for it in plain TLS."""


def _key_in(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo in a self-signed certificate, also as old mbedTLS writes them."""
    try:
        return parse_self_signed(certificate).public_key
    except EvidenceRefused as error:
        raise ChannelRefused(f"the other side's certificate: {error}", code="evidence-refused") from error

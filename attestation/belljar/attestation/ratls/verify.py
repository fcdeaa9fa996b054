"""RA-TLS certificates verified in numbered steps: the quote is good, and it speaks of this certificate's key.

    extension 2.23.133.5.4.9 = 60000([ quote, claims ])           claims: CBOR map in a byte string
    claims = { "pubkey-hash": bstr of [ 1 | 7 | 8 (SHA-256, 384, 512), digest of SubjectPublicKeyInfo ], ? "nonce" }
    quote's report data = SHA-256(claims), then zeros
    extension 2.23.133.5.4.2 = 60000([ version, TCB info, … ]) may bring collateral (endorsements.py)

1. the certificate signed itself and is valid; 2. the claims hold the digest of its key; 3. the quote verifies (dcap, or
gramine where it is one of ours); 4. its report data is the digest of the claims. It shows that an enclave has the key;
without a nonce in the claims it does not show when. Gramine's and Intel's older extensions in the same certificate are
ignored. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509

from belljar.attestation.cbor import Tagged, decode
from belljar.attestation.dcap.verify import DcapFormat
from belljar.attestation.errors import CborRefused, EvidenceRefused
from belljar.attestation.evidence import key_digest
from belljar.attestation.gramine.claims import is_own_quote, quote_claims
from belljar.attestation.gramine.quote import brought_certificate
from belljar.attestation.x509.certificate import parse_certificate, parse_pem_body

from .certificate import SelfSigned, parse_self_signed
from .endorsements import EXTENSION as ENDORSEMENTS
from .endorsements import embedded

if TYPE_CHECKING:
    from belljar.attestation.cbor import Cbor
    from belljar.attestation.claims import Claims
    from belljar.attestation.evidence import Endorsements, Trust
    from belljar.attestation.steps import Trail

EXTENSION = x509.ObjectIdentifier("2.23.133.5.4.9")
INTEL_QUOTE = 60000
MAX_NONCE_BYTES = 64
_HASHES = {1: "sha256", 7: "sha384", 8: "sha512"}  # IANA named information hash algorithms
_WHAT = "RA-TLS certificate"


class RatlsFormat:
    """Certificates with evidence inside, PEM or DER."""

    name = "ra-tls-certificate"
    media_types = frozenset({"application/pkix-cert", "application/x-x509-ca-cert", "application/x-pem-file"})

    def recognises(self, evidence: bytes) -> bool:
        """Say whether the bytes begin like a certificate."""
        return evidence.startswith(b"-----BEGIN CERTIFICATE-----") or evidence[:2] == b"\x30\x82"

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        """Return what the quote in a certificate says, once all steps held.

        Raises:
            EvidenceRefused: a step failed.
        """
        found = _self_signed(evidence)
        trail.note("RA-TLS certificate: signature", "by its own key", "by its own key", passed=True)
        _check_validity(found.certificate, trust.now, trail)
        quote, claims = _evidence(found.certificate)
        members = _claims(claims)
        _check_key(members["pubkey-hash"], found, trail)
        if is_own_quote(quote):
            verified = quote_claims(quote, trust, trail)
        else:
            merged = _merged(endorsements, found.certificate)
            verified = DcapFormat().verify(quote, endorsements=merged, trust=trust, trail=trail)
        digest = hashlib.sha256(claims).digest().ljust(64, b"\0")
        trail.equal("RA-TLS certificate: report data is of the claims", verified.report_data or b"", digest)
        return _named(verified, found, members.get("nonce"))


def brought_root(evidence: bytes) -> frozenset[bytes]:
    """Return the digest of the root that one of our quotes in a certificate brings: to look at, never to trust.

    It is empty for quotes of others.

    Raises:
        EvidenceRefused: the certificate, or the chain in its quote, is malformed.
    """
    quote, _ = _evidence(_self_signed(evidence).certificate)
    if not is_own_quote(quote):
        return frozenset()
    return frozenset({key_digest(parse_certificate(brought_certificate(quote), "the quote's root").public_key())})


def _self_signed(evidence: bytes) -> SelfSigned:
    return parse_self_signed(parse_pem_body(evidence, _WHAT) if evidence[:1] == b"-" else evidence)


def _merged(endorsements: Endorsements, certificate: x509.Certificate) -> Endorsements:
    """Return what the caller gathered, with the collateral in a certificate where he has none."""
    brought = embedded(certificate) if endorsements.collateral is None else None
    if brought is None:
        return endorsements
    return replace(brought, crls=(*endorsements.crls, *brought.crls), certificates=endorsements.certificates)


def _named(verified: Claims, found: SelfSigned, nonce: bytes | None) -> Claims:
    key = hashlib.sha256(found.public_key).digest()
    return replace(
        verified,
        format=f"ra-tls-{verified.format}",
        nonce=nonce,
        report_data=None,
        platform={**verified.platform, "tls_key": key, "report_data": verified.report_data},
    )


def _check_validity(certificate: x509.Certificate, now: int, trail: Trail) -> None:
    at = datetime.fromtimestamp(now, UTC)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    span = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    trail.check("RA-TLS certificate: valid", f"{at:%Y-%m-%d %H:%M:%S}", span, passed=first <= at <= last)
    known = (x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid, EXTENSION, ENDORSEMENTS)
    unknown = [item.oid.dotted_string for item in certificate.extensions if item.critical and item.oid not in known]
    trail.check("RA-TLS certificate: critical extensions unknown", unknown, [], passed=not unknown)


def _evidence(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """Return the quote and the claims in the evidence extension."""
    try:
        raw = certificate.extensions.get_extension_for_oid(EXTENSION).value
    except x509.ExtensionNotFound as error:
        hint = "only the interoperable layout is read, not those of one vendor"
        raise EvidenceRefused(f"{_WHAT}: got no extension {EXTENSION.dotted_string}", hint=hint) from error
    content = raw.value if isinstance(raw, x509.UnrecognizedExtension) else b""
    outer = _decoded(content, frozenset({INTEL_QUOTE}))
    parts = outer.value if isinstance(outer, Tagged) else None
    if not isinstance(parts, list) or len(parts) != 2:
        raise EvidenceRefused(f"{_WHAT}: got other evidence than {INTEL_QUOTE}([quote, claims])")
    quote, claims = parts
    if not isinstance(quote, bytes) or not isinstance(claims, bytes):
        raise EvidenceRefused(f"{_WHAT}: quote and claims must be byte strings")
    return quote, claims


def _decoded(content: bytes, tags: frozenset[int] = frozenset()) -> Cbor:
    try:
        return decode(content, tags=tags)
    except CborRefused as error:
        raise EvidenceRefused(f"{_WHAT}: {error}") from error


def _claims(content: bytes) -> dict[str, bytes]:
    found = _decoded(content)
    members = found if isinstance(found, dict) else {}
    if not {"pubkey-hash"} <= set(members) <= {"pubkey-hash", "nonce"}:
        raise EvidenceRefused(
            f"{_WHAT}: got claims {sorted(map(str, members))}, expected pubkey-hash and perhaps nonce"
        )
    texts = {str(name): value for name, value in members.items() if isinstance(value, bytes)}
    if len(texts) != len(members) or len(texts.get("nonce", b"")) > MAX_NONCE_BYTES:
        raise EvidenceRefused(f"{_WHAT}: claims must be byte strings, a nonce of at most {MAX_NONCE_BYTES}")
    return texts


def _check_key(content: bytes, found: SelfSigned, trail: Trail) -> None:
    pair = _decoded(content)
    if not isinstance(pair, list) or len(pair) != 2:
        raise EvidenceRefused(f"{_WHAT}: pubkey-hash must be [algorithm, digest]")
    number, digest = pair
    if (
        not isinstance(number, int)
        or isinstance(number, bool)
        or number not in _HASHES
        or not isinstance(digest, bytes)
    ):
        raise EvidenceRefused(f"{_WHAT}: pubkey-hash: got algorithm {number!r}, expected 1, 7 or 8")
    trail.equal("RA-TLS certificate: key", digest, hashlib.new(_HASHES[number], found.public_key).digest())

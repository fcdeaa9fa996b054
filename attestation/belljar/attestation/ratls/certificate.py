"""An RA-TLS certificate as TLS libraries of enclaves make it: self-signed, parsed, its own signature verified.

mbedTLS before 3 writes ecdsa-with-SHA256 with NULL parameters, which RFC 5758 3.2 forbids and `cryptography` refuses.
The NULLs are taken out to parse, and the signature is verified over the bytes as they came. In come PEM or DER bytes;
out comes a `SelfSigned`, or `EvidenceRefused`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.x509 import der
from belljar.attestation.x509.certificate import MAX_CERTIFICATE_BYTES, parse_certificate, signature_holds

if TYPE_CHECKING:
    from cryptography import x509

_WHAT = "RA-TLS certificate"
_ECDSA_SHA2 = bytes.fromhex("06082a8648ce3d0403")  # 1.2.840.10045.4.3.x, without its last number
_WITH_NULL = {_ECDSA_SHA2 + bytes([last]) + b"\x05\0" for last in (2, 3, 4)}
_MIN_RSA_BITS = 3072  # a key of today, unlike those of old TPMs


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSigned:
    """A certificate that signed itself.

    Attributes:
        certificate: parsed.
        public_key: its SubjectPublicKeyInfo, DER.
    """

    certificate: x509.Certificate
    public_key: bytes


def parse_self_signed(content: bytes) -> SelfSigned:
    """Return a certificate whose signature by its own key has held.

    Args:
        content: DER.

    Raises:
        EvidenceRefused: it is malformed, or the signature does not hold.
    """
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise EvidenceRefused(f"{_WHAT}: got {len(content)} bytes, expected at most {MAX_CERTIFICATE_BYTES}")
    parts = der.values(der.only(content, der.SEQUENCE, _WHAT), _WHAT)
    if [tag for tag, _ in parts] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
        raise EvidenceRefused(f"{_WHAT}: got something else than a signed part, an algorithm and a signature")
    with_null = parts[1][1] in _WITH_NULL
    certificate = parse_certificate(_without_nulls(parts) if with_null else content, _WHAT)
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise EvidenceRefused(f"{_WHAT}: got RSA of {key.key_size} bits, expected at least {_MIN_RSA_BITS}")
    itself = certificate
    if not (_held(itself, der.spell(*parts[0])) if with_null else signature_holds(itself, itself)):
        raise EvidenceRefused(f"{_WHAT}: its signature does not hold, expected one by its own key")
    return SelfSigned(
        certificate=certificate,
        public_key=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _without_nulls(parts: list[tuple[int, bytes]]) -> bytes:
    """Return the certificate without the NULLs after ECDSA, inside and outside."""
    plain = der.spell(der.SEQUENCE, parts[1][1][:-2])
    inner = [
        plain if tag == der.SEQUENCE and value == parts[1][1] else der.spell(tag, value)
        for tag, value in der.values(parts[0][1], _WHAT)
    ]
    signature = der.spell(*parts[2])
    return der.spell(der.SEQUENCE, der.spell(der.SEQUENCE, b"".join(inner)) + plain + signature)


def _held(certificate: x509.Certificate, signed: bytes) -> bool:
    """Say whether the signature is of the bytes as they came."""
    key, algorithm = certificate.public_key(), certificate.signature_hash_algorithm
    if not isinstance(key, ec.EllipticCurvePublicKey) or algorithm is None or certificate.issuer != certificate.subject:
        return False
    try:
        key.verify(certificate.signature, signed, ec.ECDSA(algorithm))
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True

"""One certificate or revocation list: read strictly, and one signature of it verified (RFC 5280 4, 5).

In come DER or PEM bytes from anybody; out come `cryptography`'s objects, or `EvidenceRefused`. Signatures hold only
with an algorithm of the table below: no SHA-1, no short RSA, whatever the issuer chose. `cryptography`'s own path
validation refuses every AMD chain (RSA-PSS with its trailer field spelled out), so chain.py walks by hand on top of
this. Pure.
"""

from __future__ import annotations

import base64
import re
import warnings
from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from belljar.attestation.errors import EvidenceRefused

from . import der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

MAX_CERTIFICATE_BYTES = 16 * 1024  # an AMD root has 1.7 KiB, one with ML-DSA-65 5.4 KiB, RA-TLS with a quote 10 KiB
MAX_CRL_BYTES = 1 << 20  # Intel's largest has 3 KiB of today, one entry 40 bytes
MAX_CERTIFICATES = 8  # Intel's chain has 3, ours 4
_MIN_RSA_BITS = 2048  # TPM makers still sign with these; AMD has 4096
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_MALFORMED = (
    ValueError, TypeError, UserWarning, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----\n?")

Signed = x509.Certificate | x509.CertificateRevocationList


def parse_certificate(content: bytes, what: str = "certificate") -> x509.Certificate:
    """Return the certificate in DER.

    Raises:
        EvidenceRefused: it is none, not DER, or too large.
    """
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise EvidenceRefused(f"{what}: got {len(content)} bytes, expected at most {MAX_CERTIFICATE_BYTES}")
    _check_frame(content, what)
    try:
        found = _loaded(content)
    except _MALFORMED as error:
        raise EvidenceRefused(f"{what}: not an X.509 certificate: {error}") from error
    if found.version is not x509.Version.v3:
        raise EvidenceRefused(f"{what}: got X.509 {found.version.name}, expected v3")
    if found.public_bytes(Encoding.DER) != content:
        raise EvidenceRefused(f"{what}: not in DER's only form")
    return found


def _loaded(der: bytes) -> x509.Certificate:
    """Return a certificate of which every part has been read: `cryptography` reads names and keys when asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a name that breaks its own rules
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        # AMD numbers every VCEK and VLEK 0, which RFC 5280 4.1.2.2 forbids
        found = x509.load_der_x509_certificate(der)
        _ = found.issuer, found.subject, found.public_key(), found.extensions, found.serial_number
        _ = found.signature_algorithm_parameters, found.not_valid_before_utc, found.not_valid_after_utc
    return found


def _check_frame(content: bytes, what: str) -> None:
    """Hold what `cryptography` lets pass around the signed part, where nobody signs.

    Raises:
        EvidenceRefused: the algorithm outside is spelled otherwise than inside, or the signature has unused bits.
    """
    parts = der.values(der.only(content, der.SEQUENCE, what), what)
    if [tag for tag, _ in parts] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
        raise EvidenceRefused(f"{what}: got something else than a signed part, an algorithm and a signature")
    inner = [value for tag, value in der.values(parts[0][1], what) if tag == der.SEQUENCE]
    if not inner or inner[0] != parts[1][1]:
        raise EvidenceRefused(f"{what}: names one algorithm inside of what is signed and another outside")
    if parts[2][1][:1] != b"\0":
        raise EvidenceRefused(f"{what}: its signature is no whole number of bytes")


def parse_pem_chain(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM chain, in their order.

    The text must be what PEM (RFC 7468) makes of them, to the byte, or a bit could be changed that nobody signed; a
    last newline may be missing, and one zero byte follows it where C wrote the text.

    Raises:
        EvidenceRefused: anything else is in it.
    """
    text = pem.removesuffix(b"\0")
    found: list[x509.Certificate] = []
    spelled = b""
    for match in _PEM.finditer(text):
        if len(found) == MAX_CERTIFICATES:
            raise EvidenceRefused(f"{what}: got more than {MAX_CERTIFICATES} certificates")
        try:
            content = base64.b64decode(match[1])
        except ValueError as error:
            raise EvidenceRefused(f"{what}: not base64: {error}") from error
        found.append(parse_certificate(content, f"{what}: certificate {len(found) + 1}"))
        spelled += found[-1].public_bytes(Encoding.PEM)
    if not found or text not in (spelled, spelled[:-1]):
        raise EvidenceRefused(f"{what}: not certificates in PEM as it is always spelled, with nothing around them")
    return tuple(found)


def parse_pem_body(pem: bytes, what: str) -> bytes:
    """Return the DER of the one certificate in a PEM text, spelled as PEM always is; it is not parsed yet.

    Raises:
        EvidenceRefused: there is another number of them, or another spelling.
    """
    match = _PEM.fullmatch(pem) if len(pem) <= 2 * MAX_CERTIFICATE_BYTES and pem.endswith(b"\n") else None
    try:
        content = base64.b64decode(match[1] if match else b"=")
    except ValueError as error:
        raise EvidenceRefused(f"{what}: not one certificate in PEM: {error}") from error
    lines = base64.encodebytes(content).replace(b"\n", b"")
    body = b"".join(lines[start : start + 64] + b"\n" for start in range(0, len(lines), 64))
    if match is None or match[1] != body:
        raise EvidenceRefused(f"{what}: not base64 in lines of 64, as PEM is always spelled")
    return content


def parse_crl(content: bytes, what: str = "revocation list") -> x509.CertificateRevocationList:
    """Return the revocation list in DER.

    Raises:
        EvidenceRefused: it is none, or too large.
    """
    if len(content) > MAX_CRL_BYTES:
        raise EvidenceRefused(f"{what}: got {len(content)} bytes, expected at most {MAX_CRL_BYTES}")
    _check_frame(content, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            found = x509.load_der_x509_crl(content)
            _ = found.issuer, found.extensions, found.signature_algorithm_parameters
            _ = found.last_update_utc, found.next_update_utc, len(found)
    except _MALFORMED as error:
        raise EvidenceRefused(f"{what}: not an X.509 revocation list: {error}") from error
    return found


def signature_holds(signed: Signed, issuer: x509.Certificate) -> bool:
    """Say whether `issuer`'s key made the signature, with an algorithm we accept for that key.

    For a certificate, its issuer's name and the algorithm it has twice are compared, too.
    """
    try:
        if not _acceptable(signed, issuer.public_key()):
            return False
        if isinstance(signed, x509.Certificate):
            signed.verify_directly_issued_by(issuer)
            return True
        return signed.is_signature_valid(_crl_key(issuer))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _acceptable(signed: Signed, key: object) -> bool:
    if isinstance(key, Ed25519PublicKey | MLDSA65PublicKey):
        return True  # the key fixes the algorithm
    if not isinstance(signed.signature_hash_algorithm, _HASHES):
        return False
    parameters = signed.signature_algorithm_parameters
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, _CURVES) and isinstance(parameters, ec.ECDSA)
    padded = isinstance(parameters, padding.PSS | padding.PKCS1v15)
    return isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS and padded


def _crl_key(issuer: x509.Certificate) -> CertificateIssuerPublicKeyTypes:
    return cast("CertificateIssuerPublicKeyTypes", issuer.public_key())

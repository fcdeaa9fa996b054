"""The key and certificate that one side of a channel shows in TLS: made for a process, or its operator's.

In come a time, or PEM; out comes an `Identity`. What is made signs itself and says nothing: evidence speaks for its
key, or nobody does. What an operator gives may be checked by the other side against a pinned authority (IEEE 2952
5.3.3 b). The private key stays in this process; files are the caller's business. Pure but for making a key.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from belljar.attestation.errors import KeyRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "belljar channel")])
_FOREVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)  # RFC 5280 4.1.2.5: its end is that of the process
_SKEW = dt.timedelta(hours=1)
MAX_CHAIN = 8

TlsKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who one side is in TLS.

    Attributes:
        key: the private key.
        chain: its certificate, and those between it and an authority.
        public_key: SubjectPublicKeyInfo of the key, DER.
    """

    key: TlsKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    public_key: bytes


def make_identity(now: int, *, extension: x509.UnrecognizedExtension | None = None) -> Identity:
    """Return a new key on P-256 with a certificate that it signed itself.

    Args:
        now: seconds since 1970.
        extension: what else the certificate says.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    return self_signed(key, now, extension)


def self_signed(
    key: ec.EllipticCurvePrivateKey, now: int, extension: x509.UnrecognizedExtension | None = None
) -> Identity:
    """Return a key with a certificate that it signed itself; `make_identity` says more."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(now, dt.UTC) - _SKEW)
        .not_valid_after(_FOREVER)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return Identity(key=key, chain=(certificate,), public_key=spki(key.public_key()))


def load_identity(certificates: bytes, key: bytes) -> Identity:
    """Return what an operator gives.

    Args:
        certificates: PEM, its own first.
        key: PEM, not encrypted; on a NIST curve, or Ed25519.

    Raises:
        KeyRefused: one is malformed, of another kind, or they do not belong together.
    """
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificates))
        public = spki(chain[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the channel's certificate cannot be read, expected a chain in PEM") from error
    if len(chain) > MAX_CHAIN:
        raise KeyRefused(f"the channel's chain has {len(chain)} certificates, expected at most {MAX_CHAIN}")
    private = _private(key)
    if spki(private.public_key()) != public:
        raise KeyRefused("the channel's key is not that of its certificate, expected the first in the chain")
    return Identity(key=private, chain=chain, public_key=public)


def _private(pem: bytes) -> TlsKey:
    try:
        found = load_pem_private_key(pem, password=None)
    except TypeError as error:
        hint = "take the passphrase off with: openssl pkey -in KEY.pem -out PLAIN.pem"
        raise KeyRefused("the channel's key is encrypted, expected one without passphrase", hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the channel's key cannot be read, expected a private key in PEM") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyRefused(
            f"the channel's key is a {type(found).__name__}, expected one on a NIST curve, or Ed25519",
            hint="openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        )
    return found


def load_authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return authorities to pin.

    Raises:
        KeyRefused: there is none, or one cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise KeyRefused("authorities cannot be read, expected certificates in PEM") from error


def spki(key: PublicKeyTypes) -> bytes:
    """Return a key's SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

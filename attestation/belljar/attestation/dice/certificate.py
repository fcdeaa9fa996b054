"""The four certificates between a pinned root and evidence, all X.509 (RFC 5280, Open Profile for DICE).

    platform CA   self-signed; what verifiers pin. Its key is forgotten once it has signed
    platform      of the key that follows from the platform's secret (the profile's UDS certificate)
    layer         of the key that follows from what runs (CDI certificate), with the inputs: changes with every build
    evidence      of the key of one run, which signs evidence and nothing else

In come keys, identifiers and times; out come DER bytes. A layer's certificate is deterministic where its algorithm is:
the profile's own vectors come out byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import extension
from .keypair import key_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
    )

    from belljar.attestation.keys import PublicKey, SigningKey

    from .inputs import DiceInputs

KIND_OID = "2.25.271477089951378142403773848598105300126"  # an arc made from a UUID (X.667): belongs to nobody else
ATTESTATION_KEY_OID = "2.25.79490298731422655530055318241035325161"
_LAYER_TIMES = (datetime(2018, 3, 22, 23, 59, 59, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
HASHES: dict[str, hashes.SHA256 | hashes.SHA384 | None] = {
    "ed25519": None,
    "es256": hashes.SHA256(),
    "es384": hashes.SHA384(),
    "ml-dsa-65": None,
}
"""What X.509 signatures of each algorithm hash with; a certificate with another hash is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when until when a certificate holds, in seconds since 1970."""

    start: int
    end: int

    @property
    def times(self) -> tuple[datetime, datetime]:
        """Both as X.509 takes them."""
        return datetime.fromtimestamp(self.start, UTC), datetime.fromtimestamp(self.end, UTC)


def ca_certificate(key: SigningKey, kind: str, validity: Validity) -> bytes:
    """Return the self-signed certificate of a platform CA; its name says which kind of root it stands for."""
    identifier = key_id(key.public)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Belljar platform CA ({kind})"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, identifier.hex()),
        ]
    )
    builder = _builder(key.public, name, name, validity.times, identifier)
    return _sign(_authority(builder, identifier, key.public, None), key)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """What a CA says about a platform.

    Attributes:
        kind: of the root of trust: `soft`, `tpm` for a chip, or `swtpm` for one that nobody knows to be a chip.
        attestation_key: SHA-256 of the SubjectPublicKeyInfo of the key whose quotes go with this platform, or None.
    """

    kind: str
    attestation_key: bytes | None = None


def platform_certificate(
    authority: SigningKey, ca: bytes, subject: PublicKey, facts: PlatformFacts, validity: Validity
) -> bytes:
    """Return the certificate of a platform's key.

    Args:
        authority: the CA's key.
        ca: the CA's certificate, DER.
        subject: the platform's key.
        facts: what is certified besides.
        validity: of the certificate.
    """
    identifier = key_id(subject)
    issuer = x509.load_der_x509_certificate(ca).subject
    builder = _builder(subject, issuer, _name(identifier), validity.times, identifier)
    builder = _authority(builder, key_id(authority.public), subject, None)
    builder = builder.add_extension(_private(KIND_OID, facts.kind.encode()), critical=False)
    if facts.attestation_key is not None:
        builder = builder.add_extension(_private(ATTESTATION_KEY_OID, facts.attestation_key), critical=False)
    return _sign(builder, authority)


def _private(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    """Return an extension of ours: an OCTET STRING of less than 128 bytes."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bytes((0x04, len(value))) + value)


def layer_certificate(
    authority: SigningKey, subject: PublicKey, inputs: DiceInputs, *, path_length: int | None = 0
) -> bytes:
    """Return the certificate of a layer's key.

    Args:
        authority: the key of the layer below.
        subject: the layer's key.
        inputs: what it follows from.
        path_length: how many layers may follow; None for any number.
    """
    issuer, identifier = key_id(authority.public), key_id(subject)
    builder = _builder(subject, _name(issuer), _name(identifier), _LAYER_TIMES, identifier)
    builder = _authority(builder, issuer, subject, path_length)
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier(extension.OID), extension.encode(inputs))
    return _sign(builder.add_extension(value, critical=True), authority)


def evidence_certificate(authority: SigningKey, subject: PublicKey, validity: Validity) -> bytes:
    """Return the certificate of a key that signs evidence.

    Args:
        authority: the layer's key.
        subject: the key of one run.
        validity: of the certificate.
    """
    issuer, identifier = key_id(authority.public), key_id(subject)
    builder = _builder(subject, _name(issuer), _name(identifier), validity.times, identifier)
    builder = _identifiers(builder, issuer, identifier)
    builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return _sign(builder, authority)


def tls_certificate(
    authority: SigningKey,
    subject: PublicKey,
    names: Sequence[str],
    evidence: x509.UnrecognizedExtension,
    validity: Validity,
) -> bytes:
    """Return the certificate of a program's key for TLS.

    It differs from one for evidence by extensions that evidence must not have, so the program, which has this key, can
    sign no evidence with it.

    Args:
        authority: the layer's key, or the key itself where nobody certifies it.
        subject: the program's key.
        names: DNS names it is for.
        evidence: about the key.
        validity: of the certificate.
    """
    issuer, identifier = key_id(authority.public), key_id(subject)
    builder = _builder(subject, _name(issuer), _name(identifier), validity.times, identifier)
    builder = _identifiers(builder, issuer, identifier)
    builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(uses, critical=False)
    subjects = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = builder.add_extension(subjects, critical=False).add_extension(evidence, critical=False)
    return _sign(builder, authority)


def _builder(
    subject: PublicKey, issuer: x509.Name, name: x509.Name, times: tuple[datetime, datetime], identifier: bytes
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=name,
        public_key=cast("CertificatePublicKeyTypes", subject.key),  # of the table: all of them sign certificates
        serial_number=int.from_bytes(identifier, "big"),
        not_valid_before=times[0],
        not_valid_after=times[1],
    )


def _name(identifier: bytes) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, identifier.hex())])


def _authority(
    builder: x509.CertificateBuilder, issuer: bytes, subject: PublicKey, path_length: int | None
) -> x509.CertificateBuilder:
    builder = _identifiers(builder, issuer, key_id(subject))
    builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)


def _identifiers(builder: x509.CertificateBuilder, issuer: bytes, subject: bytes) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer, None, None), critical=False)
    return builder.add_extension(x509.SubjectKeyIdentifier(subject), critical=False)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return the one use of a key: certificates, or other signatures."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: SigningKey) -> bytes:
    private = cast("CertificateIssuerPrivateKeyTypes", key.private)  # of the table, as above
    return builder.sign(private, HASHES[key.public.algorithm.name]).public_bytes(Encoding.DER)

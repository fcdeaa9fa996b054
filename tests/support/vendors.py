"""Makers of hardware, in miniature: roots, certificates of chips and of those between, revocation lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.evidence import key_digest
from belljar.attestation.x509 import der

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
DAY_S = 86400
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_CRITICAL = True

Private = Any  # ec, rsa, ed25519 or ML-DSA: what `cryptography` signs certificates with
Extensions = list[tuple[x509.ExtensionType, bool]]


@dataclass
class Authority:
    """A key with a certificate, which can issue others and revoke them."""

    key: Private
    certificate: x509.Certificate
    revoked: list[int] = field(default_factory=list)

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def pin(self) -> bytes:
        """How a policy names it."""
        return key_digest(self.certificate.public_key())


def name(common: str) -> x509.Name:
    """Return a name."""
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Test"),
        ]
    )


def authority(depth: int | None = None) -> Extensions:
    """Return the extensions of an issuer."""
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return [(x509.BasicConstraints(ca=True, path_length=depth), _CRITICAL), (usage, _CRITICAL)]


def raw(oid: str, value: bytes) -> tuple[x509.ExtensionType, bool]:
    """Return an extension with these very bytes."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), False


def signing(key: Private) -> dict[str, Any]:
    """Return how a key signs certificates: RSA as AMD does, P-384 with SHA-384, the rest as usual."""
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
        return {"algorithm": hashes.SHA384(), "rsa_padding": pss}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"algorithm": hashes.SHA384() if key.key_size == 384 else hashes.SHA256()}
    return {"algorithm": None}


@dataclass
class Wish:
    """What a certificate should be, where it is not the usual."""

    extensions: Extensions = field(default_factory=list)
    first: timedelta = timedelta(0)
    last: timedelta = timedelta(days=3650)
    serial: int | None = None
    algorithm: hashes.HashAlgorithm | None = None


def issue(common: str, key: Private, issuer: Authority | None = None, wish: Wish | None = None) -> Authority:
    """Return a certificate for a key, by an issuer or by itself."""
    wish = wish or Wish()
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(issuer.certificate.subject if issuer else name(common))
        .public_key(key.public_key())
        .serial_number(wish.serial or x509.random_serial_number())
        .not_valid_before(_EPOCH + wish.first)
        .not_valid_after(_EPOCH + wish.last)
    )
    for extension, critical in wish.extensions:
        builder = builder.add_extension(extension, critical=critical)
    how: dict[str, Any] = {"algorithm": wish.algorithm} if wish.algorithm is not None else signing(signer)
    return Authority(key=key, certificate=builder.sign(signer, **how))


def crl(issuer: Authority, *, first: int = 0, days: int = 3650, critical: bool = False) -> bytes:
    """Return the issuer's revocation list."""
    start = _EPOCH + timedelta(days=first)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(start)
        .next_update(start + timedelta(days=days))
    )
    for serial in issuer.revoked:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start).build()
        builder = builder.add_revoked_certificate(one)
    if critical:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    return builder.sign(issuer.key, **signing(issuer.key)).public_bytes(Encoding.DER)


def p256() -> ec.EllipticCurvePrivateKey:
    """Return a new key."""
    return ec.generate_private_key(ec.SECP256R1())


def p384() -> ec.EllipticCurvePrivateKey:
    """Return a new key."""
    return ec.generate_private_key(ec.SECP384R1())


AMD = "1.3.6.1.4.1.3704.1"


def chip_extensions(product: str, tcb: dict[str, int], *, chip_id: bytes | None, struct_version: int = 0) -> Extensions:
    """Return AMD's extensions of a VCEK, or of a VLEK where there is no chip id."""
    numbers = {"bootloader": "1", "tee": "2", "snp": "3", "microcode": "8", "fmc": "9"}
    found = [raw(f"{AMD}.1", der.spell(2, bytes([struct_version]))), raw(f"{AMD}.2", der.spell(0x16, product.encode()))]
    for key, value in tcb.items():
        found.append(raw(f"{AMD}.3.{numbers[key]}", der.spell(2, value.to_bytes(1 + (value > 127), "big"))))
    if chip_id is None:
        return [*found, raw(f"{AMD}.5", der.spell(0x16, b"cloud.example"))]
    return [*found, raw(f"{AMD}.4", chip_id)]


ARC = bytes.fromhex("2a864886f84d010d01")
COMPONENTS = (11, 11, 2, 2, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
FMSPC = bytes.fromhex("00a067110000")


def pck_extension(components: tuple[int, ...] = COMPONENTS, pce_svn: int = 13) -> tuple[x509.ExtensionType, bool]:
    """Return Intel's extension of a PCK certificate."""

    def integer(value: int) -> bytes:
        return der.spell(der.INTEGER, value.to_bytes(1 + value.bit_length() // 8, "big"))

    def member(arc: bytes, value: bytes) -> bytes:
        return der.spell(der.SEQUENCE, der.spell(der.OID, arc) + value)

    tcb = b"".join(member(ARC + bytes([2, index + 1]), integer(svn)) for index, svn in enumerate(components))
    tcb += member(ARC + b"\x02\x11", integer(pce_svn)) + member(
        ARC + b"\x02\x12", der.spell(der.OCTET_STRING, bytes(16))
    )
    content = member(ARC + b"\x01", der.spell(der.OCTET_STRING, b"P" * 16)) + member(
        ARC + b"\x02", der.spell(0x30, tcb)
    )
    content += member(ARC + b"\x03", der.spell(der.OCTET_STRING, bytes(2)))
    content += member(ARC + b"\x04", der.spell(der.OCTET_STRING, FMSPC))
    content += member(ARC + b"\x05", der.spell(der.ENUMERATED, b"\x00"))
    return raw("1.2.840.113741.1.13.1", der.spell(der.SEQUENCE, content))

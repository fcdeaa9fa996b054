"""What AMD writes into a VCEK or VLEK certificate: product, chip, and the TCB the key was made for (AMD 57230 3.1).

In comes a parsed certificate; out comes a `ChipCertificate`, or `EvidenceRefused`. Numbers are DER INTEGERs, the
product is an IA5String; the chip id is raw in older certificates and an OCTET STRING in newer ones. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from belljar.attestation.errors import EvidenceRefused

from .generations import Generation, generation_named

_AMD = "1.3.6.1.4.1.3704.1"
_STRUCT_VERSION, _PRODUCT, _CHIP_ID, _CSP = f"{_AMD}.1", f"{_AMD}.2", f"{_AMD}.4", f"{_AMD}.5"
_TCB = {"bootloader": f"{_AMD}.3.1", "tee": f"{_AMD}.3.2", "snp": f"{_AMD}.3.3", "microcode": f"{_AMD}.3.8",
        "fmc": f"{_AMD}.3.9"}  # fmt: skip
_INTEGER, _OCTET_STRING, _IA5_STRING = 0x02, 0x04, 0x16
_MAX_SHORT = 127  # lengths of one byte


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipCertificate:
    """A VCEK or VLEK certificate as AMD means it.

    Attributes:
        key: P-384.
        kind: VCEK or VLEK.
        generation: of the processor.
        tcb: the numbers the key was derived from.
        chip_id: of the processor; None in a VLEK.
        csp: the cloud a VLEK was given to; None in a VCEK.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePublicKey
    kind: str
    generation: Generation
    tcb: dict[str, int]
    chip_id: bytes | None
    csp: str | None


def is_chip_certificate(certificate: x509.Certificate) -> bool:
    """Say whether a certificate has AMD's extensions."""
    return _raw(certificate, _PRODUCT) is not None


def chip_certificate(certificate: x509.Certificate) -> ChipCertificate:
    """Return what AMD wrote into a certificate.

    Raises:
        EvidenceRefused: an extension is missing, malformed or of another layout, or the key is of another kind.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EvidenceRefused(f"SNP certificate: got a key of kind {type(key).__name__}, expected P-384")
    generation = generation_named(_text(certificate, _PRODUCT))
    struct_version = _number(certificate, _STRUCT_VERSION)
    if struct_version != generation.struct_version:
        raise EvidenceRefused(
            f"SNP certificate: got layout {struct_version} for {generation.name}, expected {generation.struct_version}"
        )
    chip_id, csp = _raw(certificate, _CHIP_ID), _raw(certificate, _CSP)
    if (chip_id is None) == (csp is None):
        raise EvidenceRefused("SNP certificate: got both or none of chip id and cloud, expected one of them")
    if chip_id is not None and len(chip_id) == generation.chip_id_bytes + 2:
        chip_id = _value(certificate, _CHIP_ID, _OCTET_STRING)
    if chip_id is not None and len(chip_id) != generation.chip_id_bytes:
        raise EvidenceRefused(
            f"SNP certificate: got a chip id of {len(chip_id)} bytes, expected {generation.chip_id_bytes}"
        )
    return ChipCertificate(
        certificate=certificate,
        key=key,
        kind="VLEK" if chip_id is None else "VCEK",
        generation=generation,
        tcb={name: _number(certificate, _TCB[name]) for name, _ in generation.tcb},
        chip_id=chip_id,
        csp=None if csp is None else _text(certificate, _CSP),
    )


def _raw(certificate: x509.Certificate, oid: str) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        return None
    return found.value if isinstance(found, x509.UnrecognizedExtension) else None


def _value(certificate: x509.Certificate, oid: str, tag: int) -> bytes:
    """Return the content of a DER value that is all of an extension."""
    raw = _raw(certificate, oid)
    if raw is None or len(raw) < 3 or raw[0] != tag or raw[1] != len(raw) - 2 or raw[1] > _MAX_SHORT:
        raise EvidenceRefused(f"SNP certificate: extension {oid} is missing or malformed, expected a value of {tag:#x}")
    return raw[2:]


def _number(certificate: x509.Certificate, oid: str) -> int:
    number = int.from_bytes(_value(certificate, oid, _INTEGER), "big", signed=True)
    if not 0 <= number <= 255:
        raise EvidenceRefused(f"SNP certificate: extension {oid}: got {number}, expected 0 to 255")
    return number


def _text(certificate: x509.Certificate, oid: str) -> str:
    try:
        return _value(certificate, oid, _IA5_STRING).decode("ascii")
    except UnicodeDecodeError as error:
        raise EvidenceRefused(f"SNP certificate: extension {oid} is not ASCII") from error

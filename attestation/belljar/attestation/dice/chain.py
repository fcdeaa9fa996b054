"""Verifying the four certificates from evidence to a pinned root: numbered steps, a given time, nothing else.

In come DER certificates, leaf first, as strangers send them; out comes what they say together, or the refusal that
names the step. Exactly the four kinds that certificate.py writes are accepted, in their order: no other depth, no other
extension, no algorithm outside the table, no hash but the algorithm's own. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from belljar.attestation.errors import EvidenceRefused, KeyRefused
from belljar.attestation.evidence import key_digest

from . import extension
from .certificate import ATTESTATION_KEY_OID, HASHES, KIND_OID, key_usage
from .keypair import ID_BYTES
from .reading import Read, Reading

if TYPE_CHECKING:
    from belljar.attestation.evidence import Trust
    from belljar.attestation.keys import PublicKey
    from belljar.attestation.steps import Trail

    from .extension import Shown

MAX_CERTIFICATE_BYTES = 16 * 1024  # with ML-DSA-65 they have 5.5 KiB
_NAMES = ("evidence", "layer", "platform", "root")
_COMMON = frozenset({"2.5.29.35", "2.5.29.14", "2.5.29.15", "2.5.29.19"})  # identifiers, key usage, constraints
_EXTENSIONS = (
    (_COMMON, _COMMON),
    (_COMMON | {extension.OID}, _COMMON | {extension.OID}),
    (_COMMON | {KIND_OID}, _COMMON | {KIND_OID, ATTESTATION_KEY_OID}),
    (_COMMON, _COMMON),
)
"""Of each certificate: the extensions it must have, and those it may have."""
_UNREADABLE = (
    ValueError, UnsupportedAlgorithm, KeyRefused, x509.DuplicateExtension, x509.InvalidVersion,
    TypeError,  # cryptography 50 lets one through for names with text of a wrong type
)  # fmt: skip
_CRITICAL = frozenset({"2.5.29.15", "2.5.29.19", extension.OID})
_PATH_LENGTHS = (None, 0, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """What a chain says once every step has held.

    Attributes:
        key: signs evidence.
        not_after: until when its certificate holds, in seconds since 1970.
        layer: the inputs of the layer it belongs to.
        platform: identifier of the platform.
        platform_key: SHA-256 of the SubjectPublicKeyInfo of the platform's key.
        kind: of the root of trust, as the CA certified it.
        attestation_key: digest of the key whose quotes go with the platform, as the CA certified it; None if none.
        root: SHA-256 of the SubjectPublicKeyInfo of the pinned root.
    """

    key: PublicKey
    not_after: int
    layer: Shown
    platform: bytes
    platform_key: bytes
    kind: str
    attestation_key: bytes | None
    root: bytes


def verify_chain(certificates: tuple[bytes, ...], trust: Trust, trail: Trail) -> VerifiedChain:
    """Return what a chain says.

    Args:
        certificates: DER, of the key that signs evidence first, of the root last.
        trust: the pinned roots, and the time to judge by.
        trail: where the steps are written down.

    Raises:
        EvidenceRefused: it is malformed, or a step failed.
    """
    trail.check("certificates in the chain", len(certificates), len(_NAMES), passed=len(certificates) == len(_NAMES))
    reading = trust.reading or Reading()
    parsed = tuple(_parse(name, der, reading, trail) for name, der in zip(_NAMES, certificates, strict=True))
    root = key_digest(parsed[-1].key.key)
    trail.check("root of the chain", root, "a pinned one", passed=root in trust.roots)
    for place in range(len(_NAMES)):
        _issued(place, parsed, reading, trail)
        _valid(_NAMES[place], parsed[place].certificate, trust.now, trail)
        _shaped(place, parsed[place].certificate, trail)
    evidence, layer, platform, _ = parsed
    kind = _octets(platform.certificate, KIND_OID)
    trail.check("kind of root certified", kind or b"none", "a known one", passed=kind in _KINDS)
    return VerifiedChain(
        key=evidence.key,
        not_after=int(evidence.certificate.not_valid_after_utc.timestamp()),
        layer=extension.decode(_value(layer.certificate, extension.OID)),
        platform=platform.identifier,
        platform_key=key_digest(platform.key.key),
        kind=(kind or b"").decode(),
        attestation_key=_octets(platform.certificate, ATTESTATION_KEY_OID),
        root=root,
    )


_KINDS = frozenset({b"soft", b"swtpm", b"tpm"})


def _parse(name: str, der: bytes, reading: Reading, trail: Trail) -> Read:
    size = len(der)
    trail.check(f"size of the {name} certificate", size, f"at most {MAX_CERTIFICATE_BYTES}",
                passed=size <= MAX_CERTIFICATE_BYTES)  # fmt: skip
    trail.check(f"serial number of the {name} certificate", "positive" if has_positive_serial(der) else "not positive",
                "positive", passed=has_positive_serial(der))  # fmt: skip
    try:
        found = reading.read(der)
    except _UNREADABLE as error:
        raise EvidenceRefused(f"the {name} certificate cannot be read: {error}", steps=tuple(trail.steps)) from error
    whole = der.endswith(b"\x00" + found.certificate.signature)  # none of the BIT STRING unused
    trail.check(f"end of the {name} certificate", "all bits" if whole else "unused bits", "all bits", passed=whole)
    return found


def has_positive_serial(der: bytes) -> bool:
    """Say whether a certificate begins as one of version 3 does whose serial number is positive.

    Asked before it is parsed: `cryptography` reads others as well, and warns of them on standard error.
    """
    start = _header(der, _header(der, 0))
    if der[start : start + 6] != b"\xa0\x03\x02\x01\x02\x02":
        return False
    length = int.from_bytes(der[start + 6 : start + 7], "big")
    return length <= ID_BYTES and int.from_bytes(der[start + 7 : start + 7 + length], "big", signed=True) > 0


def _header(der: bytes, start: int) -> int:
    """Return where the content of a SEQUENCE begins (X.690 8.1.3)."""
    length = int.from_bytes(der[start + 1 : start + 2], "big")
    return start + 2 + (length & 0x0F if length & 0x80 else 0)


def _issued(place: int, parsed: tuple[Read, ...], reading: Reading, trail: Trail) -> None:
    """Check that a certificate is signed by the next, the last by itself, with the algorithm of the signer's key."""
    name, subject = _NAMES[place], parsed[place]
    issuer = parsed[min(place + 1, len(parsed) - 1)]
    certificate = subject.certificate
    wanted = HASHES[issuer.key.algorithm.name]
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        found = None
        trail.check(f"signature algorithm of the {name} certificate", certificate.signature_algorithm_oid.dotted_string,
                    issuer.key.algorithm.name, passed=False)  # fmt: skip
    names = (found.name if found else "none", wanted.name if wanted else "none")
    trail.check(f"hash in the signature of the {name} certificate", *names, passed=names[0] == names[1])
    trail.equal(f"serial number of the {name} certificate", certificate.serial_number.to_bytes(ID_BYTES, "big"),
                subject.identifier)  # fmt: skip
    holds = reading.is_signed_by(certificate, issuer.certificate)
    trail.check(f"signature of the {name} certificate", "holds" if holds else "does not hold", "holds", passed=holds)


def _valid(name: str, certificate: x509.Certificate, now: int, trail: Trail) -> None:
    start, end = (int(time.timestamp()) for time in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
    trail.check(f"validity of the {name} certificate", now, f"{start} to {end}", passed=start <= now <= end)


def _shaped(place: int, certificate: x509.Certificate, trail: Trail) -> None:
    """Check that a certificate has the extensions of its place, and says there what it must."""
    name, authority = _NAMES[place], place > 0
    must, may = _EXTENSIONS[place]
    found = frozenset(item.oid.dotted_string for item in certificate.extensions)
    trail.check(f"extensions of the {name} certificate", ", ".join(sorted(found)), ", ".join(sorted(must)),
                passed=must <= found <= may)  # fmt: skip
    critical = frozenset(item.oid.dotted_string for item in certificate.extensions if item.critical)
    trail.check(f"critical extensions of the {name} certificate", ", ".join(sorted(critical)),
                ", ".join(sorted(must & _CRITICAL)), passed=critical == must & _CRITICAL)  # fmt: skip
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    trail.check(f"use of the {name} key", _used(usage), "certificates" if authority else "signatures",
                passed=usage == key_usage(signs_certificates=authority))  # fmt: skip
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    limits = (constraints.ca, constraints.path_length)
    wanted = (authority, _PATH_LENGTHS[place])
    trail.check(f"constraints of the {name} certificate", limits, wanted, passed=limits == wanted)


def _used(usage: x509.KeyUsage) -> str:
    named = (("certificates", usage.key_cert_sign), ("signatures", usage.digital_signature))
    return " and ".join(name for name, is_set in named if is_set) or "neither"


def _value(certificate: x509.Certificate, oid: str) -> bytes:
    """Return the bytes of a private extension, empty if there is none."""
    try:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        return b""
    return found.value if isinstance(found, x509.UnrecognizedExtension) else b""


def _octets(certificate: x509.Certificate, oid: str) -> bytes | None:
    """Return what is in an OCTET STRING of less than 128 bytes, or None if there is none."""
    value = _value(certificate, oid)
    if len(value) < 2 or value[0] != 0x04 or value[1] != len(value) - 2 or value[1] > 127:
        return None
    return value[2:]

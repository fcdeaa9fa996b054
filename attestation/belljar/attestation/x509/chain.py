"""A chain of certificates from a leaf to a pinned root, walked in numbered steps (RFC 5280 6.1, RFC 4158).

In come certificates already parsed, in any order, revocation lists, and what to trust; out comes the chain, leaf first,
or `EvidenceRefused` with the step that failed. Only pinned keys end a chain. What path validation of the web has and
vendors' chains have not (names of hosts, policies, name constraints) is refused by refusing unknown critical
extensions. Pure: the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Trust, key_digest

from .certificate import MAX_CERTIFICATES, parse_certificate, signature_holds
from .revocation import check_revocation

if TYPE_CHECKING:
    from belljar.attestation.steps import Trail

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_KNOWN_CRITICAL = (x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain that holds.

    Attributes:
        certificates: leaf first, root last.
        root: SHA-256 of the root's SubjectPublicKeyInfo.
    """

    certificates: tuple[x509.Certificate, ...]
    root: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that signs evidence."""
        return self.certificates[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What chains are built from.

    Attributes:
        what: what steps call the chain, such as `VCEK chain`.
        certificates: that may lie between leaf and root, and the root.
        crls: that may speak of them.
        leaf_revocable: whether the leaf's issuer publishes revocations of leaves; AMD does not, it revokes ASKs.
    """

    what: str
    certificates: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    leaf_revocable: bool = True


def parsed(ders: tuple[bytes, ...], what: str) -> tuple[x509.Certificate, ...]:
    """Return certificates in DER, parsed.

    Raises:
        EvidenceRefused: one is malformed, or there are too many.
    """
    if len(ders) > MAX_CERTIFICATES:
        raise EvidenceRefused(f"{what}: got {len(ders)} certificates, expected at most {MAX_CERTIFICATES}")
    return tuple(parse_certificate(der, f"{what}: certificate {index + 1}") for index, der in enumerate(ders))


def verify_chain(leaf: x509.Certificate, material: Material, trust: Trust, trail: Trail) -> Chain:
    """Return the chain from a leaf to a pinned root.

    The steps, for each chain: 1. a path to a self-issued certificate exists, every signature on it holds; 2. its end is
    pinned; 3. every certificate is valid at `trust.now`; 4. every issuer may issue, and so deep; 5. the leaf is no
    issuer and may sign; 6. no critical extension is unknown; 7. nothing on the path is revoked.

    Raises:
        EvidenceRefused: a step failed.
    """
    path = _path(leaf, material)
    what = material.what
    names = " < ".join(common_name(certificate) for certificate in path)
    complete = path[-1] is not leaf and _ends(path[-1])
    trail.check(f"{what}: signatures up to a root", names, "a path to a root", passed=complete)
    root = key_digest(path[-1].public_key())
    pinned = "one of the pinned: " + ", ".join(sorted(pin.hex()[:16] for pin in trust.roots)) if trust.roots else "none"
    trail.check(f"{what}: root key", root, pinned, passed=root in trust.roots)
    for certificate in path:
        _check_validity(certificate, material.what, trust.now, trail)
    for depth, certificate in enumerate(path[1:]):
        _check_issuer(certificate, material.what, depth, trail)
    _check_leaf(path[0], what, trail)
    check_revocation(path, material.crls, trust=trust, leaf_revocable=material.leaf_revocable, trail=trail)
    return Chain(certificates=path, root=root)


def _path(leaf: x509.Certificate, material: Material) -> tuple[x509.Certificate, ...]:
    """Return the certificates from the leaf as far up as signatures hold; no certificate is used twice."""
    path = [leaf]
    unused = [certificate for certificate in material.certificates if certificate != leaf]
    while len(path) < MAX_CERTIFICATES and not _ends(path[-1]):
        issuers = (one for one in unused if one.subject == path[-1].issuer and signature_holds(path[-1], one))
        issuer = next(issuers, None)
        if issuer is None:
            break
        unused.remove(issuer)
        path.append(issuer)
    return tuple(path)


def _ends(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer and signature_holds(certificate, certificate)


def common_name(certificate: x509.Certificate) -> str:
    """Return how people call a certificate; not to be compared."""
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string()


def _check_validity(certificate: x509.Certificate, what: str, now: int, trail: Trail) -> None:
    at = datetime.fromtimestamp(now, UTC)
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    trail.check(
        f"{what}: {common_name(certificate)} valid", f"{at:%Y-%m-%d %H:%M:%S}", f"{first:%Y-%m-%d} to {last:%Y-%m-%d}",
        passed=first <= at <= last,
    )  # fmt: skip


def _check_issuer(certificate: x509.Certificate, what: str, depth: int, trail: Trail) -> None:
    """Hold that a certificate may issue others, with `depth` issuers below it."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    allowed = constraints is not None and constraints.ca
    deep = constraints is not None and (constraints.path_length is None or constraints.path_length >= depth)
    signs = usage is not None and usage.key_cert_sign
    found = f"CA {allowed}, depth {'enough' if deep else 'too small'}, keyCertSign {signs}"
    name = f"{what}: {common_name(certificate)} may issue"
    trail.check(name, found, f"CA True, {depth} issuers below, keyCertSign True", passed=allowed and deep and signs)
    _check_critical(certificate, what, trail)


def _check_leaf(certificate: x509.Certificate, what: str, trail: Trail) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    is_issuer = constraints is not None and constraints.ca
    signs = usage is None or usage.digital_signature
    trail.check(
        f"{what}: {common_name(certificate)} may sign", f"CA {is_issuer}, digitalSignature {signs}",
        "CA False, digitalSignature True", passed=signs and not is_issuer,
    )  # fmt: skip
    _check_critical(certificate, what, trail)


def _check_critical(certificate: x509.Certificate, what: str, trail: Trail) -> None:
    critical = [item.oid for item in certificate.extensions if item.critical and item.oid not in _KNOWN_CRITICAL]
    found = ", ".join(oid.dotted_string for oid in critical) or "none"
    name = f"{what}: {common_name(certificate)} critical extensions unknown"
    trail.check(name, found, "none", passed=not critical)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None

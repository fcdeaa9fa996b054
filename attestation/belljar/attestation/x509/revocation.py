"""Revocation lists (RFC 5280 5, 6.3): every certificate below the root looked up in a list its issuer signed.

A list counts only if the issuer on the path signed it, it is in date, and it is complete: no delta, no indirect list,
no critical extension we do not know. Whether a missing list refuses is `trust.require_crls`; a list that is there is
used either way. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509

from .certificate import signature_holds

if TYPE_CHECKING:
    from belljar.attestation.evidence import Trust
    from belljar.attestation.steps import Trail

_Path = tuple[x509.Certificate, ...]


def check_revocation(
    path: _Path,
    crls: tuple[x509.CertificateRevocationList, ...],
    *,
    trust: Trust,
    leaf_revocable: bool,
    trail: Trail,
) -> None:
    """Hold that nothing on a path is revoked.

    Args:
        path: leaf first, root last.
        crls: that may speak of it.
        trust: the time, and whether lists must be there.
        leaf_revocable: whether the leaf, too, must be looked up.
        trail: where the steps are written.

    Raises:
        EvidenceRefused: a certificate is revoked, a list is not in date, or one is missing that must be there.
    """
    for certificate, issuer in list(pairwise(path))[0 if leaf_revocable else 1 :]:
        lists = [crl for crl in crls if crl.issuer == issuer.subject and signature_holds(crl, issuer)]
        name = f"revocation of {certificate.subject.rfc4514_string()}"
        if not lists:
            expected = "a list signed by its issuer" if trust.require_crls else "a list, or none as the policy allows"
            trail.check(name, "no list", expected, passed=not trust.require_crls)
        for crl in lists:
            _check_list(crl, trust.now, name, trail)
            found = "revoked" if revoked(crl, certificate) else "not in the list"
            trail.check(name, found, "not in the list", passed=found != "revoked")


def _check_list(crl: x509.CertificateRevocationList, now: int, name: str, trail: Trail) -> None:
    at = datetime.fromtimestamp(now, UTC)
    first, last = crl.last_update_utc, crl.next_update_utc
    span = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}" if last else "a list that says when the next one comes"
    dated = last is not None and first <= at < last
    trail.check(f"{name}: list in date", f"{at:%Y-%m-%d %H:%M:%S}", span, passed=dated)
    critical = [item.oid.dotted_string for item in crl.extensions if item.critical]
    trail.check(f"{name}: list complete", f"critical {critical}", "critical []", passed=not critical)


def revoked(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Say whether a list names a certificate."""
    return crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

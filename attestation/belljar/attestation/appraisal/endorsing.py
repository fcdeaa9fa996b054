"""Endorsements as files hold them: told apart by their first bytes, read, nothing believed (RFC 9334 8.2).

    -----BEGIN …    certificates and revocation lists in PEM, any number, in any order
    { …             collateral for SGX and TDX in dcap-qvl's layout
    30 …            one certificate or revocation list in DER
    anything else   the table of certificates that a host of SEV-SNP hands out

In come contents; out come `Endorsements`, or `EvidenceRefused`. Whether any of it holds is the verifiers' business.
Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.dcap.wire import parse_collateral
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements
from belljar.attestation.snp.table import parse_table

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FILES = 32
MAX_BLOCKS = 64
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_CERTIFICATE, _CRL = b"CERTIFICATE", b"X509 CRL"


def endorsements_in(contents: Iterable[bytes]) -> Endorsements:
    """Return what some files hold, together.

    Raises:
        EvidenceRefused: one is of no known form, there are too many, or there is more than one collateral.
    """
    parts = [_read(content) for _, content in zip(range(MAX_FILES + 1), contents, strict=False)]
    if len(parts) > MAX_FILES:
        raise EvidenceRefused(f"endorsements: got more than {MAX_FILES}")
    collateral = [part.collateral for part in parts if part.collateral is not None]
    if len(collateral) > 1:
        raise EvidenceRefused(f"endorsements: got {len(collateral)} collaterals, expected one at most")
    return Endorsements(
        certificates=tuple(one for part in parts for one in part.certificates),
        crls=tuple(one for part in parts for one in part.crls),
        collateral=collateral[0] if collateral else None,
    )


def _read(content: bytes) -> Endorsements:
    if b"-----BEGIN " in content[:4096]:
        return _pem(content)
    if content.lstrip()[:1] == b"{":
        return parse_collateral(content)
    if content[:1] == b"\x30":
        return _der(content)
    certificates, crls = parse_table(content)
    return Endorsements(certificates=certificates, crls=crls)


def _pem(content: bytes) -> Endorsements:
    certificates: list[bytes] = []
    crls: list[bytes] = []
    for found in _PEM.finditer(content):
        if len(certificates) + len(crls) >= MAX_BLOCKS:
            raise EvidenceRefused(f"endorsements: got more than {MAX_BLOCKS} certificates and lists in one file")
        try:
            if found[1] == _CERTIFICATE:
                certificates.append(x509.load_pem_x509_certificate(found[0]).public_bytes(Encoding.DER))
            elif found[1] == _CRL:
                crls.append(x509.load_pem_x509_crl(found[0]).public_bytes(Encoding.DER))
            else:
                raise EvidenceRefused(f"endorsements: got {found[1].decode()}, expected certificates and lists")
        except ValueError as error:
            raise EvidenceRefused(f"endorsements: a {found[1].decode().lower()} cannot be read") from error
    if not certificates and not crls:
        raise EvidenceRefused("endorsements: got PEM without a whole certificate or revocation list")
    return Endorsements(certificates=tuple(certificates), crls=tuple(crls))


def _der(content: bytes) -> Endorsements:
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        pass
    else:
        return Endorsements(certificates=(content,))
    try:
        x509.load_der_x509_crl(content)
    except ValueError as error:
        raise EvidenceRefused("endorsements: got DER that is no certificate and no revocation list") from error
    return Endorsements(crls=(content,))

"""Collateral inside an RA-TLS certificate (CCC, SGX / TDX endorsement format; fields as Open Enclave has them).

    60000([ 1, TCB info, its chain, PCK list, root list, chain of the PCK list, QE identity, its chain, ? date ])

TCB info and QE identity are bodies of Intel's service, chains are PEM, lists are DER. Nothing in it is trusted: it
is verified like any other collateral. In comes a certificate; out come `Endorsements`, or None, or `EvidenceRefused`.
Pure.
"""

from __future__ import annotations

from typing import cast

from cryptography import x509

from belljar.attestation.cbor import Tagged, decode
from belljar.attestation.dcap.wire import pem_as_der, split_signed
from belljar.attestation.errors import CborRefused, EvidenceRefused
from belljar.attestation.evidence import Collateral, Endorsements

EXTENSION = x509.ObjectIdentifier("2.23.133.5.4.2")
_TAG = 60000
_VERSION = 1
_WHAT = "RA-TLS endorsements"


def embedded(certificate: x509.Certificate) -> Endorsements | None:
    """Return the collateral that a certificate brings; None if it brings none.

    Raises:
        EvidenceRefused: there is some, and it is malformed.
    """
    try:
        raw = certificate.extensions.get_extension_for_oid(EXTENSION).value
    except x509.ExtensionNotFound:
        return None
    parts = _parts(raw.value if isinstance(raw, x509.UnrecognizedExtension) else b"")
    tcb_info, tcb_signature = split_signed(_text(parts[0]))
    identity, identity_signature = split_signed(_text(parts[5]))
    if parts[1] != parts[6]:
        raise EvidenceRefused(f"{_WHAT}: TCB info and QE identity have other signers, expected one for both")
    return Endorsements(
        crls=(parts[2], parts[3]),
        collateral=Collateral(
            tcb_info=tcb_info,
            tcb_info_signature=tcb_signature,
            qe_identity=identity,
            qe_identity_signature=identity_signature,
            tcb_chain=pem_as_der(parts[1], "TCB signing chain"),
            pck_chain=pem_as_der(parts[4], "chain of the PCK list"),
        ),
    )


def _text(content: bytes) -> bytes:
    return content.removesuffix(b"\0")  # C's strings


def _parts(content: bytes) -> list[bytes]:
    """Return the fields from TCB info to the QE identity's chain."""
    try:
        outer = decode(content, tags=frozenset({_TAG}))
    except CborRefused as error:
        raise EvidenceRefused(f"{_WHAT}: {error}") from error
    parts = outer.value if isinstance(outer, Tagged) else None
    if not isinstance(parts, list) or len(parts) not in (8, 9) or parts[0] != _VERSION or isinstance(parts[0], bool):
        raise EvidenceRefused(f"{_WHAT}: got something else than {_TAG}([1, …]) with 8 or 9 fields")
    if not all(isinstance(part, bytes) for part in parts[1:]):
        raise EvidenceRefused(f"{_WHAT}: fields after the version must be byte strings")
    return cast("list[bytes]", parts[1:8])

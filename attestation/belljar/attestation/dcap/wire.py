"""Collateral as services and files carry it, taken apart into `Endorsements` (Intel PCS API v4; dcap-qvl's JSON).

`parse_collateral` reads one JSON object with nine members, as dcap-qvl and its services write it: texts of JSON, chains
in PEM, the rest in hexadecimal. `split_signed` takes a body of Intel's service apart, keeping the bytes that are
signed. Nothing here is verified: collateral.py does that. In come bytes; out come values, or `EvidenceRefused`. Pure.
"""

from __future__ import annotations

import re

from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Collateral, Endorsements
from belljar.attestation.parsing.objects import MAX_JSON_BYTES, Object
from belljar.attestation.x509.certificate import MAX_CRL_BYTES, parse_pem_chain

MAX_COLLATERAL_BYTES = 4 << 20
_SIGNED = re.compile(rb'\{"(?:tcbInfo|enclaveIdentity)":(\{.*\}),"signature":"([0-9A-Fa-f]{128})"\}\n?', re.DOTALL)
_WHAT = "collateral"


def split_signed(body: bytes) -> tuple[bytes, bytes]:
    """Return the signed object in a body of Intel's service, byte for byte, and its signature.

    Raises:
        EvidenceRefused: it is no such body.
    """
    found = _SIGNED.fullmatch(body) if len(body) <= MAX_JSON_BYTES else None
    if found is None:
        raise EvidenceRefused(f'{_WHAT}: got something else than {{"tcbInfo" or "enclaveIdentity": …, "signature": …}}')
    return found[1], bytes.fromhex(found[2].decode())


def parse_collateral(content: bytes) -> Endorsements:
    """Return the endorsements in a file of dcap-qvl's layout.

    Raises:
        EvidenceRefused: a member is missing or malformed.
    """
    if len(content) > MAX_COLLATERAL_BYTES:
        raise EvidenceRefused(f"{_WHAT}: got {len(content)} bytes, expected at most {MAX_COLLATERAL_BYTES}")
    found = Object.parse(content, _WHAT, limit=MAX_COLLATERAL_BYTES)
    pck_chain = pem_as_der(found.text("pck_crl_issuer_chain").encode(), "chain of the PCK list")
    if found.text("tcb_info_issuer_chain") != found.text("qe_identity_issuer_chain"):
        raise EvidenceRefused(f"{_WHAT}: TCB info and QE identity have other signers, expected one for both")
    return Endorsements(
        crls=tuple(_hexadecimal(found, name, MAX_CRL_BYTES) for name in ("root_ca_crl", "pck_crl")),
        collateral=Collateral(
            tcb_info=found.text("tcb_info").encode(),
            tcb_info_signature=found.octets("tcb_info_signature", 64),
            qe_identity=found.text("qe_identity").encode(),
            qe_identity_signature=found.octets("qe_identity_signature", 64),
            tcb_chain=pem_as_der(found.text("tcb_info_issuer_chain").encode(), "TCB signing chain"),
            pck_chain=pck_chain,
        ),
    )


def pem_as_der(pem: bytes, what: str) -> tuple[bytes, ...]:
    """Return the certificates of a PEM chain in DER.

    Raises:
        EvidenceRefused: it is none.
    """
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in parse_pem_chain(pem, what))


def _hexadecimal(found: Object, name: str, limit: int) -> bytes:
    text = found.text(name)
    try:
        content = bytes.fromhex(text) if len(text) <= 2 * limit else b""
    except ValueError:
        content = b""
    if not content:
        raise EvidenceRefused(f"{_WHAT}.{name}: got no hexadecimal, or too much of it")
    return content

"""Golden evidence: kept files of every layout, of our own making, still verify, and say what they said.

The files were written by `written` below, once, and stay as they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from belljar.attestation import verifier
from belljar.attestation.evidence import Collateral, Endorsements
from belljar.attestation.keys import SigningKey, load_private
from belljar.attestation.verifier import Appraisal, Challenge, Issue, ear_cwt, ear_jwt
from support.evidence import REPORT_DATA, Case, every_case
from support.policies import policy

FOLDER = Path(__file__).parent / "evidence"
NAMES = ("snp-Milan-B0-v3", "snp-Turin-B0-v5", "sgx-v3", "tdx-v5", "tpm-ecdsa", "ra-tls-null")
ISSUE = Issue(build="golden", lifetime_s=60)
EARS = {
    "jwt": "a271c4a62eab233ecb823195a49e2ffb3e55d611cacb6f15eef0352e5f226f1a",
    "cwt": "edda48fefb9ce44650973258d148d14781b2104c64c71dd251118557ecf29cab",
}


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def written(case: Case) -> dict[str, Any]:
    """Return a case as its file has it."""
    collateral = case.endorsements.collateral
    return {
        "now": case.now,
        "roots": sorted(pin.hex() for pin in case.roots),
        "evidence": text(case.evidence),
        "certificates": [text(one) for one in case.endorsements.certificates],
        "crls": [text(one) for one in case.endorsements.crls],
        "collateral": collateral
        and {
            "tcb_info": text(collateral.tcb_info),
            "tcb_info_signature": text(collateral.tcb_info_signature),
            "qe_identity": text(collateral.qe_identity),
            "qe_identity_signature": text(collateral.qe_identity_signature),
            "tcb_chain": [text(one) for one in collateral.tcb_chain],
        },
        "claims": case.verify().plain(),
    }


def kept(name: str) -> tuple[Case, dict[str, Any]]:
    found = json.loads((FOLDER / f"{name}.json").read_text())
    collateral = None
    if found["collateral"]:
        parts: dict[str, Any] = {
            key: tuple(map(base64.b64decode, value)) if isinstance(value, list) else base64.b64decode(value)
            for key, value in found["collateral"].items()
        }
        collateral = Collateral(**parts)
    endorsements = Endorsements(
        certificates=tuple(map(base64.b64decode, found["certificates"])),
        crls=tuple(map(base64.b64decode, found["crls"])),
        collateral=collateral,
    )
    case = Case(
        name=name,
        kind=every_case()[name].kind,
        evidence=base64.b64decode(found["evidence"]),
        endorsements=endorsements,
        roots=frozenset(map(bytes.fromhex, found["roots"])),
        now=found["now"],
    )
    return case, found["claims"]


@pytest.mark.parametrize("name", NAMES)
def test_kept_evidence_says_what_it_said(name: str) -> None:
    case, claims = kept(name)
    assert json.loads(json.dumps(case.verify().plain())) == claims


def verdict() -> Appraisal:
    case, _ = kept("snp-Milan-B0-v3")
    rules = policy(case, case.verify())
    return verifier.verify(
        case.evidence,
        endorsements=case.endorsements,
        policy=rules,
        now=case.now,
        challenge=Challenge(nonce=REPORT_DATA),
    )


def key() -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return load_private(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_results_have_the_bytes_they_had() -> None:
    """Ed25519 signs the same thing the same way, so that a whole result can be kept."""
    found = {"jwt": ear_jwt(verdict(), key(), ISSUE).encode(), "cwt": ear_cwt(verdict(), key(), ISSUE)}
    assert {name: hashlib.sha256(token).hexdigest() for name, token in found.items()} == EARS

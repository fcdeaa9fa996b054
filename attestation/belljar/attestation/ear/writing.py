"""EAR: the verdict as others read it, signed (draft-ietf-rats-ear-04; vector: draft-ietf-rats-ar4si-09).

    eat_profile 265   "tag:ietf.org,2026:rats/ear#04"          iat 6, exp 4    eat_nonce 10
    ear_status 1000   the worst of the submodules              ear_verifier_id 1004 {developer 0, build 1}
    submods 266       { tee: ear_status, ear_trustworthiness_vector 1001, ear_appraisal_policy_ids 1003,
                        ear_verifier_claims 1006: what the evidence says, our own members (below) } }

The verifier's claims are `belljar`: a map of our own, versioned: claims, evidence digest, failed steps. As JWT the
names are written, as CWT the numbers; both hold the same. Other dialects are read (reading.py), this one is
written. In come an `Appraisal`, a key and times; out come tokens. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from belljar.attestation import cose
from belljar.attestation.cbor import Cbor, encode
from belljar.attestation.eat.cmw import base64url
from belljar.attestation.errors import AttestationError

from .jwt import sign_json

if TYPE_CHECKING:
    from belljar.attestation.appraisal.verdict import Appraisal
    from belljar.attestation.canonical import Json
    from belljar.attestation.keys import SigningKey

PROFILE = "tag:ietf.org,2026:rats/ear#04"
JWT_TYPE = "eat+jwt"
CWT_TYPE = "application/eat+cwt"
DEVELOPER = "Belljar"
OURS = 1  # version of what we put under ear_verifier_claims
_IAT, _EXP, _NONCE, _PROFILE, _SUBMODS = 6, 4, 10, 265, 266
_STATUS, _VECTOR, _POLICIES, _VERIFIER, _VERIFIER_CLAIMS = 1000, 1001, 1003, 1004, 1006
_MIN_NONCE_BYTES, _MAX_NONCE_BYTES = 8, 64  # RFC 9711 4.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """How a result is issued.

    Attributes:
        build: which verifier, such as `belljar 0.1.0`.
        lifetime_s: how long it may be relied on, seconds.
    """

    build: str
    lifetime_s: int


def ear_jwt(appraisal: Appraisal, key: SigningKey, issue: Issue) -> str:
    """Return a verdict as a signed JWT.

    Raises:
        AttestationError: the nonce is not of 8 to 64 bytes, so EAT cannot carry it.
    """
    payload: dict[str, Json] = {
        "eat_profile": PROFILE,
        "iat": appraisal.at,
        "exp": appraisal.at + issue.lifetime_s,
        "ear_status": appraisal.tier.value,
        "ear_verifier_id": {"developer": DEVELOPER, "build": issue.build},
        "submods": {
            appraisal.claims.tee.value: {
                "ear_status": appraisal.tier.value,
                **_vector_json(appraisal),
                "ear_appraisal_policy_ids": [appraisal.policy],
                "ear_verifier_claims": {"belljar": _ours(appraisal)},
            }
        },
    }
    if (nonce := _nonce(appraisal)) is not None:
        payload["eat_nonce"] = base64url(nonce)
    return sign_json(payload, key, JWT_TYPE)


def _vector_json(appraisal: Appraisal) -> dict[str, Json]:
    vector = appraisal.vector.plain()
    return {"ear_trustworthiness_vector": dict(vector)} if vector else {}


def ear_cwt(appraisal: Appraisal, key: SigningKey, issue: Issue) -> bytes:
    """Return a verdict as a COSE_Sign1 over CWT claims.

    Raises:
        AttestationError: as above.
    """
    module: dict[int | str, Cbor] = {
        _STATUS: appraisal.tier.code,
        _POLICIES: [appraisal.policy],
        _VERIFIER_CLAIMS: {"belljar": cast("Cbor", _ours(appraisal))},
    }
    if vector := appraisal.vector.coded():
        module[_VECTOR] = cast("dict[int | str, Cbor]", vector)
    payload: dict[int | str, Cbor] = {
        _PROFILE: PROFILE,
        _IAT: appraisal.at,
        _EXP: appraisal.at + issue.lifetime_s,
        _STATUS: appraisal.tier.code,
        _VERIFIER: {0: DEVELOPER, 1: issue.build},
        _SUBMODS: {appraisal.claims.tee.value: module},
    }
    if (nonce := _nonce(appraisal)) is not None:
        payload[_NONCE] = nonce
    return cose.sign(encode(payload), key, CWT_TYPE)


def _nonce(appraisal: Appraisal) -> bytes | None:
    nonce = appraisal.nonce
    if nonce is not None and not _MIN_NONCE_BYTES <= len(nonce) <= _MAX_NONCE_BYTES:
        raise AttestationError(f"a nonce of {len(nonce)} bytes, expected {_MIN_NONCE_BYTES} to {_MAX_NONCE_BYTES}")
    return nonce


def _ours(appraisal: Appraisal) -> dict[str, Json]:
    """Return what we say beyond the draft: byte strings in hexadecimal, so that both forms hold the same."""
    claims = appraisal.claims.plain()
    claims["platform"] = {
        name: str(value) if isinstance(value, int) and abs(value) >= 1 << 53 else value
        for name, value in cast("dict[str, Json]", claims.get("platform", {})).items()
    }
    return {
        "version": OURS,
        "claims": cast("Json", claims),
        "evidence_sha256": appraisal.evidence_digest.hex(),
        "failed": [step.name for step in appraisal.failed],
    }

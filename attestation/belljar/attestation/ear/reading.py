"""EARs of others, and ours, read into one value: both live dialects (draft-ietf-rats-ear, and Trustee's).

    IETF     eat_profile tag:ietf.org,2026:rats/ear#03 or #04     ear_status, ear_trustworthiness_vector,
             ear_appraisal_policy_ids [text], ear_verifier_id, ear_raw_evidence
    Trustee  eat_profile tag:github.com,2024:confidential-containers/Trustee     ear.status, ear.trustworthiness-vector,
             ear.appraisal-policy-id text, ear.verifier-id; draft-02 and before (tag:github.com,2023:veraison/ear)
             likewise

In come a token, the key it must be of, and the time; out comes an `EarResult`, or `SignatureRefused`. A result without
expiry is refused unless the caller says how old it may be. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from belljar.attestation import cose
from belljar.attestation.appraisal.vector import Aspect, Tier, Vector
from belljar.attestation.cbor import decode
from belljar.attestation.eat.cmw import from_base64url
from belljar.attestation.errors import CborRefused, EvidenceRefused, SignatureRefused

from .jwt import verify_json
from .writing import CWT_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from belljar.attestation.keys import PublicKey

IETF = ("tag:ietf.org,2026:rats/ear#03", "tag:ietf.org,2026:rats/ear#04")
TRUSTEE = ("tag:github.com,2024:confidential-containers/Trustee", "tag:github.com,2023:veraison/ear")
MAX_SUBMODULES = 32
CLOCK_SKEW_S = 60
_NUMBERS = {
    265: "eat_profile", 6: "iat", 4: "exp", 10: "eat_nonce", 266: "submods", 1000: "ear_status",
    1001: "ear_trustworthiness_vector", 1003: "ear_appraisal_policy_ids", 1004: "ear_verifier_id",
    1006: "ear_verifier_claims",
}  # fmt: skip
_WHAT = "attestation result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """What a verifier says about one part of an attester."""

    name: str
    tier: Tier
    vector: Vector
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EarResult:
    """What a verifier says, whichever dialect it speaks.

    Attributes:
        profile: which dialect.
        issued_at: seconds since 1970.
        expires_at: likewise; None where the dialect leaves it out.
        nonce: the challenge it answers, if it says so.
        verifier: its developer and build, as it names itself.
        submodules: one at least.
    """

    profile: str
    issued_at: int
    expires_at: int | None
    nonce: bytes | None
    verifier: str
    submodules: tuple[Submodule, ...]

    @property
    def tier(self) -> Tier:
        """The worst of the submodules; one that says nothing is worse than one that affirms."""
        order = (Tier.AFFIRMING, Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED)
        return max((module.tier for module in self.submodules), key=order.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliance:
    """On which results to rely: whose, when, and how old at most where they do not say."""

    key: PublicKey
    now: int
    max_age_s: int


def read_ear(token: str | bytes, reliance: Reliance) -> EarResult:
    """Return what a verifier says: a JWT where `token` is text, a COSE_Sign1 where it is bytes.

    Raises:
        SignatureRefused: it is malformed, somebody else's, not yet or no longer valid, or of an unknown dialect.
    """
    claims = _jwt(token, reliance.key) if isinstance(token, str) else _cwt(token, reliance.key)
    result = _result(claims)
    _check_times(result, reliance)
    return result


def _jwt(token: str, key: PublicKey) -> dict[str, object]:
    claims = cast("dict[str, object]", dict(verify_json(token, key=key).payload))
    nonce = claims.get("eat_nonce")
    if isinstance(nonce, str):
        try:
            claims["eat_nonce"] = from_base64url(nonce)
        except EvidenceRefused as error:
            raise SignatureRefused(f"{_WHAT}: its nonce is not base64url") from error
    return claims


def _cwt(token: bytes, key: PublicKey) -> dict[str, object]:
    signed = cose.verify(token, CWT_TYPE)
    if signed.key.signer != key.signer:
        raise SignatureRefused(f"{_WHAT}: signed by {signed.key.signer.hex()[:16]}…, expected {key.signer.hex()[:16]}…")
    try:
        claims = decode(signed.payload)
    except CborRefused as error:
        raise SignatureRefused(f"{_WHAT}: {error}") from error
    named = _named(claims)
    modules = cast("dict[object, object]", named.get("submods")) if isinstance(named.get("submods"), dict) else {}
    named["submods"] = {str(name): _spelled(_named(module)) for name, module in modules.items()}
    named["ear_verifier_id"] = _verifier(named.get("ear_verifier_id"))
    return named


def _named(claims: object) -> dict[str, object]:
    """Return a map with numbers for keys as one with names."""
    if not isinstance(claims, dict):
        raise SignatureRefused(f"{_WHAT}: got something else where a map was expected")
    pairs = cast("dict[object, object]", claims).items()
    return {_NUMBERS.get(key, str(key)) if isinstance(key, int) else str(key): value for key, value in pairs}


def _spelled(module: dict[str, object]) -> dict[str, object]:
    """Return a submodule's numbers as the words that JSON has."""
    code = module.get("ear_status")
    words = [tier.value for tier in Tier if type(code) is int and tier.code == code]
    vector = module.get("ear_trustworthiness_vector", {})
    aspects = {aspect.code: aspect.value for aspect in Aspect}
    if not words or not isinstance(vector, dict):
        raise SignatureRefused(f"{_WHAT}: got status {code!r}, expected 0, 2, 32 or 96, and a vector")
    pairs = cast("dict[object, object]", vector).items()
    spelled = {aspects.get(cast("int", key), str(key)): value for key, value in pairs}
    return {**module, "ear_status": words[0], "ear_trustworthiness_vector": spelled}


def _verifier(found: object) -> dict[str, object]:
    pairs = cast("dict[object, object]", found).items() if isinstance(found, dict) else ()
    return {{0: "developer", 1: "build"}.get(cast("int", key), str(key)): value for key, value in pairs}


def _result(claims: Mapping[str, object]) -> EarResult:
    profile = claims.get("eat_profile")
    if profile not in (*IETF, *TRUSTEE):
        raise SignatureRefused(f"{_WHAT}: got profile {profile!r}, expected one of {', '.join((*IETF, *TRUSTEE))}")
    dotted = profile in TRUSTEE
    modules = claims.get("submods")
    if not isinstance(modules, dict) or not 1 <= len(cast("dict[str, object]", modules)) <= MAX_SUBMODULES:
        raise SignatureRefused(f"{_WHAT}: got no submodules, or more than {MAX_SUBMODULES}")
    issued_at, expires_at, nonce = claims.get("iat"), claims.get("exp"), claims.get("eat_nonce")
    if type(issued_at) is not int or not (expires_at is None or type(expires_at) is int):
        raise SignatureRefused(f"{_WHAT}: got iat {issued_at!r} and exp {expires_at!r}, expected whole numbers")
    verifier = claims.get("ear.verifier-id" if dotted else "ear_verifier_id")
    words = cast("dict[str, object]", verifier) if isinstance(verifier, dict) else {}
    pairs = cast("dict[str, object]", modules).items()
    return EarResult(
        profile=str(profile),
        issued_at=issued_at,
        expires_at=expires_at,
        nonce=nonce if isinstance(nonce, bytes) else None,
        verifier=f"{words.get('developer', '')} {words.get('build', '')}".strip(),
        submodules=tuple(_submodule(name, module, dotted=dotted) for name, module in pairs),
    )


def _submodule(name: str, module: object, *, dotted: bool) -> Submodule:
    if not isinstance(module, dict):
        raise SignatureRefused(f"{_WHAT}: submodule {name} is no object")
    members = cast("dict[str, object]", module)
    status = members.get("ear.status" if dotted else "ear_status")
    tiers = [tier for tier in Tier if tier.value == status]
    if not tiers:
        raise SignatureRefused(f"{_WHAT}: submodule {name}: got status {status!r}")
    policies = [members.get("ear.appraisal-policy-id")] if dotted else members.get("ear_appraisal_policy_ids", [])
    listed = cast("list[object]", policies) if isinstance(policies, list) else []
    return Submodule(
        name=name,
        tier=tiers[0],
        vector=_vector(name, members.get("ear.trustworthiness-vector" if dotted else "ear_trustworthiness_vector", {})),
        policies=tuple(policy for policy in listed if isinstance(policy, str)),
    )


def _vector(name: str, found: object) -> Vector:
    aspects = {aspect.value: aspect for aspect in Aspect}
    pairs = cast("dict[str, object]", found).items() if isinstance(found, dict) else [("", None)]
    values: list[tuple[Aspect, int]] = []
    for key, value in pairs:
        if key not in aspects or type(value) is not int or not -128 <= value <= 127:
            raise SignatureRefused(f"{_WHAT}: submodule {name}: got {key!r} {value!r} in its vector")
        values.append((aspects[key], value))
    return Vector(values=tuple(sorted(values, key=lambda pair: pair[0].code)))


def _check_times(result: EarResult, reliance: Reliance) -> None:
    age = reliance.now - result.issued_at
    if not -CLOCK_SKEW_S <= age <= reliance.max_age_s:
        raise SignatureRefused(f"{_WHAT}: got one {age} s old, expected 0 to {reliance.max_age_s} s")
    if result.expires_at is not None and reliance.now >= result.expires_at:
        raise SignatureRefused(f"{_WHAT}: expired {reliance.now - result.expires_at} s ago")

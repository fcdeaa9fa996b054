"""EAR: written in one dialect, read in both, believed from one key only (draft-ietf-rats-ear)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation import cose, verifier
from belljar.attestation.appraisal.vector import Aspect, Tier, Vector
from belljar.attestation.appraisal.verdict import Appraisal
from belljar.attestation.canonical import Json
from belljar.attestation.cbor import Cbor, decode, encode
from belljar.attestation.ear.jwt import sign_json, verify_json
from belljar.attestation.ear.reading import EarResult, Reliance, read_ear
from belljar.attestation.ear.writing import CWT_TYPE, PROFILE, Issue, ear_cwt, ear_jwt
from belljar.attestation.errors import AttestationError, SignatureRefused
from belljar.attestation.keys import ALGORITHM_NAMES, generate
from belljar.attestation.verifier import Challenge
from support.evidence import REPORT_DATA, every_case
from support.policies import policy
from support.vendors import NOW

KEY = generate("es256")
ISSUE = Issue(build="belljar 0.1.0", lifetime_s=600)


def verdict(nonce: bytes = REPORT_DATA) -> Appraisal:
    case = every_case()["snp-Milan-B0-v3"]
    rules = policy(case, case.verify())
    return verifier.verify(
        case.evidence, endorsements=case.endorsements, policy=rules, challenge=Challenge(nonce=nonce), now=NOW
    )


GOOD, BAD = verdict(), verdict(b"another nonce...")


def read(token: str | bytes, *, now: int = NOW, max_age_s: int = 600) -> EarResult:
    return read_ear(token, Reliance(key=KEY.public, now=now, max_age_s=max_age_s))


@pytest.mark.parametrize("appraisal", [GOOD, BAD], ids=["good", "bad"])
def test_both_forms_say_the_same(appraisal: Appraisal) -> None:
    text, binary = read(ear_jwt(appraisal, KEY, ISSUE)), read(ear_cwt(appraisal, KEY, ISSUE))
    assert text == binary
    assert (text.profile, text.issued_at, text.expires_at) == (PROFILE, NOW, NOW + 600)
    assert (text.nonce, text.verifier, text.tier) == (appraisal.nonce, "Belljar belljar 0.1.0", appraisal.tier)
    (module,) = text.submodules
    assert (module.name, module.tier, module.policies) == ("amd-snp", appraisal.tier, ("test",))
    assert module.vector == appraisal.vector
    assert appraisal.tier is (Tier.AFFIRMING if appraisal is GOOD else Tier.CONTRAINDICATED)


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_every_algorithm_signs_results(name: str) -> None:
    key = generate(name)
    for token in (ear_jwt(GOOD, key, ISSUE), ear_cwt(GOOD, key, ISSUE)):
        found = read_ear(token, Reliance(key=key.public, now=NOW, max_age_s=1))
        assert found.tier is Tier.AFFIRMING
        with pytest.raises(SignatureRefused):
            read(token)


def test_the_names_and_numbers_are_the_draft_s() -> None:
    payload = verify_json(ear_jwt(GOOD, KEY, ISSUE)).payload
    assert set(payload) == {"eat_profile", "iat", "exp", "eat_nonce", "ear_status", "ear_verifier_id", "submods"}
    module = payload["submods"]
    assert isinstance(module, dict)
    assert isinstance(module["amd-snp"], dict)
    assert set(module["amd-snp"]) == {
        "ear_status", "ear_trustworthiness_vector", "ear_appraisal_policy_ids", "ear_verifier_claims"
    }  # fmt: skip
    coded = decode(cose.verify(ear_cwt(GOOD, KEY, ISSUE), CWT_TYPE).payload)
    assert isinstance(coded, dict)
    assert set(coded) == {265, 6, 4, 10, 1000, 1004, 266}
    assert coded[1004] == {0: "Belljar", 1: "belljar 0.1.0"}
    inner = coded[266]
    assert isinstance(inner, dict)
    assert isinstance(inner["amd-snp"], dict)
    assert set(inner["amd-snp"]) == {1000, 1001, 1003, 1006}
    assert inner["amd-snp"][1000] == 2


def test_what_the_evidence_said_travels_along() -> None:
    payload = verify_json(ear_jwt(BAD, KEY, ISSUE)).payload
    ours: Any = payload
    for name in ("submods", "amd-snp", "ear_verifier_claims", "belljar"):
        ours = ours[name]
    assert (ours["version"], ours["failed"]) == (1, ["nonce"])
    assert ours["claims"]["measurement"] == BAD.claims.measurement.hex()
    assert ours["evidence_sha256"] == BAD.evidence_digest.hex()


def test_a_nonce_that_eat_cannot_carry_is_refused() -> None:
    for nonce in (b"short", bytes(65)):
        with pytest.raises(AttestationError, match=f"a nonce of {len(nonce)} bytes, expected 8 to 64"):
            ear_jwt(replace(GOOD, nonce=nonce), KEY, ISSUE)
    assert read(ear_jwt(replace(GOOD, nonce=None), KEY, ISSUE)).nonce is None


@pytest.mark.parametrize(
    ("now", "max_age_s", "text"),
    [
        (NOW + 600, 1000, "expired 0 s ago"),
        (NOW + 11, 10, "got one 11 s old, expected 0 to 10 s"),
        (NOW - 61, 10, "got one -61 s old"),
    ],
)
def test_results_out_of_date_are_refused(now: int, max_age_s: int, text: str) -> None:
    for token in (ear_jwt(GOOD, KEY, ISSUE), ear_cwt(GOOD, KEY, ISSUE)):
        with pytest.raises(SignatureRefused, match=text):
            read(token, now=now, max_age_s=max_age_s)


TRUSTEE: dict[str, Json] = {
    "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
    "iat": NOW,
    "exp": NOW + 300,
    "ear.verifier-id": {"build": "N/A", "developer": "https://confidentialcontainers.org"},
    "submods": {
        "cpu0": {
            "ear.status": "affirming",
            "ear.appraisal-policy-id": "default",
            "ear.trustworthiness-vector": {"configuration": 2, "executables": 3, "hardware": 2},
            "ear.veraison.annotated-evidence": {"x": 1},
        }
    },
    "jti": "ignored",
}


def trustee(**changes: Json) -> str:
    return sign_json({**TRUSTEE, **changes}, KEY, "JWT")


def module(**changes: Any) -> dict[str, Json]:
    return {"cpu0": {"ear.status": "affirming", **changes}}


def test_trustee_s_dialect_is_read() -> None:
    found = read(trustee())
    assert (found.tier, found.verifier) == (Tier.AFFIRMING, "https://confidentialcontainers.org N/A")
    (one,) = found.submodules
    values = ((Aspect.CONFIGURATION, 2), (Aspect.EXECUTABLES, 3), (Aspect.HARDWARE, 2))
    assert set(one.vector.values) == set(values)
    assert one.policies == ("default",)
    both: dict[str, Json] = {"cpu0": {"ear.status": "affirming"}, "gpu0": {"ear.status": "warning"}}
    assert read(trustee(submods=both)).tier is Tier.WARNING
    both["gpu0"] = {"ear.status": "none"}
    assert read(trustee(submods=both)).tier is Tier.NONE


def test_the_draft_s_dialect_of_others_is_read() -> None:
    """The example of the draft, with a time of its own."""
    payload: dict[str, Json] = {
        "eat_profile": "tag:ietf.org,2026:rats/ear#04",
        "iat": 1666529184,
        "ear_verifier_id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
        "ear_raw_evidence": "NzQ3MjY5NzM2NTYzNzQK",
        "submods": {
            "PSA": {
                "ear_status": "contraindicated",
                "ear_trustworthiness_vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
                "ear_appraisal_policy_ids": ["https://veraison.example/policy/1/60a0068d"],
            }
        },
    }
    found = read(sign_json(payload, KEY, "JWT"), now=1666529185, max_age_s=10)
    assert found.tier is Tier.CONTRAINDICATED
    assert found.submodules[0].vector.tier is Tier.CONTRAINDICATED
    coded: dict[int | str, Cbor] = {
        265: "tag:ietf.org,2026:rats/ear#04", 6: 1666529184, 1004: {0: "https://veraison-project.org", 1: "vts 0.0.1"},
        1002: b"liboatman", 266: {"PSA": {1000: 96, 1001: {0: 2, 2: 96, 4: 2}, 1003: ["https://x.example/1"]}},
    }  # fmt: skip
    again = read(cose.sign(encode(coded), KEY, CWT_TYPE), now=1666529185, max_age_s=10)
    assert set(again.submodules[0].vector.values) == set(found.submodules[0].vector.values)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"eat_profile": "tag:example"}, "got profile 'tag:example'"),
        ({"submods": {}}, "got no submodules"),
        ({"submods": []}, "got no submodules"),
        ({"submods": {"a": 1}}, "submodule a is no object"),
        ({"submods": {str(index): {"ear.status": "none"} for index in range(33)}}, "more than 32"),
        ({"submods": {"cpu0": {"ear_status": "affirming"}}}, "got status None"),
        ({"submods": module(**{"ear.status": "fine"})}, "got status 'fine'"),
        ({"submods": module(**{"ear.trustworthiness-vector": {"hardware": 128}})}, "got 'hardware' 128 in its vector"),
        ({"submods": module(**{"ear.trustworthiness-vector": {"software": 2}})}, "got 'software' 2 in its vector"),
        (
            {"submods": module(**{"ear.trustworthiness-vector": {"hardware": True}})},
            "got 'hardware' True in its vector",
        ),
        ({"submods": module(**{"ear.trustworthiness-vector": 2})}, "in its vector"),
        ({"iat": "now"}, "got iat 'now'"),
        ({"iat": True}, "got iat True"),
        ({"exp": "later"}, "and exp 'later'"),
        ({"eat_nonce": "*"}, "its nonce is not base64url"),
    ],
)
def test_results_that_make_no_sense_are_refused(changes: dict[str, Json], text: str) -> None:
    with pytest.raises(SignatureRefused, match=text):
        read(trustee(**changes))


def test_a_result_of_another_key_or_kind_is_refused() -> None:
    other = generate("es256")
    with pytest.raises(SignatureRefused, match="does not match what is signed"):
        read(ear_jwt(GOOD, other, ISSUE))
    with pytest.raises(SignatureRefused, match=r"signed by .*, expected"):
        read(ear_cwt(GOOD, other, ISSUE))
    with pytest.raises(SignatureRefused, match="signed as 'application/other'"):
        read(cose.sign(b"", KEY, "application/other"))
    for payload in (b"", b"\x01", encode({265: PROFILE, 6: NOW, 266: {"x": {1000: 3}}})):
        with pytest.raises(SignatureRefused):
            read(cose.sign(payload, KEY, CWT_TYPE))


SCALARS = st.none() | st.booleans() | st.integers(-200, 2000) | st.text(max_size=6)
KEYS = st.text("abc.-_", max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2), max_leaves=5
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from([*TRUSTEE, "ear_status"]), VALUES, max_size=4))
def test_any_result_is_read_or_refused(changes: dict[str, Json]) -> None:
    try:
        assert isinstance(read(trustee(**changes)).tier, Tier)
    except SignatureRefused:
        pass


CODED = st.recursive(
    SCALARS | st.binary(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.integers(0, 1010) | st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from([6, 4, 10, 265, 266, 1000, 1004]), CODED, max_size=5))
def test_any_coded_result_is_read_or_refused(payload: dict[int, Cbor]) -> None:
    try:
        read(cose.sign(encode({265: PROFILE, 6: NOW, **cast("dict[int | str, Cbor]", payload)}), KEY, CWT_TYPE))
    except SignatureRefused:
        pass


def test_an_empty_vector_says_nothing() -> None:
    assert Vector(values=()).tier is Tier.NONE
    assert Vector(values=((Aspect.HARDWARE, 0),)).plain() == {}

"""The verifier's door: evidence of every kind in, verdicts out; what each rule refuses, and how it is told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from belljar.attestation import verifier
from belljar.attestation.appraisal.step import MAX_SHOWN, Step, shown
from belljar.attestation.appraisal.vector import Aspect, Tier, tier_of
from belljar.attestation.appraisal.verdict import AppraisalRefused
from belljar.attestation.claims import Claims, Purpose, Task, TcbStatus, Tee
from belljar.attestation.eat.cmw import Wrapped, wrap, wrap_json
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements, Trust
from belljar.attestation.steps import Trail
from belljar.attestation.verifier import Appraisal, Challenge, Message, Verifier
from support.captured import NAMES, captured
from support.evidence import MEASUREMENT, REPORT_DATA, Amd, Case, Intel, every_case, sgx_body, td_body, tpm_case
from support.policies import plain, policy
from support.vendors import NOW

NONCE = b"a nonce of sixteen bytes.."
TDX = Intel(tdx=True)
CASES = ("snp-Milan-B0-v3", "snp-Turin-B0-v5", "sgx-v3", "tdx-v4", "tdx-v5", "tpm-ecdsa", "ra-tls")


class OwnFormat:
    """Stands for our own evidence: what it says is what the test says."""

    name = "own"
    media_types = frozenset({"application/eat+cwt"})

    def __init__(self, claims: Claims) -> None:
        self.claims = claims

    def recognises(self, evidence: bytes) -> bool:
        return evidence == b"own"

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        assert evidence == b"own"
        assert endorsements == Endorsements()
        trail.check("root", self.claims.root, "pinned", passed=self.claims.root in trust.roots)
        return self.claims


OWN = Claims(
    tee=Tee.SOFT, format="own-v1", measurement=MEASUREMENT, debug=False, simulated=True, root=bytes(32),
    signer=bytes(32), product_id=7, svn=3, provider=b"P" * 32, report_data=REPORT_DATA, nonce=NONCE,
    purpose=Purpose.CHANNEL, data_consistency=b"D" * 32, task=Task(argv=b"A" * 32, environment=b"E" * 32),
    runtime="belljar 1", kernel="Linux 6", instance_id=b"I" * 16, issued_at=NOW,
)  # fmt: skip
OWN_CASE = Case(
    name="own", kind=OwnFormat(OWN), evidence=b"own", endorsements=Endorsements(), roots=frozenset({bytes(32)})
)
OWN_POLICY: dict[str, Any] = {
    "insecure_skip_purpose": None, "purpose": ["channel"], "insecure_skip_provider": None, "provider": "any",
    "insecure_skip_data_consistency": None, "data_consistency": [(b"D" * 32).hex()], "insecure_skip_task": None,
    "task": {"argv": [(b"A" * 32).hex()], "environment": "any"}, "insecure_allow_simulated": True, "max_age_s": 60,
    "instance": [(b"I" * 16).hex(), (b"K" * 16).hex()],
    "require": ["instance_id", "runtime", "kernel"],
}  # fmt: skip


def appraise(case: Case, challenge: Challenge, claims: Claims | None = None, **changes: Any) -> Appraisal:
    return Verifier(formats=(*verifier.FORMATS, case.kind)).verify(
        case.evidence,
        endorsements=case.endorsements,
        policy=policy(case, claims or case.verify(), **changes),
        challenge=challenge,
        now=case.now,
    )


def own(challenge: Challenge | None = None, *, claims: dict[str, Any] | None = None, **changes: Any) -> Appraisal:
    case = OWN_CASE.but(kind=OwnFormat(replace(OWN, **(claims or {}))))
    return appraise(case, challenge or Challenge(nonce=NONCE), OWN, **(OWN_POLICY | changes))


def refused(found: Appraisal, *names: str) -> None:
    assert not found.accepted
    assert [step.name for step in found.failed] == list(names)
    assert found.tier is Tier.CONTRAINDICATED
    with pytest.raises(AppraisalRefused, match=f"evidence refused by the policy: {names[0]}") as error:
        found.require()
    assert error.value.appraisal is found


def challenge_of(case: Case) -> Challenge:
    return Challenge(nonce=b"nonce-16-bytes.." if case.name.startswith("ra-tls") else REPORT_DATA)


@pytest.mark.parametrize("name", CASES)
def test_evidence_of_every_kind_is_accepted_by_a_policy_that_fits(name: str) -> None:
    case = every_case()[name]
    found = appraise(case, challenge_of(case))
    assert found.accepted, found.explain()
    assert found.require() == case.verify()
    assert found.tier is Tier.AFFIRMING
    assert [step.number for step in found.steps] == list(range(1, len(found.steps) + 1))
    assert found.steps[found.judged_from - 1].name == "kind of TEE"
    assert found.evidence_digest == hashlib.sha256(case.evidence).digest()


@pytest.mark.parametrize("name", CASES)
def test_another_nonce_is_refused(name: str) -> None:
    case = every_case()[name]
    refused(appraise(case, Challenge(nonce=b"another nonce...")), "nonce")
    refused(appraise(case, Challenge()), "nonce")


@pytest.mark.parametrize("name", NAMES)
def test_captured_evidence_is_judged(name: str) -> None:
    case = captured(name)
    claims = case.verify()
    rules: dict[str, Any] = {
        "revocation": None,
        "insecure_skip_revocation": True,
        "nonce": None,
        "insecure_skip_freshness": True,
    }
    if claims.tcb_status is None and claims.tee in (Tee.SGX, Tee.TDX):
        registers = {"insecure_skip_rtmrs": True} if claims.tee is Tee.TDX else {}
        rules[claims.tee.value] = {"min_tcb_status": "UpToDate", **registers}
        refused(appraise(case, Challenge(), **rules), *(["debug"] if claims.debug else []), "TCB status")
    elif name == "sgx-v3":
        refused(appraise(case, Challenge(), **rules), "TCB status", "advisories")
    elif claims.tee is Tee.SEV_SNP:
        assert "SNP reported TCB: microcode" in [step.name for step in appraise(case, Challenge(), **rules).failed]


def test_our_own_evidence_is_accepted_by_a_policy_that_fits() -> None:
    found = own()
    assert found.accepted, found.explain()
    vector = found.vector.plain()
    assert vector == {
        "instance-identity": 2, "configuration": 2, "executables": 2, "file-system": 2, "hardware": 32,
    }  # fmt: skip
    assert found.tier is Tier.WARNING  # it is simulated, and says so


@pytest.mark.parametrize(
    ("claims", "failed"),
    [
        ({"measurement": bytes(48)}, ["code"]),
        ({"nonce": b"an old nonce...."}, ["nonce"]),
        ({"nonce": NONCE[:-1]}, ["nonce"]),
        ({"purpose": Purpose.GUEST}, ["purpose of the report data"]),
        ({"purpose": None}, ["purpose of the report data"]),
        ({"provider": None}, ["provider"]),
        ({"instance_id": b"J" * 16}, ["instance"]),
        ({"instance_id": None}, ["instance", "instance_id is there"]),
        ({"data_consistency": b"X" * 32}, ["data_consistency"]),
        ({"data_consistency": None}, ["data_consistency"]),
        ({"task": None}, ["task: argv", "task: environment"]),
        ({"task": Task(argv=b"X" * 32, environment=b"")}, ["task: argv"]),
        ({"issued_at": NOW - 61}, ["age"]),
        ({"issued_at": NOW + 61}, ["age"]),
        ({"issued_at": None}, ["age"]),
        ({"debug": True, "platform": {"debug-enclave": True}}, ["debug"]),
        ({"instance_id": None, "kernel": None}, ["instance", "instance_id is there", "kernel is there"]),
        ({"simulated": False, "debug": True}, ["debug"]),
    ],
)
def test_every_claim_is_held_against_the_policy(claims: dict[str, Any], failed: list[str]) -> None:
    refused(own(claims=claims), *failed)


def test_runs_are_pinned_where_a_policy_names_them() -> None:
    assert step_of(own(instance=None), "instance").expected == "any run"
    assert own(instance="any").accepted
    refused(own(instance="any", claims={"instance_id": None}, require=None), "instance")
    assert own(instance=None, claims={"instance_id": None}, require=None).accepted
    given = policy(OWN_CASE, OWN, **OWN_POLICY)
    for instances, values in (({b"I" * 16}, {b"I" * 16}), ({b"J" * 16}, set[bytes]())):
        narrowed = given.pinned_to(frozenset(instances)).instance
        assert narrowed is not None
        assert narrowed.values == values
        assert not narrowed.anything


def step_of(found: Appraisal, name: str) -> Step:
    return next(step for step in found.steps if step.name == name)


def test_what_is_simulated_is_open_to_its_owner_and_says_so() -> None:
    assert own(claims={"debug": True, "platform": {"debug-enclave": False}}).accepted
    refused(own(claims={"debug": True}), "debug")


def test_simulated_evidence_needs_leave() -> None:
    found = own(insecure_allow_simulated=None)
    refused(found, "simulated")
    assert found.vector.plain()["hardware"] == 97


def test_code_may_be_named_by_its_signer() -> None:
    rule = {"signer": bytes(32).hex(), "product_id": 7, "min_svn": 3}
    assert own(code=[rule]).accepted
    for change in ({"signer": "11" * 32}, {"product_id": 8}, {"min_svn": 4}):
        found = own(code=[rule | change])
        refused(found, "code")
        assert found.vector.plain()["executables"] == 33
    assert own(code=[rule | {"min_svn": 4}, {"measurement": MEASUREMENT.hex()}]).accepted
    refused(own(code=[rule | {"measurement": bytes(48).hex()}]), "code")


def test_what_is_bound_is_compared_where_the_verifier_knows_it() -> None:
    assert own(Challenge(nonce=NONCE, report_data=REPORT_DATA)).accepted
    refused(own(Challenge(nonce=NONCE, report_data=bytes(64))), "report data")
    case = every_case()["sgx-v3"]
    assert appraise(case, Challenge(nonce=NONCE, report_data=REPORT_DATA)).accepted
    refused(appraise(case, Challenge(nonce=NONCE, report_data=bytes(64))), "nonce", "report data")


def test_a_short_nonce_is_padded_in_hardware() -> None:
    intel = Intel()
    case = intel.case(3, body=sgx_body(report_data=NONCE.ljust(64, b"\0")))
    assert appraise(case, Challenge(nonce=NONCE)).accepted
    refused(appraise(case, Challenge(nonce=NONCE[:-1])), "nonce")


MILAN = {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
SNP = {"max_vmpl": 0, "min_tcb": {"Milan": MILAN}, "allow_smt": True}


@pytest.mark.parametrize(
    ("changes", "section", "failed"),
    [
        ({"x30": b"\x01"}, {}, ["SNP VMPL"]),
        ({"x30": b"\x01"}, {"max_vmpl": 1}, []),
        ({}, {"allow_smt": False}, ["SNP policy: smt"]),
        ({"x08": (0x20000).to_bytes(8, "little")}, {"allow_smt": False}, []),
        ({"x08": (0x70000).to_bytes(8, "little")}, {}, ["SNP policy: migrate_ma"]),
        ({"x08": (0x70000).to_bytes(8, "little")}, {"allow_migration": True}, []),
        ({"x08": (0xB0000).to_bytes(8, "little")}, {}, ["debug"]),
        ({}, {"require_single_socket": True}, ["SNP policy: single socket"]),
        ({"x08": (0x130000).to_bytes(8, "little")}, {"require_single_socket": True}, []),
        ({}, {"min_tcb": {"Milan": MILAN | {"snp": 25}}}, ["SNP reported TCB: snp"]),
        ({}, {"min_tcb": {"Genoa": MILAN}}, ["SNP product"]),
        ({}, {"min_tcb": None, "insecure_skip_tcb": True}, []),
    ],
)
def test_rules_about_sev_snp(changes: dict[str, bytes], section: dict[str, Any], failed: list[str]) -> None:
    rules = {key: value for key, value in (SNP | section).items() if value is not None}
    found = appraise(Amd().case(3, **changes), Challenge(nonce=REPORT_DATA), None, **{"amd-snp": rules})
    if failed:
        refused(found, *failed)
    assert found.accepted is (not failed), found.explain()


@pytest.mark.parametrize(
    ("section", "failed"),
    [
        ({"min_tcb_status": "UpToDate"}, ["TCB status", "advisories"]),
        ({"min_tcb_status": "OutOfDate"}, ["advisories"]),
        ({"min_tcb_status": "OutOfDate", "allowed_advisories": ["INTEL-SA-00001"]}, []),
        ({"min_tcb_status": "OutOfDate", "allowed_advisories": ["INTEL-SA-00001"], "min_evaluation": 18},
         ["TCB evaluation number"]),
        ({"insecure_skip_tcb": True}, []),
    ],
)  # fmt: skip
def test_rules_about_the_tcb(section: dict[str, Any], failed: list[str]) -> None:
    case = TDX.case(4)
    levels = TDX.tcb_info()["tcbLevels"][1:]
    collateral = TDX.collateral(tcb_info={"tcbLevels": levels})
    case = case.but(endorsements=replace(case.endorsements, collateral=collateral))
    rules = {"intel-tdx": section | {"insecure_skip_rtmrs": True}}
    found = appraise(case, Challenge(nonce=REPORT_DATA), None, **rules)
    assert [step.name for step in found.failed] == failed
    assert found.vector.plain().get("hardware", 0) in ((0,) if "insecure_skip_tcb" in section else (32,))


def test_evidence_without_collateral_needs_leave() -> None:
    case = TDX.case(4)
    bare = case.but(endorsements=Endorsements(crls=case.endorsements.crls))
    found = appraise(bare, Challenge(nonce=REPORT_DATA), case.verify())
    refused(found, "TCB status")
    assert found.failed[0].found == "none: no collateral was given"


def test_rules_about_registers() -> None:
    case = TDX.case(4, body=td_body())
    claims = case.verify()
    rules = plain(case, claims)["intel-tdx"]
    assert isinstance(rules, dict)
    wrong = rules | {"rtmrs": rules["rtmrs"] | {2: [bytes(48).hex()]}}
    rules = {"intel-tdx": wrong}
    refused(appraise(case, Challenge(nonce=REPORT_DATA), None, **rules), "RTMR2")
    tpm = tpm_case()
    for name in ("sha256:8", "sha256:9"):
        pcrs = {name: [bytes(32).hex()]}
        refused(appraise(tpm, Challenge(nonce=REPORT_DATA), tpm={"pcrs": pcrs}), f"PCR {name}")
    assert appraise(tpm, Challenge(nonce=REPORT_DATA), tpm={"insecure_skip_pcrs": True}).accepted


def test_what_cannot_be_believed_has_no_verdict() -> None:
    case = every_case()["sgx-v3"]
    with pytest.raises(EvidenceRefused, match="root key") as found:
        appraise(case, Challenge(nonce=REPORT_DATA), roots={"intel-sgx": ["intel-sgx"]})
    assert [step.name for step in found.value.steps][:2] == ["kind of evidence", "quote: layout"]
    assert not found.value.steps[-1].passed
    with pytest.raises(EvidenceRefused) as found:
        appraise(case.but(evidence=case.evidence[:100]), Challenge(nonce=REPORT_DATA), case.verify())
    assert [step.name for step in found.value.steps] == ["kind of evidence"]


def test_evidence_in_wrappers_is_taken_out() -> None:
    case = every_case()["snp-Milan-B0-v3"]
    rules = policy(case, case.verify())
    message = Wrapped(media_type="application/vnd.amd.snp-report", content=case.evidence)
    for content in (
        wrap(message), wrap_json(message), Message(content=case.evidence, media_type="application/vnd.amd.snp-report"),
        Message(content=case.evidence, media_type="Application/Octet-Stream; q=1"),
    ):  # fmt: skip
        found = verifier.verify(
            content, endorsements=case.endorsements, policy=rules, challenge=Challenge(nonce=REPORT_DATA), now=NOW
        )
        assert found.accepted


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (b"", "got 0 bytes that begin , expected one of sev-snp-report, dcap-quote, tpm-quote, ra-tls-certificate"),
        (b"hello", "got 5 bytes that begin 68656c6c6f"),
        (bytes(2 << 20), "got 2097152 bytes, expected at most"),
        (Message(content=b"x", media_type="text/plain"), "got media type 'text/plain', expected one of"),
        (Message(content=b"x", media_type="application/vnd.amd.snp-report"), "expected one of sev-snp-report$"),
        (b"\x83", "not a wrapper"),
        (b'["a"]', "not a wrapper"),
    ],
)
def test_evidence_of_no_known_kind_is_refused(evidence: bytes | Message, text: str) -> None:
    case = every_case()["sgx-v3"]
    rules = policy(case, case.verify())
    with pytest.raises(EvidenceRefused, match=text):
        verifier.verify(evidence, endorsements=Endorsements(), policy=rules, challenge=Challenge(), now=NOW)


def test_a_verdict_is_told_in_words_and_values() -> None:
    found = own(claims={"purpose": Purpose.GUEST})
    text = found.explain()
    assert text.startswith("refused (contraindicated): own-v1 by policy test\n")
    assert "FAILED purpose of the report data: got guest-data, expected channel" in text
    assert text.endswith("configuration 96, executables 2, file-system 2, hardware 32")
    values = json.loads(json.dumps(found.plain()))
    assert (values["accepted"], values["status"], values["policy"]) == (False, "contraindicated", "test")
    assert values["claims"]["purpose"] == "guest-data"
    assert values["claims"]["task"] == {"argv": (b"A" * 32).hex(), "environment": (b"E" * 32).hex()}
    assert [step["name"] for step in values["steps"] if not step["passed"]] == ["purpose of the report data"]


def test_what_is_shown_moves_no_cursor_and_is_short() -> None:
    assert shown("a\x1b[2Jb\n") == "a?[2Jb?"
    assert len(shown("x" * 1000)) == MAX_SHOWN + 1


def test_tiers_are_those_of_the_draft() -> None:
    tiers = {0: Tier.NONE, 1: Tier.NONE, 2: Tier.AFFIRMING, 31: Tier.AFFIRMING, 32: Tier.WARNING, 95: Tier.WARNING,
             96: Tier.CONTRAINDICATED, 127: Tier.CONTRAINDICATED, -1: Tier.NONE, -33: Tier.WARNING}  # fmt: skip
    assert {value: tier_of(value) for value in tiers} == tiers
    assert [aspect.code for aspect in Aspect] == list(range(8))
    assert [status.rank for status in TcbStatus] == list(range(7))


def test_who_answers_for_one_kind_makes_no_evidence_of_another() -> None:
    """A platform's own root, pinned for software, must not vouch for chips."""
    forged = every_case()["snp-Milan-B0-v3"]
    pin = f"sha256:{next(iter(forged.roots)).hex()}"
    claims = forged.verify()
    rules = {"tees": ["amd-snp", "soft"], "roots": {"amd-snp": ["amd-milan"], "soft": [pin]}}
    with pytest.raises(EvidenceRefused, match=r"root is one of this kind: got .*, expected a root for amd-snp"):
        appraise(forged, Challenge(nonce=REPORT_DATA), claims, **rules)


def test_collateral_and_quote_have_one_root() -> None:
    case, other = every_case()["sgx-v3"], Intel()
    lists = (*case.endorsements.crls, *other.crls())
    mixed = case.but(
        endorsements=Endorsements(crls=lists, collateral=other.collateral()), roots=case.roots | {other.root.pin}
    )
    with pytest.raises(EvidenceRefused, match="TCB signing chain: root of the PCK chain"):
        mixed.verify()


def test_evidence_of_a_kind_that_is_not_accepted_has_no_root() -> None:
    with pytest.raises(EvidenceRefused, match="expected a root for amd-snp"):
        own(claims={"tee": Tee.SEV_SNP})


def test_the_machine_below_our_own_evidence_must_be_known() -> None:
    """Hardware that vouches for a key vouches for no code: what runs on it must be named, too."""
    case = every_case()["snp-Milan-B0-v3"]
    inner = case.verify()
    below = {f"hardware-{name}": value for name, value in inner.platform.items()}
    hardware = {"hardware-measurement": inner.measurement, **below}
    claims = {"tee": Tee.SEV_SNP, "simulated": False, "platform": hardware}
    rules: dict[str, Any] = {"tees": ["amd-snp"], "roots": {"amd-snp": [f"sha256:{bytes(32).hex()}"]}}
    refused(own(None, claims=claims, **rules, **{"amd-snp": SNP}), "measurement of the machine below")
    other = SNP | {"platform_measurements": [bytes(48).hex()]}
    refused(own(None, claims=claims, **rules, **{"amd-snp": other}), "measurement of the machine below")
    known = SNP | {"platform_measurements": [inner.measurement.hex()]}
    found = own(None, claims=claims, **rules, **{"amd-snp": known})
    assert found.accepted, found.explain()
    assert "SNP reported TCB: snp" in [step.name for step in found.steps]

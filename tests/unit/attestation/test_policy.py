"""Appraisal policies: what is read, and every hole and mistake that is refused, with the line that mends it."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.appraisal.loading import REQUIRABLE, load_policy, policy_from
from belljar.attestation.appraisal.tree import from_plain, read_yaml
from belljar.attestation.claims import Claims, Purpose, TcbStatus, Tee
from belljar.attestation.errors import PolicyRefused
from belljar.attestation.x509.roots import VENDOR_ROOTS
from support.source import ROOT, in_checkout

H32, H48 = "ab" * 32, "cd" * 48
PIN = f"sha256:{H32}"
FULL = f"""\
version: 1
id: payroll
tees: [amd-snp, intel-tdx, intel-sgx, tpm, soft]
roots: {{intel-sgx: [intel-sgx], intel-tdx: [intel-sgx], amd-snp: [amd-milan], tpm: [{PIN}], soft: [{PIN}]}}
code:
  - measurement: {H48}
  - {{signer: {H32}, product_id: 7, min_svn: 3}}
nonce: required
max_age_s: 300
purpose: [channel, guest-data]
provider: [{H32}]
data_consistency: any
task: {{argv: [{H32}], environment: any}}
revocation: required
require: [instance_id, kernel]
insecure_allow_simulated: true
insecure_allow_debug: true
amd-snp:
  max_vmpl: 1
  min_tcb:
    Milan: {{bootloader: 4, tee: 0, snp: 24, microcode: 219}}
    Turin: {{fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 75}}
  allow_smt: true
intel-tdx:
  min_tcb_status: SWHardeningNeeded
  allowed_advisories: [INTEL-SA-00615]
  min_evaluation: 17
  rtmrs: {{0: [{H48}], 1: [{H48}], 2: [{H48}], insecure_skip_rtmr3: true}}
intel-sgx: {{min_tcb_status: UpToDate}}
tpm:
  pcrs: {{"sha256:8": [{H32}], "sha384:16": [{H48}]}}
instance: [{H32}]
"""
LINES = FULL.splitlines()


def refused(text: str, message: str, hint: str = "") -> None:
    with pytest.raises(PolicyRefused, match=message) as found:
        load_policy(text)
    assert re.search(hint, found.value.hint or ""), found.value.hint


def but(**changes: object) -> dict[str, object]:
    tree: dict[str, object] = yaml.safe_load(FULL)
    return {key: value for key, value in (tree | changes).items() if value is not None}


def test_a_whole_policy_is_read() -> None:
    policy = load_policy(FULL)
    assert policy.identifier == "payroll"
    assert policy.tees == set(Tee)
    own = frozenset({bytes.fromhex(H32)})
    intel, amd = (frozenset({VENDOR_ROOTS[name]}) for name in ("intel-sgx", "amd-milan"))
    assert policy.roots == {Tee.SGX: intel, Tee.TDX: intel, Tee.SEV_SNP: amd, Tee.TPM: own, Tee.SOFT: own}
    assert policy.code is not None
    assert (policy.code[0].measurement, policy.code[1].min_svn) == (bytes.fromhex(H48), 3)
    assert (policy.nonce, policy.max_age_s, policy.require_crls) == (True, 300, True)
    assert policy.purposes == frozenset({Purpose.CHANNEL, Purpose.GUEST})
    assert policy.require == ("instance_id", "kernel")
    assert policy.snp is not None
    assert policy.snp.min_tcb is not None
    assert policy.snp.min_tcb["Turin"]["fmc"] == 1
    assert (policy.snp.allow_smt, policy.snp.allow_migration, policy.snp.max_vmpl) == (True, False, 1)
    assert policy.tdx is not None
    assert policy.tdx.min_tcb_status is TcbStatus.SW_HARDENING_NEEDED
    assert policy.tdx.rtmrs is not None
    assert set(policy.tdx.rtmrs) == {0, 1, 2}
    assert policy.sgx is not None
    assert policy.sgx.rtmrs is None
    assert policy.tpm is not None
    assert policy.tpm.pcrs is not None
    assert set(policy.tpm.pcrs) == {"sha256:8", "sha384:16"}


def test_values_of_a_caller_say_the_same() -> None:
    first, second = load_policy(FULL), policy_from(but())
    assert first == second
    assert policy_from(but(id=None)).identifier.startswith("sha256:")
    assert load_policy(FULL.replace("id: payroll\n", "")).identifier.startswith("sha256:")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("version", "version: 1"), ("tees", "tees: "), ("roots", "roots: "),
        ("code", "code: .*insecure_skip_code: true"),
        ("purpose", "purpose: .*insecure_skip_purpose: true"), ("provider", "provider: .*insecure_skip_provider: true"),
        ("data_consistency", "data_consistency: .*insecure_skip_data_consistency: true"),
        ("task", "task: .*insecure_skip_task: true"),
        ("revocation", "revocation: required .*insecure_skip_revocation: true"),
        ("amd-snp", "amd-snp: .*max_vmpl"), ("intel-tdx", "intel-tdx: .*rtmrs"), ("intel-sgx", "intel-sgx: "),
        ("tpm", "tpm: .*pcrs"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_refused_with_the_line_that_says_it(key: str, line: str) -> None:
    with pytest.raises(PolicyRefused, match=f"policy leaves out: {key}$") as found:
        policy_from(but(**{key: None}))
    assert re.search(line, found.value.hint or "")


def test_everything_that_is_left_out_is_named_at_once() -> None:
    names = "tees, nonce, roots, code, purpose, provider, data_consistency, task, revocation"
    refused("version: 1", f"leaves out: {names}$",
            "nonce: required   # or max_age_s: 300   .or: insecure_skip_freshness: true")  # fmt: skip
    with pytest.raises(PolicyRefused, match=r"leaves out: nonce$"):
        policy_from(but(nonce=None, max_age_s=None))


@pytest.mark.parametrize(
    ("section", "changes", "hole"),
    [
        ("amd-snp", {"max_vmpl": 0}, "amd-snp.min_tcb"),
        ("amd-snp", {"insecure_skip_tcb": True}, "amd-snp.max_vmpl"),
        ("amd-snp", {"max_vmpl": 0, "min_tcb": {"Milan": {"bootloader": 1, "tee": 0, "snp": 1}}},
         "amd-snp.min_tcb.Milan.microcode"),
        ("intel-tdx", {"min_tcb_status": "UpToDate"}, "intel-tdx.rtmrs"),
        ("intel-tdx", {"min_tcb_status": "UpToDate", "rtmrs": {0: [H48], 1: [H48], 2: [H48]}}, "intel-tdx.rtmrs.3"),
        ("intel-tdx", {"insecure_skip_rtmrs": True}, "intel-tdx.min_tcb_status"),
        ("intel-sgx", {}, "intel-sgx.min_tcb_status"),
        ("tpm", {}, "tpm.pcrs"),
        ("task", {"argv": "any"}, "task.environment"),
    ],
)  # fmt: skip
def test_sections_have_no_holes_either(section: str, changes: dict[str, object], hole: str) -> None:
    with pytest.raises(PolicyRefused, match=f"leaves out: {hole}$"):
        policy_from(but(**{section: changes}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: 2", "line 1: version: got 2, expected 1"),
        ("version: 1", "version: one", "line 1: version: got 'one', expected 0 to"),
        ("tees: [amd-snp", "tees: [sev", "line 3: tees: got 'sev', expected one of soft, tpm, amd-snp"),
        ("{intel-sgx: [intel-sgx]", "{intel-sgx: [intel]", "line 4: roots.intel-sgx: got 'intel', expected one"),
        (PIN, "sha256:ab", "line 4: roots.tpm: got 'sha256:ab'"),
        ("amd-snp: [amd-milan]", "amd-snp: []", "line 4: roots.amd-snp: got an empty list"),
        ("amd-snp: [amd-milan], ", "", "leaves out: roots.amd-snp"),
        ("{intel-sgx: [", "{cca: [x], intel-sgx: [", "line 4: roots.cca: there is no such key"),
        (f"measurement: {H48}", "measurement: xyz", "line 6: code.0..measurement: got 'xyz', expected bytes in hex"),
        (", product_id: 7", "", "line 7: code.1. leaves out a measurement, or signer, product_id and min_svn"),
        ("min_svn: 3", "min_svn: -3", "line 7: code.1..min_svn: got '-3'"),
        ("nonce: required", "nonce: optional", "line 8: nonce: got 'optional', expected one of required"),
        ("max_age_s: 300", "max_age_s: 5 minutes", "line 9: max_age_s: got '5 minutes'"),
        ("purpose: [channel", "purpose: [chanel", "line 10: purpose: got 'chanel', expected one of guest-data"),
        ("purpose: [channel, guest-data]", "purpose: channel", "line 10: purpose: got something else, expected a list"),
        ("data_consistency: any", "data_consistency: all", "line 12: data_consistency: got something else"),
        ("require: [instance_id", "require: [id", "line 15: require: got 'id', expected one of data_consistency"),
        ("insecure_allow_debug: true", "insecure_allow_debug: yes", "line 17: .*: got 'yes', expected true or false"),
        ("max_vmpl: 1", "max_vmpl: 4", "line 19: amd-snp.max_vmpl: got '4', expected 0 to 3"),
        ("Turin: {fmc: 1, ", "Rome: {", "line 22: amd-snp.min_tcb.Rome: there is no such key"),
        ("snp: 24", "snp: 256", "line 21: amd-snp.min_tcb.Milan.snp: got '256', expected 0 to 255"),
        ("SWHardeningNeeded", "Revoked", "line 25: intel-tdx.min_tcb_status: got 'Revoked', expected one of UpToDate"),
        ("INTEL-SA-00615", "SA-615", "line 26: allowed_advisories: got 'SA-615', expected such as INTEL-SA-00615"),
        ("rtmrs: {0:", "rtmrs: {4:", "rtmrs.4: there is no such key|leaves out"),
        (f"0: [{H48}]", f"0: [{H32}]", "line 28: intel-tdx.rtmrs.0: got 32 bytes, expected 48"),
        ("sha256:8", "sha1:8", "line 31: tpm.pcrs.sha1:8: expected a bank and a number"),
        ("sha256:8", "sha256:24", "tpm.pcrs.sha256:24: expected a bank and a number, such as sha256:8"),
        ("provider:", "providr:", "there is no such key"),
        ("provider:", "insecure_skip_provider: true\nprovider:", "got both provider and insecure_skip_provider"),
        ("revocation:", "insecure_skip_revocation: true\nrevocation:", "line 15: got both revocation and insec"),
        ("nonce:", "insecure_skip_freshness: true\nnonce:", "line 9: got both nonce and insecure_skip_freshness"),
        ("tees: [amd-snp, ", "tees: [", "line 4: roots.amd-snp: there is no such key"),
        ("version: 1", "version: 1\nversion: 1", "line 2: got version twice"),
        ("version: 1", "version: !!int 1", "line 1: got an anchor, an alias or a tag"),
        ("version: 1", "version: &a 1", "line 1: got an anchor, an alias or a tag"),
        ("version: 1", "{a: 1}: 1", "line 1: got a list or mapping as a key|not YAML"),
        ("version: 1", "version: [", "line .*: not YAML"),
        ("id: payroll", "id: [a]", "line 2: id: got nothing, a list or a mapping"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_their_line(old: str, new: str, message: str) -> None:
    assert old in FULL
    refused(FULL.replace(old, new, 1), message)


def test_a_near_miss_is_told() -> None:
    refused(FULL.replace("provider:", "providr:"), "line 11: providr: there is no such key", "did you mean provider?")


def test_skipping_is_said_by_name() -> None:
    skips = {
        f"insecure_skip_{claim}": True
        for claim in ("code", "freshness", "purpose", "provider", "data_consistency", "task", "revocation")
    }
    policy = policy_from({"version": 1, "tees": ["soft"], "roots": {"soft": [f"sha256:{H32}"]}, **skips})
    assert (policy.code, policy.purposes, policy.provider, policy.data_consistency, policy.task) == (None,) * 5
    assert (policy.nonce, policy.max_age_s, policy.require_crls) == (False, None, False)
    assert not policy.allow_simulated
    code = [{"signer": H32, "insecure_skip_product_id": True, "insecure_skip_svn": True}]
    assert policy_from(but(code=code)).code is not None


def test_every_claim_that_can_be_required_is_one() -> None:
    assert set(REQUIRABLE) <= set(Claims.__slots__)


@pytest.mark.parametrize("text", ["", "# nothing", "- 1", "text", "--- 1\n--- 2", "a: " * 12, "[" * 200, "x" * 300_000])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefused):
        load_policy(text)


def test_deep_or_odd_values_of_a_caller_are_refused() -> None:
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    for value in (deep, {"a": 1.5}, {"a": None}, {"a": b"x"}):
        with pytest.raises(PolicyRefused):
            from_plain(value)


PLAIN = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(LINES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*but()]) | st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from([*but()]), PLAIN, max_size=4))
def test_any_values_are_read_or_refused(changes: dict[str, object]) -> None:
    try:
        policy_from({**but(), **changes})
    except PolicyRefused:
        pass


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60) | st.lists(st.sampled_from(LINES), max_size=12).map("\n".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_yaml(text)
        load_policy(text)
    except PolicyRefused:
        pass


def test_the_policy_in_the_document_is_one() -> None:
    in_checkout()
    text = (ROOT / "docs/formats/policy.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    policy = load_policy(example)
    assert policy.identifier == "payroll-2026"
    assert policy.tdx is not None
    assert policy.tdx.rtmrs is None
    named = set(re.findall(r"^\| `([a-z_-]+)`", text, re.MULTILINE))
    assert {key for key in but() if not key.startswith("insecure")} <= named | {
        "amd-snp",
        "intel-tdx",
        "intel-sgx",
        "tpm",
    }

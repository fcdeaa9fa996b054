"""`belljar verify-evidence` and `belljar policy`: what changes the verdict, and whether the cause is named."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.attesting import Purpose
from belljar.attestation.keys import load_public
from belljar.attestation.platforms import open_soft
from belljar.attestation.verifier import Reliance, from_corim, read_ear
from belljar.loader.cli import main
from support.bundles import make_project
from support.enclaves import enclave_of, evidence_of, write_evidence
from support.roots import FixedRoot
from support.running import Belljar
from support.users import ORDINARY_ID

NONCE = bytes(range(32))


def changed(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def made(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, its policy, a platform, and evidence of all; nobody may change it."""
    folder = make_project(tmp_path_factory.mktemp("appraising"))
    belljar = Belljar(cache=cache, folder=folder)
    changed(folder, "app.yaml", "name: app\n", "name: app\nproduct_id: 7\nsecurity_version: 3\n")
    with contextlib.chdir(folder):
        assert main(["keygen", "-o", "signer.pem"]) == 0
        assert main(["keygen", "-o", "verifier.pem", "--algorithm", "es256"]) == 0
    belljar("build", "app.yaml", "-o", "app.bell", "--key", "signer.pem")
    policy = ("policy", "from", "app.bell", "--root", "root.pem")
    with contextlib.chdir(folder):
        assert main(["platform", "init", "--dir", "platform"]) == 0
        assert main(["platform", "root", "--dir", "platform", "-o", "root.pem"]) == 0
        assert main([*policy, "--allow-simulated", "-o", "policy.yaml"]) == 0
        assert main([*policy, "-o", "strict.yaml"]) == 0
        assert main([*policy, "--allow-simulated", "--upgrades", "-o", "upgrades.yaml"]) == 0
    write_evidence(folder / "evidence", folder / "app.bell", folder / "platform", NONCE)
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, as the present one."""
    monkeypatch.chdir(made)
    return made


def verdict(capsys: pytest.CaptureFixture[str], *words: str, nonce: bytes = NONCE, code: int) -> dict[str, Any]:
    """Appraise in this process, and return what is said in JSON."""
    capsys.readouterr()
    found = main(["verify-evidence", *words, "--nonce", nonce.hex(), "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found == code, told
    return told


def rebuilt(made: Path, cache: Path, *, key: str = "signer.pem") -> Path:
    """Build what is in the folder again, as a bundle beside the first."""
    Belljar(cache=cache, folder=made)("build", "app.yaml", "-o", "again.bell", "--key", key)
    return made / "again.bell"


def test_a_stranger_appraises_from_another_account(made: Path, belljar: Belljar, tmp_path: Path) -> None:
    for name in ("evidence", "policy.yaml"):
        (belljar.folder / name).write_bytes((made / name).read_bytes())
        (belljar.folder / name).chmod(0o644)
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
        belljar.prefix = ["setpriv", f"--reuid={ORDINARY_ID}", f"--regid={ORDINARY_ID}", "--clear-groups"]
        reachable = subprocess.run([*belljar.command("--version")], capture_output=True, check=False)
        if reachable.returncode:
            pytest.skip("belljar is installed where other users cannot read it")
    done = belljar("verify-evidence", "evidence", "--policy", "policy.yaml", "--nonce", NONCE.hex())
    lines = done.stdout.splitlines()
    assert lines[0].startswith("accepted (warning): belljar-eat-cwt-v1 by policy app")
    assert any("code: got measurement" in line for line in lines)
    assert lines[1].endswith(" ok: the evidence is authentic")
    assert "hardware 32" in lines[-1]
    assert done.stderr == ""


@pytest.mark.usefixtures("here")
def test_what_is_simulated_is_refused_unless_the_policy_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = verdict(capsys, "evidence", "--policy", "strict.yaml", code=1)
    assert told["failed"][0] == "simulated"
    assert verdict(capsys, "evidence", "--policy", "policy.yaml", code=0)["failed"] == []


def test_one_byte_of_a_hashed_file_changes_the_verdict(
    here: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(here, "app/note", "a note", "a nose")
    try:
        again = rebuilt(here, cache)
    finally:
        changed(here, "app/note", "a nose", "a note")
    write_evidence(here / "found", again, here / "platform", NONCE)
    told = verdict(capsys, "found", "--policy", "policy.yaml", code=1)
    assert told["failed"] == ["code"]
    step = next(step for step in told["steps"] if step["name"] == "code")
    assert enclave_of(again).measurement.hex() in step["found"]
    assert enclave_of(here / "app.bell").measurement.hex() in step["expected"]
    assert "/app: changed: note" in Belljar(cache=cache, folder=here)("diff", "app.bell", "again.bell", check=1).stdout
    assert verdict(capsys, "found", "--policy", "upgrades.yaml", code=0)["accepted"] is True


def test_one_manifest_key_changes_the_verdict(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(here, "app.yaml", "256MiB", "257MiB")
    try:
        again = rebuilt(here, cache)
    finally:
        changed(here, "app.yaml", "257MiB", "256MiB")
    write_evidence(here / "found", again, here / "platform", NONCE)
    assert verdict(capsys, "found", "--policy", "policy.yaml", code=1)["failed"] == ["code"]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"svn": 2}, "svn 2"), ({"product_id": 8}, "product 8"), ({"signer": b"o" * 32}, (b"o" * 32).hex())],
)
def test_signer_product_and_version_change_the_verdict(
    here: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], named: str
) -> None:
    with open_soft(str(here / "platform")) as root:
        enclave = dataclasses.replace(enclave_of(here / "app.bell"), **change)
        (here / "found").write_bytes(evidence_of(enclave, root, NONCE))
    told = verdict(capsys, "found", "--policy", "upgrades.yaml", code=1)
    assert told["failed"] == ["code"]
    step = next(step for step in told["steps"] if step["name"] == "code")
    assert named in step["found"]
    assert "svn at least 3" in step["expected"]


def test_a_newer_version_of_the_signer_is_taken_where_upgrades_are(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_soft(str(here / "platform")) as root:
        enclave = dataclasses.replace(enclave_of(here / "app.bell"), svn=4, measurement=b"m" * 32)
        (here / "found").write_bytes(evidence_of(enclave, root, NONCE))
    assert verdict(capsys, "found", "--policy", "upgrades.yaml", code=0)["accepted"] is True
    assert verdict(capsys, "found", "--policy", "policy.yaml", code=1)["failed"] == ["code"]


def test_another_platform_is_not_believed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platform", "init", "--dir", "elsewhere"]) == 0
    write_evidence(here / "found", here / "app.bell", here / "elsewhere", NONCE)
    told = verdict(capsys, "found", "--policy", "policy.yaml", code=3)
    assert told["verdict"] == "not believed"
    assert "root" in told["error"]
    assert [step["passed"] for step in told["steps"]][-1] is False


def test_nonce_purpose_and_report_data_are_held(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(capsys, "evidence", "--policy", "policy.yaml", nonce=b"x" * 32, code=1)["failed"] == ["nonce"]
    bound = ("--report-data", "00" * 64)
    assert verdict(capsys, "evidence", "--policy", "policy.yaml", *bound, code=1)["failed"] == ["report data"]
    write_evidence(here / "found", here / "app.bell", here / "platform", NONCE, Purpose.GUEST)
    assert verdict(capsys, "found", "--policy", "policy.yaml", code=1)["failed"] == ["purpose of the report data"]
    assert main(["verify-evidence", "evidence", "--policy", "policy.yaml"]) == 1
    assert "nonce: got" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_evidence_is_judged_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    later = str(int(time.time()) + 40 * 24 * 3600)
    told = verdict(capsys, "evidence", "--policy", "policy.yaml", "--at", later, code=3)
    assert "evidence" in told["error"]
    told = verdict(capsys, "evidence", "--policy", "policy.yaml", "--at", "2020-01-01T00:00:00Z", code=3)
    assert "time of the token" in told["error"]


def test_every_changed_byte_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (here / "evidence").read_bytes()
    count = int(os.environ.get("BELLJAR_TEST_EVIDENCE_BYTES", "60"))
    for place in range(0, len(whole), max(1, len(whole) // count)):
        broken = bytearray(whole)
        broken[place] ^= 1
        (here / "found").write_bytes(broken)
        found = main(["verify-evidence", "found", "--policy", "policy.yaml", "--nonce", NONCE.hex()])
        assert found == 3, f"byte {place}: {capsys.readouterr()}"


def test_the_result_is_signed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = load_public((here / "verifier.pub.pem").read_bytes())
    reliance = Reliance(key=key, now=int(time.time()), max_age_s=60)
    for name in ("result.jwt", "result.cwt"):
        verdict(
            capsys, "evidence", "--policy", "policy.yaml", "--ear", name, "--key", "verifier.pem", code=0
        )  # fmt: skip
        content = (here / name).read_bytes()
        found = read_ear(content if name.endswith("cwt") else content.decode().strip(), reliance)
        assert (found.tier.value, found.nonce) == ("warning", NONCE)
    verdict(capsys, "evidence", "--policy", "strict.yaml", "--ear", "no.jwt", "--key", "verifier.pem", code=1)
    assert read_ear((here / "no.jwt").read_text().strip(), reliance).tier.value == "contraindicated"


def test_a_wrapper_names_our_profile_or_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (here / "evidence").read_bytes()
    (here / "found").write_bytes(whole.replace(b"eat_profile", b"eat_profilf", 1))
    assert "media type parameter" in verdict(capsys, "found", "--policy", "policy.yaml", code=3)["error"]


def test_without_a_policy_nothing_is_decided(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-evidence", "evidence"]) == 4
    said = capsys.readouterr()
    assert said.out.startswith("undecided: ")
    assert re.search("^simulated +true$", said.out, re.MULTILINE)
    assert "nothing was decided" in said.err
    assert main(["verify-evidence", "evidence", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["accepted"]) == ("undecided", False)
    assert told["claims"]["measurement"] == enclave_of(here / "app.bell").measurement.hex()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["evidence", "--nonce", "abc"], 2, "--nonce: got 'abc', expected 8 to 64 bytes"),
        (["evidence", "--nonce", "00" * 65], 2, "expected 8 to 64 bytes"),
        (["evidence", "--report-data", "00"], 2, "--report-data: got '00', expected 64 bytes"),
        (["evidence", "--at", "tomorrow"], 2, "--at: got 'tomorrow', expected a time such as"),
        (["evidence", "--at", "2026-01-31T00:00:00"], 2, "expected a time such as 2026-01-31T00:00:00Z"),
        (["evidence", "--ear", "x"], 2, "--ear and --key go together"),
        (["evidence", "--ear", "x", "--key", "verifier.pem"], 2, "--ear needs --policy"),
        (["nowhere"], 125, "nowhere: cannot be read: No such file"),
        ([], 2, "expected one file with evidence"),
        (["evidence", "--policy", "app.yaml"], 125, "there is no such key"),
        (["evidence", "--policy", "app.bell"], 125, "app.bell: not UTF-8"),
        (["/dev/zero"], 125, "/dev/zero: has more than 1048577 bytes"),
        (["evidence", "--endorsements", "evidence"], 125, "SNP certificate table"),
        (["app.yaml"], 3, "evidence: got"),
        (["/dev/null"], 3, "evidence: got 0 bytes"),
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_input_has_a_clear_error(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert main(["verify-evidence", *words]) == code
    assert said in capsys.readouterr().err


def test_a_policy_pins_roots_and_says_what_it_does_not_ask(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "from", "app.bell"]) == 2
    assert "expected --root FILE" in capsys.readouterr().err
    assert main(["policy", "from", "app.bell", "--root", "root.pem"]) == 0
    assert "soft has no hardware behind it: this policy refuses its evidence" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["policy", "from", "app.yaml", "--root", "root.pem", "--allow-simulated"]) == 0
    assert main(["measure", "app.yaml"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(printed.rpartition("sha256:")[2].strip()) == 2
    assert main(["policy", "check", "policy.yaml", "strict.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["allowed"] for one in found] == [["insecure_allow_simulated"], []]
    assert found[0]["skipped"] == ["data_consistency", "revocation"]
    (here / "hole.yaml").write_text("version: 1\ntees: [soft]\n")
    assert main(["policy", "check", "hole.yaml", "policy.yaml"]) == 1
    said = capsys.readouterr()
    assert "hole.yaml: policy leaves out: nonce, roots, code" in said.err
    assert "belljar: hint: roots: {soft: [sha256:HEX]}\n" in said.err
    assert "accepts       soft" in said.out


def test_reference_values_go_out_as_corim_and_come_in(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "from", "app.bell", "--corim", "-o", "app.corim"]) == 0
    values = from_corim((here / "app.corim").read_bytes())
    enclave = enclave_of(here / "app.bell")
    assert [(one.measurement, one.signer, one.product_id, one.svn) for one in values] == [
        (enclave.measurement, enclave.signer, 7, 3)
    ]
    assert main(["policy", "from", "app.corim", "--root", "root.pem", "--allow-simulated", "-o", "again.yaml"]) == 0
    assert verdict(capsys, "evidence", "--policy", "again.yaml", code=0)["accepted"] is True


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["from"], 2, "expected bundles, manifests or reference values"),
        (["from", "root.pem", "--root", "root.pem"], 125, "CoRIM:"),
        (["from", "app.bell", "--root", "signer.pem"], 125, "signer.pem: not a certificate in PEM"),
        (["from", "app.bell", "--root", "root.pem", "--purpose", "fun"], 2, "--purpose: got 'fun', expected one of"),
        (["from", "app.bell", "--root", "root.pem", "--pcr", "sha256:8=00"], 2, "no root is a TPM's"),
        (["from", "nowhere.bell", "--root", "root.pem"], 125, "nowhere.bell: cannot be read"),
        (["check"], 2, "expected policies"),
        (["write"], 2, "unknown command policy write"),
    ],
)
@pytest.mark.usefixtures("here")
def test_policies_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert main(["policy", *words]) == code
    assert said in capsys.readouterr().err


class _SoftwareTpm(FixedRoot):
    kind = "swtpm"


def test_a_tpm_needs_its_registers_spoken_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = x509.load_der_x509_certificate(_SoftwareTpm(b"u" * 32).chain[-1])
    (here / "tpm.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    words = ["policy", "from", "app.bell", "--root", "tpm.pem"]
    assert main(words) == 2
    assert "expected --pcr BANK:N=HEX or --insecure-skip-pcrs" in capsys.readouterr().err
    assert main([*words, "--pcr", "sha256:8"]) == 2
    assert "--pcr: got 'sha256:8', expected such as" in capsys.readouterr().err
    assert main([*words, "--pcr", "sha256:8=" + "ab" * 32, "--pcr", "sha256:23=" + "00" * 32]) == 0
    said = capsys.readouterr()
    assert f"    'sha256:8': [{'ab' * 32}]\n    'sha256:23': [{'00' * 32}]\n" in said.out
    assert "swtpm has no hardware behind it" in said.err
    assert main([*words, "--insecure-skip-pcrs", "--root", "root.pem", "--allow-simulated"]) == 0
    assert "tees: [soft, tpm]\n" in capsys.readouterr().out


def test_upgrades_need_a_signer(here: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Belljar(cache=cache, folder=here)("build", "app.yaml", "-o", "unsigned.bell")
    assert main(["policy", "from", "unsigned.bell", "--root", "root.pem", "--upgrades"]) == 125
    assert "nobody signed it" in capsys.readouterr().err


SNP_POLICY = """\
version: 1
id: hardware
tees: [amd-snp]
roots: {{amd-snp: ["sha256:{root}"]}}
code: [{{measurement: {measurement}}}]
nonce: required
insecure_skip_purpose: true
provider: any
insecure_skip_data_consistency: true
insecure_skip_task: true
revocation: required
amd-snp:
  max_vmpl: 0
  allow_smt: true
  min_tcb: {{Milan: {{bootloader: 4, tee: 0, snp: 24, microcode: {microcode}}}}}
"""


def test_a_report_of_hardware_needs_its_endorsements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = json.loads((Path(__file__).parents[1] / "vectors/evidence/snp-Milan-B0-v3.json").read_text())
    monkeypatch.chdir(tmp_path)
    Path("report").write_bytes(base64.b64decode(kept["evidence"]))
    names = [f"endorsement-{number}" for number in range(len(kept["certificates"]) + len(kept["crls"]))]
    for name, content in zip(names, [*kept["certificates"], *kept["crls"]], strict=True):
        Path(name).write_bytes(base64.b64decode(content))
    claims = kept["claims"]
    words = {"root": kept["roots"][0], "measurement": claims["measurement"]}
    Path("policy.yaml").write_text(SNP_POLICY.format(**words, microcode=219))
    Path("newer.yaml").write_text(SNP_POLICY.format(**words, microcode=220))
    endorsed = [word for name in names for word in ("--endorsements", name)]
    nonce = bytes.fromhex(claims["report_data"])
    asked = ("report", "--policy", "policy.yaml", "--at", str(kept["now"]))
    told = verdict(capsys, *asked, *endorsed, nonce=nonce, code=0)
    assert (told["status"], told["claims"]["tee"]) == ("affirming", "amd-snp")
    told = verdict(capsys, *asked, *endorsed[:-2], nonce=nonce, code=3)
    assert "revocation" in told["error"]
    assert verdict(capsys, *asked, nonce=nonce, code=3)["verdict"] == "not believed"
    told = verdict(capsys, "report", "--policy", "newer.yaml", *asked[3:], *endorsed, nonce=nonce, code=1)
    assert [name for name in told["failed"] if "microcode" not in name] == []

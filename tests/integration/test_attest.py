"""`belljar attest`: a run asked for evidence by name; here the library answers behind the real control socket."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from belljar.attestation.attesting import Enclave, Purpose
from belljar.attestation.eat.cmw import unwrap
from belljar.attestation.platforms import key_digest
from belljar.attestation.verifier import Draft, ReferenceValues, Tee, policy_text
from belljar.libos.runs.desk import Refused
from belljar.loader.cli import main
from support.enclaves import answering, evidence_of
from support.roots import FixedRoot

ROOT = FixedRoot(b"u" * 32)
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
VALUES = ReferenceValues(name="app", measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3)
Told = dict[str, object]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, and a policy beside it."""
    draft = Draft(
        identifier="app", values=(VALUES,), roots={Tee.SOFT: (key_digest(ROOT.ca_key.public.key),)},
        purposes=(Purpose.LOCAL,), pcrs=None, volumes=False, upgrades=False, allow_simulated=True,
    )  # fmt: skip
    (tmp_path / "policy.yaml").write_text(policy_text(draft))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BELLJAR_RUNTIME_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def honest(fields: Told) -> Told:
    assert (fields["do"], fields["purpose"]) == ("evidence", "local")
    nonce = bytes.fromhex(str(fields["nonce"]))
    assert len(nonce) == 32
    return _bare(evidence_of(ENCLAVE, ROOT, nonce))


def _bare(content: bytes) -> Told:
    """Return the token in the wrapper, as the supervisor sends it."""
    inner = unwrap(content)
    return {"media_type": inner.media_type, "evidence": base64.b64encode(inner.content).decode()}


def attested(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> Any:
    found = main(["attest", "web", "--json", *words])
    said = capsys.readouterr()
    assert found == code, said
    return json.loads(said.out)


def test_a_run_is_attested_by_name_with_a_fresh_nonce(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(runs, "web", honest):
        first, second = (attested(capsys, "--policy", "policy.yaml", code=0) for _ in range(2))
    assert first["verdict"] == "accepted"
    assert first["nonce"] != second["nonce"]
    assert first["claims"]["purpose"] == "local"


def test_without_a_policy_claims_are_printed_and_nothing_is_decided(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(runs, "web", honest):
        assert main(["attest", "web"]) == 4
        said = capsys.readouterr()
        assert said.out.startswith("undecided: ")
        assert "nothing was decided" in said.err
        assert main(["attest", "web", "-o", "evidence"]) == 0
        said = capsys.readouterr()
    nonce = said.err.split("answers the nonce ")[1].split()[0]
    assert main(["verify-evidence", "evidence", "--policy", "policy.yaml", "--nonce", nonce]) == 0


def test_replayed_evidence_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = _bare(evidence_of(ENCLAVE, ROOT, os.urandom(32)))
    with answering(runs, "web", lambda _: old):
        assert attested(capsys, "--policy", "policy.yaml", code=1)["failed"] == ["nonce"]


def test_evidence_for_another_purpose_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def guest(fields: Told) -> Told:
        return _bare(evidence_of(ENCLAVE, ROOT, bytes.fromhex(str(fields["nonce"])), Purpose.GUEST))

    with answering(runs, "web", guest):
        failed = attested(capsys, "--policy", "policy.yaml", code=1)["failed"]
    assert failed == ["report data", "purpose of the report data"]


def refusing(_: Told) -> Told:
    raise Refused("it makes no evidence")


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (refusing, 125, "web: it makes no evidence"),
        (lambda _: {}, 125, "its supervisor answers without evidence"),
        (lambda _: {"media_type": "a", "evidence": 7}, 125, "its supervisor answers without evidence"),
        (lambda _: {"media_type": "a", "evidence": "%"}, 125, "answers with malformed base64"),
        (lambda _: {"media_type": "text/plain", "evidence": "AAAA"}, 3, "got media type 'text/plain'"),
        (lambda _: {"media_type": "application/eat+cwt", "evidence": "AAAA"}, 3, "expected one of Belljar"),
    ],
)
def test_what_a_supervisor_answers_is_not_believed(
    runs: Path, capsys: pytest.CaptureFixture[str], answer: Callable[[Told], Told], code: int, said: str
) -> None:
    with answering(runs, "web", answer):
        assert main(["attest", "web", "--policy", "policy.yaml"]) == code
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("runs")
def test_a_run_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attest", "web"]) == 125
    assert "no run is called web" in capsys.readouterr().err
    assert main(["attest"]) == 2
    assert main(["attest", "web", "--nonce", "00"]) == 2
    assert "--nonce: got '00'" in capsys.readouterr().err

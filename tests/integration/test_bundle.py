"""Bundles from the command line: build, verify, inspect, diff, check, and run anywhere as anybody."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from support.bundles import MANIFEST, SCRIPT, altered, build, make_project
from support.running import Belljar
from support.users import ORDINARY_ID


@pytest.fixture
def project(belljar: Belljar) -> Path:
    belljar.folder.rmdir()
    return make_project(belljar.folder)


@pytest.fixture
def key(belljar: Belljar, project: Path) -> str:
    """The signer id of signer.pem."""
    assert project
    return belljar("keygen").stdout.strip()


def test_a_key_is_private_and_never_overwritten(belljar: Belljar) -> None:
    signer = belljar("keygen").stdout.strip()
    assert signer.startswith("sha256:")
    private, public = belljar.folder / "signer.pem", belljar.folder / "signer.pub.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----")
    before = private.read_bytes()
    assert "exists already, and a key is never overwritten" in belljar("keygen", check=125).stderr
    private.rename(belljar.folder / "elsewhere.pem")
    assert "signer.pub.pem: exists already" in belljar("keygen", check=125).stderr
    assert not private.exists()
    assert (belljar.folder / "elsewhere.pem").read_bytes() == before


@pytest.mark.parametrize("algorithm", ["ed25519", "es256", "es384", "ml-dsa-65"])
def test_build_verify_run(belljar: Belljar, project: Path, algorithm: str) -> None:
    assert project
    signer = belljar("keygen", "--algorithm", algorithm, "-o", "k.pem").stdout.strip()
    measurement = belljar("measure", "app.yaml").stdout.strip()
    built = belljar("build", "app.yaml", "--key", "k.pem").stdout
    assert built == f"measurement {measurement}\nsigner {signer}\n"
    assert f"signer {signer} ({algorithm}; anybody can sign" in belljar("verify", "app.bell").stdout
    for wanted in (signer, "k.pub.pem", "k.pem") if algorithm == "ed25519" else ("k.pub.pem",):
        assert "as expected" in belljar("verify", "app.bell", "--signer", wanted).stdout
        done = belljar("run", "-v", "--signer", wanted, "app.bell", "--", "you", "there")
        assert done.stdout == "hello you there\na note\na name\n"
        assert done.stderr.splitlines()[:2] == [f"belljar: measurement {measurement}", f"belljar: signer {signer}"]
    assert belljar("measure", "app.bell").stdout.strip() == measurement
    assert belljar("measure", "--canonical", "app.bell").stdout == belljar("measure", "--canonical", "app.yaml").stdout


def test_another_signer_is_refused(belljar: Belljar, key: str) -> None:
    other = belljar("keygen", "-o", "other.pem").stdout.strip()
    build(belljar, "--key", "signer.pem")
    for wanted in (other, "other.pub.pem"):
        for words, code in (
            (["verify", "app.bell", "--signer", wanted], 1),
            (["run", "--signer", wanted, "app.bell"], 125),
        ):
            assert f"signed by {key}, expected {other}" in belljar(*words, check=code).stderr
    build(belljar)
    for words, code in ((["verify", "app.bell", "--signer", key], 1), (["run", "--signer", key, "app.bell"], 125)):
        assert f"the bundle is not signed, expected signer {key}" in belljar(*words, check=code).stderr
    assert "signer none: not signed" in belljar("verify", "app.bell").stdout


def test_a_remembered_bundle_is_looked_at_again_when_it_or_the_key_is_replaced(belljar: Belljar, key: str) -> None:
    assert key
    build(belljar, "--key", "signer.pem")
    words = ("run", "--signer", "signer.pub.pem", "app.bell")
    time.sleep(2.1)  # a younger file is looked at again anyway
    for _ in range(2):
        assert belljar(*words).stdout.startswith("hello")
    belljar("keygen", "-o", "other.pem")
    shutil.copy(belljar.folder / "signer.pub.pem", belljar.folder / "kept.pem")
    (belljar.folder / "other.pub.pem").replace(belljar.folder / "signer.pub.pem")
    assert "expected" in belljar(*words, check=125).stderr
    (belljar.folder / "kept.pem").replace(belljar.folder / "signer.pub.pem")
    assert belljar(*words).stdout.startswith("hello")
    build(belljar)
    assert "not signed" in belljar(*words, check=125).stderr
    (belljar.folder / "app.bell").unlink()
    assert "cannot read the bundle" in belljar(*words, check=125).stderr


def test_elsewhere_and_as_somebody_else_it_is_the_same_enclave(belljar: Belljar, key: str, ordinary: Belljar) -> None:
    build(belljar, "--key", "signer.pem")
    measurement = belljar("measure", "app.bell").stdout
    for name in ("app", "data", "app.bell", "signer.pub.pem"):
        copy = ["cp", "-r", "--no-preserve=mode,timestamps", str(belljar.folder / name), str(ordinary.folder)]
        assert os.spawnvp(os.P_WAIT, "cp", copy) == 0
    for path in (ordinary.folder, *ordinary.folder.rglob("*")):
        os.chown(path, ORDINARY_ID, ORDINARY_ID)
    shutil.rmtree(belljar.folder / "app")
    done = ordinary("run", "-v", "--signer", "signer.pub.pem", "app.bell", "--", "elsewhere")
    assert done.stdout == "hello elsewhere\na note\na name\n"
    assert done.stderr.splitlines()[0] == f"belljar: measurement {measurement.strip()}"
    assert ordinary("check", "app.bell").stdout == "1 bundle(s), 0 problem(s), 0 note(s)\n"
    assert key in ordinary("inspect", "app.bell").stdout
    assert "what is mounted at /app is not here" in belljar("run", "app.bell", check=125).stderr


def test_a_changed_file_is_not_served_and_named(belljar: Belljar, project: Path) -> None:
    build(belljar)
    (project / "app/note").write_text("a nose\n")
    (project / "app/more").write_text("does not matter\n")
    done = belljar("run", "app.bell", check=125)
    assert "a nose" not in done.stdout
    assert "/app/note: has changed since it was measured" in done.stderr
    assert f"belljar check {project}/app.bell names every file" in done.stderr
    said = belljar("check", "app.bell", check=1).stdout.splitlines()
    assert said == [
        f"{project}/app/note: error: has changed since app.bell was built",
        "1 bundle(s), 1 problem(s), 0 note(s)",
    ]
    (project / "app/note").unlink()
    shutil.rmtree(project / "data")
    found = json.loads(belljar("check", "--json", "app.bell", check=1).stdout)
    assert [(row["level"], row["place"]) for row in found] == [
        ("error", f"{project}/app/note"),
        ("error", f"{project}/data"),
    ]


def test_check_names_what_changed_since_the_build(belljar: Belljar, project: Path) -> None:
    build(belljar)
    assert belljar("check", "app.yaml", "--against", "app.bell").stdout == "1 manifest(s), 0 problem(s), 0 note(s)\n"
    (project / "app/note").write_text("a nose\n")
    (project / "app.yaml").write_text(MANIFEST.replace("256MiB", "512MiB"))
    said = belljar("check", "app.yaml", "--against", "app.bell", check=1).stdout
    assert "app.yaml: warning: changed since app.bell was built: /app: changed: note\n" in said
    assert "manifest: limits.memory_bytes: 268435456 → 536870912\n" in said


def test_diff_names_every_input(belljar: Belljar, project: Path, key: str) -> None:
    build(belljar, "--key", "signer.pem")
    (project / "app.bell").rename(project / "old.bell")
    assert belljar("diff", "old.bell", "app.yaml").stdout == ""
    assert belljar("diff", "old.bell", "old.bell").stdout == ""
    (project / "app/run.sh").write_text(SCRIPT + "true\n")
    (project / "app/note").rename(project / "app/notes")
    changed = MANIFEST.replace("GREETING: hello", "GREETING: bye, MORE: more").replace("arguments: any\n", "")
    (project / "app.yaml").write_text(changed + "  - {type: tmpfs, path: /work, size: 1MiB}\n")
    build(belljar)
    assert belljar("diff", "old.bell", "app.bell", check=1).stdout.splitlines() == [
        'manifest: arguments.rule: "any" → "none"',
        'manifest: environment.set.GREETING: "hello" → "bye"',
        'manifest: environment.set.MORE: added: "more"',
        "manifest: mounts./work.executable: added: false",
        "manifest: mounts./work.size: added: 1048576",
        'manifest: mounts./work.type: added: "tmpfs"',
        "/app: removed: note",
        "/app: added: notes",
        "/app: changed: run.sh",
        f"signer: {key} → none",
    ]
    assert belljar("diff", "app.bell", "app.yaml").stdout == ""
    found = json.loads(belljar("diff", "--json", "old.bell", "app.bell", check=1).stdout)
    assert {"what": "file", "mount": "/app", "path": "run.sh", "change": "changed"} in found
    assert found[-1] == {"what": "signer", "name": "signer", "change": "changed", "old": key, "new": None}


def test_diff_has_trouble(belljar: Belljar, project: Path) -> None:
    build(belljar)
    (project / "broken.bell").write_bytes((project / "app.bell").read_bytes()[:-1])
    for words in (("app.bell", "absent.bell"), ("app.bell", "broken.bell"), ("app.bell",), ("app.bell", "app/note")):
        done = belljar("diff", *words, check=2)
        assert done.stdout == ""
        assert done.stderr.startswith("belljar: error: ")


def test_a_damaged_bundle_is_refused_by_every_command(belljar: Belljar, project: Path) -> None:
    content = build(belljar).read_bytes()
    cut, longer, damaged = content[:-1], content + b"x", content[:-1] + bytes([content[-1] ^ 1])
    for command, code, changed, why in (
        ("verify", 1, cut, "is truncated"),
        ("verify", 1, longer, "followed by something else"),
        ("verify", 1, damaged, "is damaged"),
        ("inspect", 125, cut, "is truncated"),
        ("run", 125, longer, "followed by something else"),
        ("run", 125, damaged, "is damaged"),
        ("measure", 125, damaged, "is damaged"),
        ("check", 125, damaged, "is damaged"),
    ):
        (project / "app.bell").write_bytes(changed)
        done = belljar(command, "app.bell", check=code)
        assert done.stdout == ""
        assert why in done.stderr
        assert "Traceback" not in done.stderr


def test_inspect_tells_everything(belljar: Belljar, project: Path, key: str) -> None:
    build(belljar, "--key", "signer.pem")
    rows = [line.split(maxsplit=1) for line in belljar("inspect", "app.bell").stdout.splitlines()]
    told = {row[0]: row[1] for row in rows}
    assert told["measurement"] == belljar("measure", "app.yaml").stdout.strip()
    assert told["signer"] == f"{key} (ed25519)"
    assert told["memory"] == "256 MiB"
    assert ["hashed", f"/app from {project}/app: 3 entries, {len(SCRIPT) + 7} bytes"] in rows
    assert ["host", f"/data from {project}/data"] in rows
    found = json.loads(belljar("inspect", "--json", "app.bell").stdout)
    assert found["manifest"] == json.loads(belljar("inspect", "--canonical", "app.bell").stdout)
    assert found["trees"][1]["source"] == f"{project}/app"


def test_keys_that_cannot_be_used(belljar: Belljar, project: Path, ordinary: Belljar) -> None:
    shutil.copytree(project, ordinary.folder / "p")
    assert (
        "absent.pem: cannot read the key: No such file"
        in belljar("build", "app.yaml", "--key", "absent.pem", check=125).stderr
    )
    assert "app.yaml: not a private key in PEM" in belljar("build", "app.yaml", "--key", "app.yaml", check=125).stderr
    belljar("keygen")
    (project / "signer.pub.pem").chmod(0o644)
    done = belljar("build", "app.yaml", "--key", "signer.pub.pem", check=125)
    assert "a public key, expected a private one" in done.stderr
    (project / "signer.pem").chmod(0o640)
    assert (
        "other users may read the private key signer.pem: chmod 600"
        in belljar("build", "app.yaml", "--key", "signer.pem").stderr
    )
    shutil.copy(project / "signer.pem", ordinary.folder / "signer.pem")
    (ordinary.folder / "signer.pem").chmod(0o600)
    if os.geteuid() == 0:
        done = ordinary("build", "p/app.yaml", "-o", "x.bell", "--key", "signer.pem", check=125)
        assert "signer.pem: cannot read the key: Permission denied" in done.stderr


def test_a_key_in_the_tree_is_refused_and_a_bundle_there_is_noted(belljar: Belljar, project: Path) -> None:
    belljar("keygen", "-o", "app/signer.pem")
    done = belljar("build", "app.yaml", "--key", "app/signer.pem", check=125)
    assert "the private key belongs to the tree at /app" in done.stderr
    assert not (project / "app.bell").exists()
    assert "app/x.bell lies in the tree at /app" in belljar("build", "app.yaml", "-o", "app/x.bell").stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("build",), "expected one manifest"),
        (("build", "app.py"), "expected one manifest"),
        (("build", "app.yaml", "-o", "app.tar"), "ends in .bell"),
        (("verify",), "expected one bundle"),
        (("inspect", "a", "b"), "expected one bundle"),
        (("keygen", "x"), "unexpected x"),
        (("check", "app.bell", "--against", "app.bell"), "--against compares a manifest"),
        (("verify", "app.bell", "--signer", "sha256:12"), "64 digits"),
    ],
)
def test_misuse(belljar: Belljar, words: tuple[str, ...], why: str) -> None:
    assert why in belljar(*words, check=2).stderr


def test_a_signer_can_only_be_asked_of_a_bundle(belljar: Belljar) -> None:
    assert "asks who signed a bundle" in belljar("run", "--signer", "sha256:00", "--", "true", check=125).stderr
    assert "--signer stands behind the bundle" in belljar("run", "app.bell", "--signer", "x", check=125).stderr


def test_a_bundle_of_another_version_holds_but_is_not_run(belljar: Belljar, project: Path) -> None:
    content = altered(build(belljar).read_bytes(), another_policy)
    (project / "app.bell").write_bytes(content)
    assert "built by belljar 0.0.9, whose system call policy" in belljar("verify", "app.bell").stderr
    done = belljar("run", "app.bell", check=125)
    assert "build it again with this version" in done.stderr


def another_policy(payload: dict[str, Any]) -> None:
    payload["belljar"] = "0.0.9"
    payload["manifest"]["system_calls"]["policy"] = "sha256:" + "0" * 64

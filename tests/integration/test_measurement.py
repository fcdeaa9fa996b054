"""The measurement: the same for the same, another for everything else (IEEE 2952 5.1.2 b, 7.2.3 a b c f)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar

MANIFEST = f"""\
belljar: 1
name: app
product_id: 1
security_version: 1
extends: [minimal]
programs: [{PYTHON}]
argv: [{PYTHON}, /app/app.py]
environment: {{set: {{A: "1"}}, pass: [B]}}
mounts:
  - {{type: hashed, path: /app, source: src}}
  - {{type: host, path: /data, source: data}}
limits: {{memory: 1GiB}}
"""


@pytest.fixture
def project(belljar: Belljar) -> Path:
    (belljar.folder / "src").mkdir()
    (belljar.folder / "data").mkdir()
    (belljar.folder / "src/app.py").write_text("print('hello')")
    (belljar.folder / "app.yaml").write_text(MANIFEST)
    return belljar.folder


def measure(belljar: Belljar, *words: str) -> str:
    text = belljar("measure", *(words or ("app.yaml",))).stdout.strip()
    assert text.startswith("sha256:")
    assert len(text) == 7 + 64
    return text


def test_the_same_files_elsewhere_are_the_same_enclave(belljar: Belljar, project: Path, tmp_path: Path) -> None:
    before = measure(belljar)
    shutil.copytree(project, tmp_path / "far/away", copy_function=shutil.copyfile)
    assert measure(belljar, str(tmp_path / "far/away/app.yaml")) == before


def test_it_is_the_digest_of_what_is_shown(belljar: Belljar, project: Path) -> None:
    shown = belljar("measure", "--canonical", "app.yaml").stdout
    assert f"sha256:{hashlib.sha256(shown.encode()).hexdigest()}" == measure(belljar)
    members = json.loads(shown)
    assert members["format"] == "belljar.manifest/1"
    assert str(project) not in shown, "places on the host are not measured"


CHANGES = {
    "name": ("name: app", "name: other"),
    "product": ("product_id: 1", "product_id: 2"),
    "version": ("security_version: 1", "security_version: 2"),
    "argument": ("/app/app.py]", "/app/app.py, -x]"),
    "argument rule": ("name: app\n", "name: app\narguments: any\n"),
    "variable": ('A: "1"', 'A: "2"'),
    "passed variable": ("pass: [B]", "pass: [B, C]"),
    "limit": ("memory: 1GiB", "memory: 2GiB"),
    "run time": ("memory: 1GiB", "memory: 1GiB, run_time: 5s"),
    "mount": ("path: /data,", "path: /other,"),
    "writable": ("source: data}", "source: data, writable: true}"),
    "user": ("name: app\n", "name: app\nuser: {uid: 7}\n"),
    "network": ("name: app\n", "name: app\nnetwork: {insecure_host: true}\n"),
    "system call": ("name: app\n", "name: app\nsystem_calls: {deny: [kill]}\n"),
    "integrity": ("name: app\n", "name: app\nintegrity: {insecure_continue: true}\n"),
    "directory": ("name: app\n", "name: app\nworking_directory: /tmp\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_key_is_measured(belljar: Belljar, project: Path, change: str) -> None:
    manifest = MANIFEST.replace(PYTHON, "/bin/true")  # a small program: what it does is not asked here
    (project / "app.yaml").write_text(manifest)
    before = measure(belljar)
    old, new = CHANGES[change]
    assert old in manifest
    (project / "app.yaml").write_text(manifest.replace(old, new))
    assert measure(belljar) != before


def test_every_file_is_measured(belljar: Belljar, project: Path) -> None:
    seen = {measure(belljar)}
    (project / "src/app.py").write_text("print('other')")
    seen.add(measure(belljar))
    (project / "src/app.py").chmod(0o755)
    seen.add(measure(belljar))
    (project / "src/new").touch()
    seen.add(measure(belljar))
    assert len(seen) == 4


def test_what_is_not_measured(belljar: Belljar, project: Path) -> None:
    before = measure(belljar)
    (project / "data/file").write_text("anything")
    os.utime(project / "src/app.py", (1, 1))
    (project / "src/app.py").chmod(0o600)
    belljar.environment["B"] = "anything"
    text = MANIFEST.replace("name: app\n", "# a comment\nname:   'app'\n")
    (project / "app.yaml").write_text(text)
    assert measure(belljar) == before


def test_a_run_says_what_it_is(belljar: Belljar, project: Path) -> None:
    assert project
    measured = measure(belljar)
    done = belljar("run", "-v", "app.yaml")
    assert done.stderr.splitlines()[0] == f"belljar: measurement {measured}"
    assert done.stdout == "hello\n"


def test_arguments_of_the_caller_are_not_measured(belljar: Belljar, project: Path) -> None:
    text = MANIFEST.replace("name: app\n", 'name: app\narguments: {pattern: "--n=[0-9]+"}\n')
    (project / "app.yaml").write_text(text)
    (project / "src/app.py").write_text("import sys; print(sys.argv[1:])")
    one, other = belljar("run", "-v", "app.yaml", "--", "--n=1"), belljar("run", "-v", "app.yaml", "--n=2")
    assert (one.stdout, other.stdout) == ("['--n=1']\n", "['--n=2']\n")
    assert one.stderr == other.stderr
    refused = belljar("run", "app.yaml", "--n=x", check=125)
    assert "argument '--n=x' does not match the manifest's pattern --n=[0-9]+" in refused.stderr


def test_a_manifest_takes_no_arguments_unless_it_says_so(belljar: Belljar, project: Path) -> None:
    assert project
    refused = belljar("run", "app.yaml", "x", check=125)
    assert "the manifest takes no arguments, got x" in refused.stderr
    assert "arguments: any" in refused.stderr


class TestDerivedManifests:
    def test_explain_prints_what_runs(self, belljar: Belljar) -> None:
        (belljar.folder / "hello.py").write_text("print('hello')")
        command = ["--", PYTHON, "hello.py"]
        text = belljar("run", "--explain", *command).stdout
        (belljar.folder.parent / "saved.yaml").write_text(text)
        saved = str(belljar.folder.parent / "saved.yaml")
        assert measure(belljar, saved) == measure(belljar, *command)
        ran = belljar("run", "-v", *command)
        assert measure(belljar, *command) in ran.stderr
        assert belljar("run", saved).stdout == ran.stdout == "hello\n"

    def test_arguments_are_measured_also_when_the_record_is_reused(self, belljar: Belljar) -> None:
        said = {belljar("run", "-v", "--", PYTHON, "-c", f"print({n})").stderr.splitlines()[0] for n in range(3)}
        assert len(said) == 3
        for n in range(3):
            measured = measure(belljar, "--", PYTHON, "-c", f"print({n})")
            assert f"belljar: measurement {measured}" in said

    def test_a_manifest_is_not_derived_twice(self, belljar: Belljar, project: Path) -> None:
        assert project
        assert "is a manifest already" in belljar("run", "--explain", "app.yaml", check=125).stderr


def test_json(belljar: Belljar, project: Path) -> None:
    shown = json.loads(belljar("measure", "--json", "app.yaml").stdout)
    assert shown["measurement"] == measure(belljar)
    app = next(tree for tree in shown["trees"] if tree["path"] == "/app")
    assert app["source"] == str(project / "src")
    assert app["entries"] == 2


def test_a_dry_run_says_every_step_and_takes_none(belljar: Belljar, project: Path) -> None:
    (project / "src/app.py").write_text("open('/data/made', 'w')")
    done = belljar("run", "--dry-run", "app.yaml")
    assert "unshare namespaces: user mount pid" in done.stdout
    assert f"bind host {project}/data at /data (read-only" in done.stdout
    assert "execute /usr/bin/python3" in done.stdout or PYTHON in done.stdout
    assert not (project / "data/made").exists()


class TestRemembering:
    """A warm start looks only at what it must, and yet never runs something old."""

    def test_an_edit_is_seen(self, belljar: Belljar, project: Path) -> None:
        for n in range(3):
            (project / "src/app.py").write_text(f"print({n})")
            assert belljar("run", "app.yaml").stdout == f"{n}\n"

    def test_an_edit_in_place_of_the_same_length_is_seen(self, belljar: Belljar, project: Path) -> None:
        for n in range(3):
            with (project / "src/app.py").open("w") as file:
                file.write(f"print({n})")
            assert belljar("run", "app.yaml").stdout == f"{n}\n"

    def test_a_new_module_is_seen(self, belljar: Belljar, project: Path) -> None:
        (project / "src/app.py").write_text(
            "try:\n import extra\n print(extra.X)\nexcept ImportError:\n print('none')\n"
        )
        assert belljar("run", "app.yaml").stdout == "none\n"
        (project / "src/extra.py").write_text("X = 7")
        assert belljar("run", "app.yaml").stdout == "7\n"

    def test_an_edited_manifest_is_seen(self, belljar: Belljar, project: Path) -> None:
        (project / "src/app.py").write_text("import os; print(os.environ['A'])")
        assert belljar("run", "app.yaml").stdout == "1\n"
        (project / "app.yaml").write_text(MANIFEST.replace('A: "1"', 'A: "2"'))
        assert belljar("run", "app.yaml").stdout == "2\n"

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone"])
    def test_a_damaged_record_is_made_again(self, belljar: Belljar, project: Path, damage: str) -> None:
        assert project
        belljar("run", "app.yaml")
        for kind in ("record-", "used-", "programs-", "folders-"):
            for path in belljar.cache.glob(f"belljar/1/{kind}*"):
                content = path.read_bytes()
                if damage == "gone":
                    path.unlink()
                else:
                    flipped = bytes([content[0] ^ 1]) + content[1:]
                    path.write_bytes({"cut": content[:-5], "flipped": flipped, "empty": b""}[damage])
        assert belljar("run", "app.yaml").stdout == "hello\n"

    @pytest.mark.parametrize("by", ["command", "manifest"])
    def test_a_program_that_comes_first_on_the_path_is_the_one_that_runs(self, belljar: Belljar, by: str) -> None:
        first = belljar.folder / "bin"
        first.mkdir()
        belljar.environment["PATH"] = f"{first}:/usr/bin:/bin"
        (belljar.folder / "m.yaml").write_text("belljar: 1\nname: m\nprograms: [uname]\nargv: [uname]\n")
        words = ("run", "--", "uname") if by == "command" else ("run", "m.yaml")
        for _ in range(2):
            assert belljar(*words).stdout == "Linux\n"
            time.sleep(2.1)  # until stamps are old enough to be believed
        (first / "uname").write_text("#!/bin/sh\necho mine\n")
        (first / "uname").chmod(0o755)
        assert belljar(*words).stdout == "mine\n"

    def test_what_nobody_used_for_a_month_is_removed(self, belljar: Belljar, tmp_path: Path) -> None:
        folder = tmp_path / "cache/belljar/1"
        folder.mkdir(parents=True, mode=0o700)
        for name, days in (("index-old", 31), ("record-half.123.new", 40), ("index-young", 29), ("digests.sqlite", 99)):
            (folder / name).touch()
            then = time.time() - days * 86400
            os.utime(folder / name, (then, then))
        belljar.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        belljar("run", "--", "/bin/true")
        left = {path.name for path in folder.iterdir()}
        assert {"index-young", "digests.sqlite"} <= left
        assert not {"index-old", "record-half.123.new"} & left

    def test_without_a_cache_it_still_runs(self, belljar: Belljar, project: Path, tmp_path: Path) -> None:
        assert project
        (tmp_path / "file").touch()
        belljar.environment["XDG_CACHE_HOME"] = str(tmp_path / "file")
        belljar.environment["TMPDIR"] = str(tmp_path)
        assert belljar("run", "app.yaml").stdout == "hello\n"
        assert list(tmp_path.glob("belljar-*")), "the fallback is below TMPDIR"

    def test_somebody_elses_cache_is_not_used(self, belljar: Belljar, project: Path, tmp_path: Path) -> None:
        assert project
        (tmp_path / "cache/belljar/1").mkdir(parents=True)
        (tmp_path / "cache/belljar/1").chmod(0o777)
        belljar.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        belljar.environment["TMPDIR"] = str(tmp_path)
        assert belljar("run", "app.yaml").stdout == "hello\n"
        assert not list((tmp_path / "cache/belljar/1").iterdir())

"""`belljar check`: what it finds in manifests that are well formed, each with its place; and how it tells."""

from __future__ import annotations

import json
import os
import shutil
import socket

import pytest

from support.running import Belljar

PROGRAM = "/bin/true"  # small: most of these tests do not care
HEAD = f"""belljar: 1
name: app
extends: [minimal]
programs: [{PROGRAM}]
argv: [{PROGRAM}]
"""


def check(belljar: Belljar, rest: str, *, head: str = HEAD, exit_code: int = 1) -> str:
    """Write a manifest beside an app.py and return what belljar check says of it."""
    (belljar.folder / "app").mkdir(exist_ok=True)
    (belljar.folder / "app/app.py").write_text("print('hello')\n")
    (belljar.folder / "m.yaml").write_text(head + rest)
    return belljar("check", "m.yaml", check=exit_code).stdout


APP = "mounts:\n  - {type: hashed, path: /app, source: app}\n"


def test_a_good_manifest_has_no_findings(belljar: Belljar) -> None:
    assert check(belljar, APP, exit_code=0) == "1 manifest(s), 0 problem(s), 0 note(s)\n"


@pytest.mark.parametrize(
    ("mount", "place"),
    [
        ("{type: tmpfs, path: /work, insecure_executable: true}", "m.yaml:8:5"),
        ("{type: host, path: /work, source: ., writable: true, insecure_executable: true}", "m.yaml:8:5"),
    ],
)
def test_a_writable_and_executable_mount(belljar: Belljar, mount: str, place: str) -> None:
    said = check(belljar, f"{APP}  - {mount}\n")
    assert f"{place}: warning: /work is writable and executable: programs nobody measured can run" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", "x"),
        ("DB_PASSWORD", "hunter2"),
        ("SETTING", "ghp_0123456789abcdefghij0123456789"),
        ("SETTING", "-----BEGIN PRIVATE KEY-----"),
        ("SETTING", "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1u"),
    ],
)
def test_an_environment_value_that_looks_like_a_secret(belljar: Belljar, name: str, value: str) -> None:
    said = check(belljar, f"{APP}environment:\n  set:\n    {name}: '{value}'\n")
    assert (
        f"m.yaml:10:{7 + len(name)}: warning: {name} looks like a secret: manifests are measured and shown to others"
        in said
    )
    assert value not in said or value == "x"


def test_ordinary_environment_values_are_no_secrets(belljar: Belljar) -> None:
    values = "{PYTHONPATH: /app/lib:/app/more, MODE: production, GREETING: how do you do my dear old friend}"
    check(belljar, f"{APP}environment: {{set: {values}}}\n", exit_code=0)


def test_a_script_whose_interpreter_is_in_no_hashed_tree(belljar: Belljar) -> None:
    head = HEAD.replace(f"programs: [{PROGRAM}]\n", "").replace(f"argv: [{PROGRAM}]", "argv: [/app/tool]")
    (belljar.folder / "app").mkdir()
    (belljar.folder / "app/tool").write_text("#!/usr/bin/env perl\nprint 42;\n")
    (belljar.folder / "app/tool").chmod(0o755)
    said = check(belljar, APP, head=head)
    assert "m.yaml:4:7: warning: /app/tool is interpreted by /usr/bin/env, which is in no hashed tree: add" in said


def test_a_program_whose_dynamic_linker_is_in_no_hashed_tree(belljar: Belljar) -> None:
    head = HEAD.replace(f"programs: [{PROGRAM}]\n", "").replace(f"argv: [{PROGRAM}]", "argv: [/app/true]")
    (belljar.folder / "app").mkdir()
    shutil.copy("/bin/true", belljar.folder / "app/true")
    said = check(belljar, APP, head=head)
    assert "warning: /app/true is interpreted by /lib" in said


def test_a_program_of_a_host_mount(belljar: Belljar) -> None:
    head = HEAD.replace(f"argv: [{PROGRAM}]", "argv: [/bin-of-host/tool]")
    (belljar.folder / "bin").mkdir()
    mount = "  - {type: host, path: /bin-of-host, source: bin, insecure_executable: true}\n"
    said = check(belljar, APP + mount, head=head)
    assert "warning: /bin-of-host/tool lies in a host mount: whatever the host puts there is run" in said


def test_a_mount_that_hides_another(belljar: Belljar) -> None:
    (belljar.folder / "app/data").mkdir(parents=True)
    (belljar.folder / "app/data/precious").write_text("x")
    said = check(belljar, f"{APP}  - {{type: tmpfs, path: /app/data}}\n")
    assert "m.yaml:8:5: warning: the mount at /app/data hides" in said
    assert str(belljar.folder / "app/data") in said


def test_a_volume_that_the_program_would_see(belljar: Belljar) -> None:
    (belljar.folder / "app").mkdir()
    (belljar.folder / "app/data.vol").write_bytes(b"")
    volume = "  - {type: encrypted, path: /data, source: app/data.vol, key: file}\n"
    said = check(belljar, APP + volume)
    assert f"m.yaml:7:5: warning: /app shows {belljar.folder}/app/data.vol, the volume of /data: exclude it" in said
    check(belljar, APP.replace("app}", 'app, include: ["*.py"]}') + volume, exit_code=0)


def test_a_mount_over_an_empty_place_hides_nothing(belljar: Belljar) -> None:
    (belljar.folder / "app/data").mkdir(parents=True)
    check(belljar, f"{APP}  - {{type: tmpfs, path: /app/data}}\n", exit_code=0)


@pytest.mark.parametrize("where", ["app", "app/inner"])
def test_a_source_that_everybody_may_write(belljar: Belljar, where: str) -> None:
    (belljar.folder / where).mkdir(parents=True)
    (belljar.folder / where).chmod(0o777)
    said = check(belljar, APP)
    assert "m.yaml:7:" in said
    assert f"warning: {belljar.folder / where} can be written by every user of this machine" in said


def test_what_is_insecure_is_named_but_no_failure(belljar: Belljar) -> None:
    keys = (
        "network: {insecure_host: true}\nintegrity: {insecure_continue: true}\nsystem_calls: {insecure_allow: [ptrace]}"
    )
    said = check(belljar, f"{APP}{keys}\n", exit_code=0)
    assert said.count("note: insecure: ") == 3
    assert "0 problem(s), 3 note(s)" in said


def test_what_cannot_be_in_a_tree_is_named(belljar: Belljar) -> None:
    (belljar.folder / "app/.git").mkdir(parents=True)
    os.mkfifo(belljar.folder / "app/fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(belljar.folder / "app/sock"))
    said = check(belljar, APP, exit_code=0)
    assert "note: fifo is a socket, fifo or device: it is not in the tree" in said
    assert "note: sock is a socket, fifo or device: it is not in the tree" in said
    assert "note: holds .git: exclude it, or every commit is another enclave" in said


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("mounts:\n  - {type: hashed, path: /app, source: absent}\n", "absent"),
        ("mounts: []\nprograms: [no-such-program]\n", "no-such-program"),
        (f"{APP}limits: {{memory: 12 parsecs}}\n", "got '12 parsecs', expected a size such as 64MiB or 2G"),
        (f"{APP}limit: {{}}\n", "unknown key limit: did you mean limits?"),
        (f"{APP}system_calls: {{deny: [raed]}}\n", "raed"),
        (f"{APP}environment: {{set: {{A: '${{pyton}}'}}}}\n", "unknown variable ${pyton}: did you mean python?"),
    ],
)
def test_mistakes_are_errors_with_a_place(belljar: Belljar, rest: str, said: str) -> None:
    head = HEAD.replace(f"programs: [{PROGRAM}]\n", "") if "programs" in rest else HEAD
    found = check(belljar, rest, head=head)
    assert ": error: " in found
    assert said in found
    assert found.startswith(("m.yaml:", f"{belljar.folder}/m.yaml:"))


def test_json_for_programs(belljar: Belljar) -> None:
    check(belljar, f"{APP}environment: {{set: {{API_TOKEN: x}}}}\n")
    (found,) = json.loads(belljar("check", "--json", "m.yaml", check=1).stdout)
    assert found["level"] == "warning"
    assert found["place"].endswith("m.yaml:8:") or ":8:" in found["place"]
    assert "API_TOKEN" in found["message"]


def test_a_manifest_that_is_not_there(belljar: Belljar) -> None:
    assert "absent.yaml" in belljar("check", "absent.yaml", check=125).stderr


def test_nothing_to_check_is_a_usage_error(belljar: Belljar) -> None:
    assert "no manifest to check" in belljar("check", check=2).stderr

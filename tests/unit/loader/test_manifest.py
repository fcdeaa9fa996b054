"""Manifests: what they may say, what their mistakes are called, how bases and variables work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from belljar.loader.errors import LoaderError, ManifestError
from belljar.loader.manifest.model import HashedMount, TmpfsMount
from belljar.loader.manifest.parse import ParsedManifest, parse_file

PRINTABLE = st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])
HEAD = "belljar: 1\nname: app\nargv: [python3, app.py]\n"


def parse(folder: Path, text: str, **others: str) -> ParsedManifest:
    for name, content in others.items():
        (folder / f"{name}.yaml").write_text(content)
    path = folder / "m.yaml"
    path.write_text(text)
    return parse_file(str(path))


def problems(folder: Path, text: str, **others: str) -> list[str]:
    with pytest.raises(ManifestError) as raised:
        parse(folder, text, **others)
    return [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]


FULL = """\
belljar: 1
name: shop
product_id: 7
security_version: 3
programs: [/bin/sh]
argv: [sh, -c, "echo $HOME"]
arguments: {pattern: "--port=[0-9]+"}
environment:
  set: {HOME: /tmp, GREETING: "hello ${nothing"}
  pass: [LANG]
working_directory: /app
user: {name: shop, uid: 33, gid: 44, home: /app}
mounts:
  - {type: hashed, path: /app, source: ., include: ["*.py"], exclude: ["test_*"]}
  - {type: host, path: /data, source: /var/tmp, writable: true}
  - {type: tmpfs, path: /tmp, size: 64MiB}
limits: {memory: 1G, processes: 10, open_files: 100, cpus: 1.5, run_time: 90s}
system_calls: {insecure_allow: [ptrace], deny: [kill]}
network: {insecure_host: false}
integrity: {insecure_continue: true}
"""


def test_everything_a_manifest_can_say(tmp_path: Path) -> None:
    manifest = parse(tmp_path, FULL).manifest
    assert (manifest.product_id, manifest.security_version) == (7, 3)
    assert manifest.argv == ["sh", "-c", "echo $HOME"]
    assert manifest.environment.set == {"HOME": "/tmp", "GREETING": "hello ${nothing"}
    assert manifest.environment.pass_ == ["LANG"]
    hashed, _, tmpfs = manifest.mounts
    assert isinstance(hashed, HashedMount)
    assert hashed.source == str(tmp_path)
    assert isinstance(tmpfs, TmpfsMount)
    assert tmpfs.size == 64 << 20
    limits = manifest.limits
    assert (limits.memory, limits.cpus, limits.run_time) == (1 << 30, 1500, 90_000)


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("nmae: x\n", "m.yaml:4:1: unknown key nmae: did you mean name?"),
        ("zzz: x\n", "m.yaml:4:1: unknown key zzz: expected one of belljar, extends, name,"),
        ("limits: {memry: 1G}\n", "m.yaml:4:10: unknown key memry: did you mean memory? (in limits)"),
        ("environment:\n  past: [X]\n", "m.yaml:5:3: unknown key past: did you mean pass? (in environment)"),
        (
            "mounts:\n  - {type: hashed, path: /a, sorce: .}\n",
            "m.yaml:5:30: unknown key sorce: did you mean source? (in mounts.0)",
        ),
        ("mounts:\n  - {path: /a}\n", "m.yaml:5:5: mounts.0: the key type is missing: expected hashed, host or tmpfs"),
        (
            "mounts:\n  - {type: hashd, path: /a}\n",
            "m.yaml:5:5: mounts.0: expected hashed, host or tmpfs, got the text 'hashd'",
        ),
        ("mounts:\n  - {type: hashed, path: /a}\n", "m.yaml:5:5: mounts.0.source: this key is missing"),
        ("mounts: {}\n", "m.yaml:4:9: mounts: expected a list, got a mapping"),
        (
            "mounts:\n  - {type: tmpfs, path: tmp}\n",
            "m.yaml:5:25: mounts.0.path: got tmp, expected an absolute path in the enclave, without . or ..",
        ),
        ("mounts:\n  - {type: tmpfs, path: /a/../b}\n", "without . or .."),
        (
            "mounts:\n  - {type: tmpfs, path: /proc}\n",
            "mounts.0.path: got /proc: /proc is made by belljar",
        ),
        (
            "mounts:\n  - {type: hashed, path: /dev/x, source: .}\n",
            "got /dev/x: /dev is made by belljar",
        ),
        ("mounts:\n  - {type: host, path: /sys/a, source: .}\n", "got /sys/a: /sys is made by belljar"),
        ("mounts:\n  - {type: tmpfs, path: /}\n", "got /: only a hashed mount can be the root of the enclave"),
        ("mounts:\n  - {type: tmpfs, path: /a, size: lots}\n", "got 'lots', expected a size such as 64MiB or 2G"),
        ("mounts:\n  - {type: tmpfs, path: /a, size: -1}\n", "got '-1', expected a size such as 64MiB or 2G"),
        ("mounts:\n  - {type: tmpfs, path: /a, size: 0}\n", "expected a size between 1 byte and 1024 TiB"),
        ("mounts:\n  - {type: tmpfs, path: /a, size: true}\n", "got true or false, expected a size"),
        (
            "limits: {run_time: 30}\n",
            "m.yaml:4:20: limits.run_time: got the number 30, expected a duration with its unit, such as 30s or 500ms",
        ),
        ("limits: {cpus: many}\n", "got the text 'many', expected a number of CPUs such as 2 or 0.5"),
        ("limits: {cpus: 0}\n", "expected between 0.01 and 4096 CPUs"),
        ("limits: {processes: 0}\n", "m.yaml:4:21: limits.processes: expected at least 1, got the number 0"),
        ("limits: {processes: 1.5}\n", "limits.processes: expected a whole number, got the number 1.5"),
        ("limits: {processes: '5'}\n", "limits.processes: expected a whole number, got the text '5'"),
        ("network: {insecure_host: yes}\n", "network.insecure_host: expected true or false, got the text 'yes'"),
        ("network: host\n", "m.yaml:4:10: network: expected a mapping, got the text 'host'"),
        ("environment: {set: {PORT: 8000}}\n", "environment.set.PORT: expected a text, got the number 8000"),
        ("environment: {set: {'A B': x}}\n", "environment.set.A B"),
        ("arguments: some\n", "m.yaml:4:12: arguments: expected none, any, or a mapping with the key pattern"),
        ("arguments: {pattern: '['}\n", "not a regular expression"),
        ("user: {uid: 70000}\n", "user.uid: expected at most 65533, got the number 70000"),
        ("product_id: 65536\n", "product_id: expected at most 65535, got the number 65536"),
        ("programs: python3\n", "programs: expected a list, got the text 'python3'"),
        ("extends: [pyhton]\n", "m.yaml:4:11: no manifest"),
        ("working_directory: ${manifset_dir}/x\n", "unknown variable ${manifset_dir}: did you mean manifest_dir?"),
    ],
)
def test_mistakes_and_their_places(tmp_path: Path, addition: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + addition)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("belljar: 2\nname: a\nargv: [x]\n", "m.yaml:1:10: belljar: expected 1, got the number 2"),
        ("name: a\nargv: [x]\n", "belljar: this key is missing"),
        ("belljar: 1\nargv: [x]\n", "the key name is missing"),
        ("belljar: 1\nname: a\n", "the key argv is missing"),
        ("belljar: 1\nname: a\nargv: []\n", "argv: expected at least 1 entry, got an empty list"),
        ("belljar: 1\nname: A B\nargv: [x]\n", "m.yaml:2:7: name"),
        ("belljar: 1\nname: a\nargv: python3\n", "argv: expected a list, got the text 'python3'"),
    ],
)
def test_what_must_be_there(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, text)[0]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, HEAD + "limits: {memory: x, processes: -1}\nuser: {uid: -1}\n")
    assert len(found) == 3


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LoaderError, match="cannot read the manifest: No such file"):
        parse_file(str(tmp_path / "none.yaml"))
    with pytest.raises(LoaderError, match="cannot read the manifest: Is a directory"):
        parse_file(str(tmp_path))


class TestBases:
    def test_what_the_later_one_says_wins(self, tmp_path: Path) -> None:
        base = (
            "belljar: 1\nname: base\nprograms: [/bin/sh]\nlimits: {memory: 1G, processes: 5}\n"
            "environment: {set: {A: '1', B: '1'}, pass: [X]}\n"
            "mounts:\n  - {type: tmpfs, path: /tmp, size: 1M}\n  - {type: tmpfs, path: /run}\n"
        )
        text = (
            "belljar: 1\nextends: [base.yaml]\nname: app\nargv: [sh]\nprograms: [/bin/ls]\nlimits: {memory: 2G}\n"
            "environment: {set: {B: '2'}, pass: [Y]}\nmounts:\n  - {type: tmpfs, path: /tmp, size: 2M}\n"
        )
        manifest = parse(tmp_path, text, base=base).manifest
        assert manifest.name == "app"
        assert manifest.programs == ["/bin/sh", "/bin/ls"]
        assert (manifest.limits.memory, manifest.limits.processes) == (2 << 30, 5)
        assert manifest.environment.set == {"A": "1", "B": "2"}
        assert manifest.environment.pass_ == ["X", "Y"]
        assert {m.path: getattr(m, "size", None) for m in manifest.mounts} == {"/tmp": 2 << 20, "/run": 256 << 20}

    def test_sources_are_relative_to_the_file_that_names_them(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/base.yaml").write_text("belljar: 1\nmounts:\n  - {type: hashed, path: /lib, source: lib}\n")
        mount = parse(tmp_path, HEAD + "extends: [sub/base.yaml]\n").manifest.mounts[0]
        assert isinstance(mount, HashedMount)
        assert mount.source == str(tmp_path / "sub/lib")

    def test_circles_end(self, tmp_path: Path) -> None:
        one, other = "belljar: 1\nextends: [other.yaml]\n", "belljar: 1\nextends: [one.yaml]\n"
        found = problems(tmp_path, HEAD + "extends: [one.yaml]\n", one=one, other=other)
        assert "do two extend each other?" in found[0]

    def test_a_mistake_in_a_base_names_the_base(self, tmp_path: Path) -> None:
        found = problems(tmp_path, HEAD + "extends: [base.yaml]\n", base="belljar: 1\nlimit: {}\n")
        assert found[0].startswith("base.yaml:2:1: unknown key limit")

    def test_built_in_ones(self, tmp_path: Path) -> None:
        manifest = parse(tmp_path, HEAD + "extends: [minimal]\n").manifest
        assert [mount.path for mount in manifest.mounts] == ["/tmp"]

    def test_places_of_mounts_survive_merging(self, tmp_path: Path) -> None:
        parsed = parse(tmp_path, HEAD + "extends: [minimal]\nmounts:\n  - {type: tmpfs, path: /x}\n")
        assert parsed.place_of_mount("/x").endswith("m.yaml:6:5")
        assert parsed.place_of_mount("/tmp").startswith("built-in minimal:")


class TestVariables:
    def test_they_are_filled_in_everywhere(self, tmp_path: Path) -> None:
        text = (
            HEAD + "environment: {set: {WHERE: '${manifest_dir}/x', PLAIN: '$${home}'}}\nworking_directory: ${home}\n"
        )
        manifest = parse(tmp_path, text).manifest
        assert manifest.environment.set == {"WHERE": f"{tmp_path}/x", "PLAIN": "${home}"}
        assert manifest.working_directory == os.path.expanduser("~")

    def test_an_environment_that_is_not_active_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VIRTUAL_ENV", raising=False)
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        found = problems(tmp_path, HEAD + "working_directory: ${venv}\n")
        assert "no virtual environment is active" in found[0]


@given(st.text(alphabet=PRINTABLE, max_size=40))
@example("${")
def test_any_text_can_be_an_environment_value(text: str) -> None:
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        quoted = json.dumps(text.replace("${", "$${"), ensure_ascii=False)
        manifest = parse(Path(folder), HEAD + f"environment: {{set: {{X: {quoted}}}}}\n").manifest
        assert manifest.environment.set == {"X": text}

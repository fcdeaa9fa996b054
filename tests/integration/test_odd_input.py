"""Bad input of any kind: a clear error and the promised exit code; never a traceback, never a hang."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar

HEAD = "belljar: 1\nname: m\nprograms: [/bin/true]\nargv: [/bin/true]\n"
SLEEP_S = 2.1  # until stamps are old enough to be believed


def plain(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("content", "mode", "code", "said"),
    [
        (b"#!\n", 0o755, 126, "is neither an ELF program nor a script"),
        (b"#! \t \n", 0o755, 126, "is neither an ELF program nor a script"),
        (b"", 0o755, 126, "is neither an ELF program nor a script"),
        (b"\x7fELF", 0o755, 126, "cannot be executed"),
        (b"#!/no/such/interpreter\n", 0o755, 127, "no such"),
        (b"#!/bin/sh\n", 0o644, 126, "is not executable"),
    ],
)
def test_odd_programs(belljar: Belljar, content: bytes, mode: int, code: int, said: str) -> None:
    program = belljar.folder / "prog"
    program.write_bytes(content)
    program.chmod(mode)
    assert said in plain(belljar("run", "--", "./prog", check=code))


def test_a_fifo_is_no_program_and_no_manifest(belljar: Belljar) -> None:
    for name in ("prog", "m.yaml"):
        os.mkfifo(belljar.folder / name, 0o755)
    assert "no regular file" in plain(belljar("run", "--", "./prog", check=126, timeout=20))
    assert "no regular file" in plain(belljar("check", "m.yaml", check=125, timeout=20))


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ('arguments: {pattern: "a{99999999999999}"}\n', "not a regular expression"),
        (f'arguments: {{pattern: "{"(" * 400}a{")" * 400}"}}\n', ""),
        ("mounts:\n  - {type: hashed, path: /a, source: ., include: ['[z-a]']}\n", ""),
        ("mounts:\n  - {type: hashed, path: /a, source: ., include: ['!']}\n", "not a .gitignore pattern"),
        ("mounts:\n  - {type: hashed, path: /a, source: ., exclude: ['*a*a*a*a*a*b']}\n", "more than 4 stars"),
        ("mounts: [" + ", ".join(f"{{type: tmpfs, path: /m{n}}}" for n in range(201)) + "]\n", "at most 200 entries"),
    ],
)
def test_odd_manifests(belljar: Belljar, rest: str, said: str) -> None:
    (belljar.folder / "m.yaml").write_text(HEAD + rest)
    for command in ("check", "run"):
        done = belljar(command, "m.yaml", check=None, timeout=30)
        plain(done)
        assert done.returncode in (0, 1, 125)
        assert said in done.stdout + done.stderr


def test_a_pattern_that_takes_for_ever_is_given_up(belljar: Belljar) -> None:
    (belljar.folder / "m.yaml").write_text(f'{HEAD}arguments: {{pattern: "(a+)+b"}}\n')
    started = time.monotonic()
    assert "takes too long" in plain(belljar("run", "m.yaml", "--", "a" * 40, check=125))
    assert time.monotonic() - started < 20


def test_manifests_that_multiply(belljar: Belljar) -> None:
    for number in range(8):
        extends = f"[{', '.join([f'm{number + 1}.yaml'] * 20)}]" if number < 7 else "[minimal]"
        (belljar.folder / f"m{number}.yaml").write_text(f"belljar: 1\nextends: {extends}\n")
    assert "and 64 in all" in belljar("check", "m0.yaml", check=1, timeout=30).stdout


@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams(belljar: Belljar, redirection: str) -> None:
    for words, code in (("run -- sh -c 'exit 7'", 7), ("--help", 0), ("measure -- /bin/true", 0)):
        done = subprocess.run(
            ["sh", "-c", f"{belljar.script} {words} {redirection}"], env=belljar.environ(), cwd=belljar.folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        plain(done)
        assert done.returncode == code


def test_output_that_cannot_be_written(belljar: Belljar) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{belljar.script} measure -- /bin/true > /dev/full"], env=belljar.environ(), cwd=belljar.folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert "No space left on device" in plain(done)


def test_arguments_that_are_no_text(belljar: Belljar) -> None:
    for _ in range(2):  # without and with a launch record
        command = [str(belljar.script).encode(), b"run", b"--", PYTHON.encode(), b"-c", b"pass", b"\xff"]
        done = subprocess.run(command, env=belljar.environ(), cwd=belljar.folder, capture_output=True, check=False)
        assert done.returncode == 125
        assert b"UTF-8" in done.stderr
        belljar.python("pass")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_help_in_any_encoding(belljar: Belljar, encoding: str) -> None:
    belljar.environment = {"PYTHONIOENCODING": encoding}
    assert belljar("--help").stdout.startswith("usage: belljar")


@pytest.mark.parametrize("descriptors", [24, 40])
def test_few_descriptors(belljar: Belljar, descriptors: int) -> None:
    belljar.python("import asyncio, ssl")
    done = subprocess.run(
        belljar.command("run", "--", PYTHON, "-c", "import asyncio, ssl"), env=belljar.environ(), cwd=belljar.folder,
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
    )  # fmt: skip
    assert "unexpected" not in done.stderr
    assert "measured" not in done.stderr, "running out of descriptors is no violation of integrity"


@pytest.mark.parametrize("name", ["a${home}b", "a$${x}", "a${foo}", 'it\'s "quoted" #no: comment'])
def test_folders_with_odd_names(belljar: Belljar, name: str) -> None:
    belljar.folder /= name
    belljar.folder.mkdir()
    assert belljar("run", "--", "pwd").stdout == f"{belljar.folder}\n"


def test_a_file_named_from_a_system_folder_is_brought_in(belljar: Belljar, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/app.py").write_text("print('at home')\n")
    belljar.folder = tmp_path / "home"
    belljar.environment = {"HOME": str(tmp_path / "home")}
    assert belljar("run", "app.py").stdout == "at home\n"
    assert belljar("run", "--", "cat", "app.py").stdout == "print('at home')\n"


class TestRecordsThatNoLongerHold:
    def test_a_link_that_points_elsewhere(self, belljar: Belljar) -> None:
        for name in "ab":
            (belljar.folder / name).write_text(f"#!/bin/sh\necho {name}\n")
            (belljar.folder / name).chmod(0o755)
        (belljar.folder / "bin").mkdir()
        (belljar.folder / "bin/tool").symlink_to("../a")
        belljar.environment = {"PATH": f"{belljar.folder}/bin:/usr/bin:/bin"}
        assert belljar("run", "--", "tool").stdout == "a\n"
        time.sleep(SLEEP_S)
        assert belljar("run", "--", "tool").stdout == "a\n"
        (belljar.folder / "bin/tool").unlink()
        (belljar.folder / "bin/tool").symlink_to("../b")
        assert belljar("run", "--", "tool").stdout == "b\n"

    def test_a_manifest_behind_a_link(self, belljar: Belljar) -> None:
        real = belljar.folder / "real.yaml"
        real.write_text("belljar: 1\nname: m\nprograms: [echo]\nargv: [echo, one]\n")
        (belljar.folder / "m.yaml").symlink_to("real.yaml")
        belljar("run", "m.yaml")
        time.sleep(SLEEP_S)
        assert belljar("run", "m.yaml").stdout == "one\n"
        real.write_text(real.read_text().replace("one", "two"))
        assert belljar("run", "m.yaml").stdout == "two\n"

    def test_a_program_relative_to_its_manifest(self, belljar: Belljar) -> None:
        for name in ("a", "b", "m"):
            (belljar.folder / name).mkdir()
            (belljar.folder / name / "prog").write_text(f"#!/bin/sh\necho {name}\n")
            (belljar.folder / name / "prog").chmod(0o755)
        (belljar.folder / "m/m.yaml").write_text("belljar: 1\nname: m\nprograms: [./prog]\nargv: [./prog]\n")
        top = belljar.folder
        for name in ("a", "b", "m"):
            belljar.folder = top / name
            assert belljar("run", str(top / "m/m.yaml")).stdout == "m\n"

    def test_a_new_file_deep_in_a_large_tree(self, belljar: Belljar) -> None:
        deep = belljar.folder / "a/b"
        deep.mkdir(parents=True)
        for number in range(1100):
            (belljar.folder / f"f{number}").touch()
        words = ("run", "--", "ls", "a/b")
        belljar(*words)
        time.sleep(SLEEP_S)
        belljar(*words)
        (deep / "new").touch()
        assert belljar(*words).stdout == "new\n"

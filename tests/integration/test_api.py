"""The Python API: create, measure, invoke with arguments, exit with a value, destroy (IEEE 2952 5.1.3 a to f)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from belljar.loader.api import Enclave, LoaderError, running
from support.running import PYTHON, Belljar
from support.source import ROOT, in_checkout

MANIFEST = """\
belljar: 1
name: sum
extends: [minimal]
programs: [{python}]
argv: [{python}, -c, "import sys; print(sum(map(int, sys.argv[1:])), sys.stdin.read()); sys.exit(len(sys.argv) - 1)"]
arguments: any
"""


@pytest.fixture(autouse=True)
def surroundings(belljar: Belljar, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in belljar.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(belljar.folder)
    Path("sum.yaml").write_text(MANIFEST.format(python=PYTHON))


def living() -> list[object]:
    return [run["name"] for run in running() if run["state"] != "ended"]


def test_a_life(belljar: Belljar) -> None:
    with Enclave("sum.yaml") as enclave:
        assert enclave.measurement.hex() in belljar("measure", "sum.yaml").stdout
        result = enclave.invoke("3", "4", stdin=b"typed")
        assert (result.value, result.reason, result.stdout) == (2, "exit", b"7 typed\n")
        assert enclave.invoke().value == 0


def test_a_command_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/data").write_text("content")
    with Enclave(command=[PYTHON, "-c", "print(open('data').read())"], folder=tmp_path / "here") as enclave:
        assert enclave.invoke().stdout == b"content\n"


def test_what_was_refused_comes_back() -> None:
    code = "import ctypes; ctypes.CDLL(None).unshare(0x20000); open('/etc/shadow')"
    with Enclave(command=[PYTHON, "-c", code]) as enclave:
        result = enclave.invoke()
    assert result.value == 1
    assert {("system-call", "unshare"), ("path", "/etc/shadow")} <= {(r.kind, r.what) for r in result.refused}


def test_leaving_destroys() -> None:
    with Enclave(command=[PYTHON, "-c", "import time; print('up', flush=True); time.sleep(60)"]) as enclave:
        invocation = enclave.start(name="long")
        assert invocation.process.stdout is not None
        assert invocation.process.stdout.readline() == b"up\n"
        assert living() == ["long"]
    deadline = time.monotonic() + 5
    while living():
        assert time.monotonic() < deadline
    assert invocation.process.returncode == -9


def test_a_time_that_is_up() -> None:
    with (
        Enclave(command=[PYTHON, "-c", "import time; time.sleep(60)"]) as enclave,
        pytest.raises(TimeoutError, match=r"did not end within 0\.5 s"),
    ):
        enclave.invoke(timeout_s=0.5)


def test_the_example_of_the_tutorial(capsys: pytest.CaptureFixture[str]) -> None:
    in_checkout()
    example = (ROOT / "docs/tutorial.md").read_text().rpartition("```python\n")[2].partition("```")[0]
    Path("count.yaml").write_text(MANIFEST.format(python=PYTHON).replace("sum(map(int, sys.argv[1:]))", "sys.argv[1]"))
    exec(example, {})  # noqa: S102 - ours
    assert "1 b'poem.txt \\n' (" in capsys.readouterr().out


@pytest.mark.parametrize(("manifest", "message"), [("no.yaml", "no such file"), ("bad.yaml", "colour")])
def test_what_cannot_run_says_why(manifest: str, message: str) -> None:
    Path("bad.yaml").write_text("belljar: 1\ncolour: blue\n")
    with Enclave(manifest) as enclave:
        with pytest.raises(LoaderError, match=f"(?i){message}"):
            enclave.invoke()
        with pytest.raises(LoaderError, match=f"(?i){message}"):
            _ = enclave.measurement


def test_neither_or_both_are_refused() -> None:
    with pytest.raises(LoaderError, match="expected one of them"):
        Enclave()
    with pytest.raises(LoaderError, match="expected one of them"):
        Enclave("sum.yaml", ["true"])

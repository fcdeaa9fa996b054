"""Host files that change while an enclave runs: never served, always told (IEEE 2952 7.1 a, Annex B b)."""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar

READER = """
    import sys, time, errno
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        print(open("data", "rb").read(10), flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    time.sleep(0.5)
    print("still here", flush=True)
"""
CONTENT = os.urandom(200_000)


class Watched:
    """A program that reads `data` when it is told to."""

    def __init__(self, belljar: Belljar, *, go_on: bool = False) -> None:
        self.data = belljar.folder / "data"
        self.content = os.urandom(200_000)  # never the same: what an earlier run read is read ahead
        self.data.write_bytes(self.content)
        (belljar.folder / "other").write_bytes(b"other")
        (belljar.folder / "reader.py").write_text(textwrap.dedent(READER))
        (belljar.folder / "m.yaml").write_text(
            f"belljar: 1\nname: reader\nextends: [minimal]\nprograms: [{PYTHON}]\nargv: [{PYTHON}, reader.py]\n"
            "mounts: [{type: hashed, path: /app, source: .}]\n"
            f"integrity: {{insecure_continue: {str(go_on).lower()}}}\n"
        )
        self.process = belljar.start("run", "m.yaml", stdin=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def read(self) -> tuple[int, str, str]:
        """Have it read; returns (exit code, stdout, stderr)."""
        out, err = self.process.communicate("go\n", timeout=30)
        return self.process.returncode, out, err


def test_an_unchanged_file_is_read(belljar: Belljar) -> None:
    watched = Watched(belljar)
    assert watched.read() == (0, f"{watched.content[:10]!r}\nstill here\n", "")


CHANGES = {
    "changed": "has changed since it was measured",
    "truncated": "is truncated",
    "removed": "was removed",
    "a link": "not a regular file",
    "a fifo": "not a regular file",
    "a folder": "not a regular file",
}


def alter(path: Path, how: str) -> None:
    if how == "changed":
        path.write_bytes(CONTENT[::-1])
        return
    if how == "truncated":
        os.truncate(path, 10)
        return
    path.unlink()
    if how == "a link":
        path.symlink_to("other")
    elif how == "a fifo":
        os.mkfifo(path)
    elif how == "a folder":
        path.mkdir()


@pytest.mark.parametrize(("how", "message"), CHANGES.items())
def test_a_change_ends_the_enclave(belljar: Belljar, how: str, message: str) -> None:
    watched = Watched(belljar)
    alter(watched.data, how)
    started = time.monotonic()
    code, out, err = watched.read()
    assert time.monotonic() - started < 10
    assert code == 125
    assert "still here" not in out
    assert err.startswith("belljar: error: /app/data: ")
    assert message in err
    assert f"(host file {watched.data})" in err


def test_a_manifest_can_let_it_go_on(belljar: Belljar) -> None:
    watched = Watched(belljar, go_on=True)
    alter(watched.data, "changed")
    assert watched.read()[:2] == (0, "EIO\nstill here\n")


def test_the_next_run_measures_again(belljar: Belljar) -> None:
    watched = Watched(belljar)
    alter(watched.data, "changed")
    assert watched.read()[0] == 125
    belljar.folder.joinpath("reader.py").write_text("print(open('data', 'rb').read() != b'')")
    assert belljar("run", "m.yaml").stdout == "True\n"


def test_what_is_in_the_page_cache_was_verified(belljar: Belljar) -> None:
    """A file that was read and then changed on the host is still what was measured, for who reads it again."""
    code = """
    import sys
    first = open("data", "rb").read()
    print("ready", flush=True)
    sys.stdin.readline()
    print(open("data", "rb").read() == first)
    """
    (belljar.folder / "data").write_bytes(CONTENT)
    process = belljar.start("run", "--", PYTHON, "-c", textwrap.dedent(code), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (belljar.folder / "data").write_bytes(CONTENT[::-1])
    assert process.communicate("go\n", timeout=30)[0] == "True\n"


def test_a_mapped_file_that_changed_is_a_bus_error(belljar: Belljar) -> None:
    code = """
    import mmap, sys
    data = open("data", "rb")
    m = mmap.mmap(data.fileno(), 0, prot=mmap.PROT_READ)
    print("ready", flush=True)
    sys.stdin.readline()
    print(m[150_000], flush=True)
    """
    (belljar.folder / "data").write_bytes(CONTENT)
    process = belljar.start("run", "--", PYTHON, "-c", textwrap.dedent(code), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (belljar.folder / "data").write_bytes(CONTENT[::-1])
    out, err = process.communicate("go\n", timeout=30)
    assert out == ""
    assert process.returncode == 125
    assert "data: has changed since it was measured" in err


def test_a_damaged_index_is_noticed(belljar: Belljar, tmp_path: Path) -> None:
    belljar.cache = tmp_path / "cache"
    belljar.python("pass")
    time.sleep(2.1)
    belljar.python("pass")
    newest = max(belljar.cache.glob("belljar/1/index-*"), key=lambda path: path.stat().st_size)
    content = newest.read_bytes()
    damaged = bytearray(content)
    damaged[100] ^= 1
    newest.write_bytes(damaged)
    try:
        done = belljar.python("pass", check=125)
        assert "index is not the measured one" in done.stderr
        assert "run again with --fresh" in done.stderr
        assert belljar("run", "--fresh", "--", PYTHON, "-c", "print(1)").stdout == "1\n"
    finally:
        newest.write_bytes(content)

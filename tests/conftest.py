"""Fixtures of all tests, and the check that they leave nothing behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.running import Belljar

_SETTLE_S = 5.0


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session: the interpreter's tree is hashed once."""
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o700)
    return folder


@pytest.fixture
def belljar(cache: Path, tmp_path: Path) -> Belljar:
    """Belljar, run in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Belljar(cache=cache, folder=folder)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test may leave a mount, a process, a cgroup or a descriptor."""
    before = _traces()
    yield
    deadline = time.monotonic() + _SETTLE_S
    while (left := _traces() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"left behind: {sorted(left)}"


def _traces() -> set[str]:
    mounts = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    groups = {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("**/belljar-*")}
    return mounts | groups | _processes()


def _processes() -> set[str]:
    found: set[str] = set()
    for entry in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes() if entry.isdecimal() else b""
        except OSError:
            continue
        if b"belljar" in words and b"pytest" not in words and int(entry) != os.getpid():
            found.add(f"process {entry} {words.replace(bytes(1), b' ').decode(errors='replace')[:100]}")
    return found

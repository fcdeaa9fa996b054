"""Fixtures of all tests, and the check that they leave nothing behind."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.running import PYTHON, SESSION_MARK, Belljar
from support.source import HOUSES, ROOT
from support.users import ORDINARY_ID, ordinary_prefix

_SETTLE_S = 5.0

settings.register_profile("belljar", deadline=None)  # no test asserts how long something takes
settings.load_profile("belljar")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the checkout once, before any worker starts.

    Enclaves that tests measure may have it on their interpreter's path: the first import of a module would change
    what another test has just measured.
    """
    if not hasattr(config, "workerinput"):
        for house in HOUSES:
            compileall.compile_dir(ROOT / house, quiet=2)


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
    return Belljar(cache=cache, folder=folder, environment={"XDG_STATE_HOME": str(tmp_path / "state")})


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The console script of a wheel, installed in a clean environment that every user can read."""
    wheel = os.environ.get("BELLJAR_WHEEL") or _built_wheel(tmp_path_factory.mktemp("wheel"))
    with tempfile.TemporaryDirectory(prefix="belljar-installed-") as name:
        Path(name).chmod(0o755)
        made = subprocess.run([PYTHON, "-m", "venv", f"{name}/venv"], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"{PYTHON} -m venv does not work here: {made.stdout[-200:]}")
        pip = [f"{name}/venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, wheel], check=True, capture_output=True)
        yield Path(name, "venv/bin/belljar")


def _built_wheel(folder: Path) -> str:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return str(next(folder.glob("*.whl")))


@pytest.fixture(scope="session")
def ordinary_home() -> Iterator[Path]:
    """A folder that an ordinary user owns, with a fuse device that user may open."""
    with tempfile.TemporaryDirectory(prefix="belljar-user-") as name:
        home = Path(name)
        home.chmod(0o755)
        (home / "cache").mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.mknod(home / "fuse", 0o020666, os.stat("/dev/fuse").st_rdev)
            (home / "fuse").chmod(0o666)
            os.chown(home / "cache", ORDINARY_ID, ORDINARY_ID)
        elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("this user may not open /dev/fuse (as root, the tests give themselves a device of their own)")
        yield home


@pytest.fixture
def ordinary(ordinary_home: Path, installed: Path) -> Iterator[Belljar]:
    """Belljar as installed from its wheel, run by an ordinary user in a folder of theirs."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=ordinary_home) as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, ORDINARY_ID, ORDINARY_ID)
        user = Belljar(
            cache=ordinary_home / "cache",
            folder=folder,
            environment={"HOME": str(ordinary_home), "XDG_STATE_HOME": f"{ordinary_home}/cache/{folder.name}"},
            prefix=ordinary_prefix(str(ordinary_home / "fuse")),
            script=installed,
        )
        probe = user("measure", "--", "/bin/sh", check=None)
        if probe.returncode:
            pytest.skip(f"an ordinary user cannot run {installed}: {probe.stderr.strip()[-200:]}")
        yield user


@pytest.fixture(params=["root", "user"])
def anybody(request: pytest.FixtureRequest) -> Belljar:
    """Belljar, run by root and by an ordinary user in turn."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("not root")
    found: Belljar = request.getfixturevalue("belljar" if request.param == "root" else "ordinary")
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test may leave a mount, a process or a cgroup; other people's enclaves on this machine do not count."""
    before = _traces()
    yield
    deadline = time.monotonic() + _SETTLE_S
    while (left := _traces() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"left behind: {sorted(left)}"


def _traces() -> set[str]:
    mounts = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    groups = Path("/sys/fs/cgroup").glob("**/belljar-*")
    orphans = {f"cgroup {path}" for path in groups if not Path("/proc", path.name.partition("-")[2]).exists()}
    return mounts | orphans | _processes()


def _processes() -> set[str]:
    """Return the processes that carry this session's mark in the environment they were started with."""
    found: set[str] = set()
    for entry in os.listdir("/proc"):
        try:
            ours = entry.isdecimal() and f"{SESSION_MARK}\0".encode() in Path(f"/proc/{entry}/environ").read_bytes()
            words = Path(f"/proc/{entry}/cmdline").read_bytes() if ours else b""
        except OSError:
            continue
        if ours:
            found.add(f"process {entry} {words.replace(bytes(1), b' ').decode(errors='replace')[:100]}")
    return found

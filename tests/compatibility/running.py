"""Run a module of CPython's tests on each side: outside, as an ordinary user, and inside of an enclave.

Both sides get the same interpreter at the same path, the same environment, an empty scratch folder in memory, no
standard input, and none of the resources that `-u` would allow (network, large files, …).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from support.running import SCRIPT, SESSION_MARK

from .comparing import Comparison, Explanation, compare
from .packages import Packages
from .results import Run, read_junit

MANIFEST = Path(__file__).with_name("cpython.yaml")
_NOBODY = 65534  # an ordinary user with an entry in /etc/passwd, which tests of `pwd` and of homes want
_TEST_TIMEOUT_S = 600
_PATIENCE_S = 1900
_SEARCHED = "/usr/bin:/bin"
_DEFAULT_SIGNALS = ("env", "--default-signal")  # a shell's background job ignores SIGINT, and so would every test
_IF_THERE = ("zip", "unzip")  # programs that some tests use, and that not every Debian has


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Runs tests on the host."""

    packages: Packages

    def run(self, module: str, selection: Sequence[str] = ()) -> Run:
        """Run a module; `selection` are more words for `python -m test`."""
        with tempfile.TemporaryDirectory(prefix="belljar-cpython-", dir=_memory()) as name:
            folder = Path(name)
            if os.geteuid() == 0:
                os.chown(folder, _NOBODY, _NOBODY)
            environment = {"HOME": name, "TMPDIR": name, "LANG": "C.UTF-8", "PATH": _SEARCHED}
            words = [*_DEFAULT_SIGNALS, *_as_ordinary(), str(self.packages.programs / "python3"), "-m", "test"]
            return _run([*words, *_words(module, selection, folder)], folder, folder, environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """Runs tests in an enclave.

    Attributes:
        cache: where belljar keeps what it measured.
    """

    packages: Packages
    cache: Path

    def run(self, module: str, selection: Sequence[str] = ()) -> Run:
        """Run a module; `selection` are more words for `python -m test`."""
        with tempfile.TemporaryDirectory(prefix="belljar-cpython-") as name:
            folder = Path(name)
            (folder / "results").mkdir()
            (folder / "app.yaml").write_text(_manifest(self.packages))
            mark, _, value = SESSION_MARK.partition("=")
            searched = f"{self.packages.programs}:{_SEARCHED}"
            environment = {"PATH": searched, "HOME": name, "XDG_CACHE_HOME": str(self.cache), mark: value}
            environment["BELLJAR_RUNTIME_DIR"] = f"{name}/runs"
            words = [*_DEFAULT_SIGNALS, str(SCRIPT), "run", "app.yaml", "--"]
            results = folder / "results"
            return _run([*words, *_words(module, selection, Path("/results"))], folder, results, environment)


def compare_sides(
    module: str, outside: Outside, inside: Inside, table: tuple[Explanation, ...], *, attempts: int
) -> Comparison:
    """Run a module on both sides and compare; again while that does not hold, for tests that hang on the load."""
    found = compare(module, outside.run(module), inside.run(module), table)
    for attempt in range(2, attempts + 1):
        if not found.holds:
            found = compare(module, outside.run(module), inside.run(module), table)
            found = replace(found, attempts=attempt)
    return found


def _manifest(packages: Packages) -> str:
    """Return the manifest with what differs between machines and runs."""
    programs = [path for path in map(shutil.which, _IF_THERE) if path]
    return f"""\
belljar: 1
name: cpython-tests
extends: [{MANIFEST}]
argv: ["${{python}}", -m, test]
programs: [{", ".join(programs)}]
mounts:
  # The library also where the interpreter was built for: it looks there when it is started under another name.
  - {{type: hashed, path: /usr/lib/python3.11, source: {packages.library}}}
  - {{type: host, path: /results, source: results, writable: true}}
"""


def _memory() -> str | None:
    """Return a folder on an executable tmpfs, as the enclave's scratch space is one; None, for any other, without."""
    shared = "/dev/shm"
    usable = os.access(shared, os.W_OK | os.X_OK) and not os.statvfs(shared).f_flag & os.ST_NOEXEC
    return shared if usable else None


def _as_ordinary() -> list[str]:
    """Return words that run a command as an ordinary user."""
    become = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return become if os.geteuid() == 0 else []


def _words(module: str, selection: Sequence[str], results: Path) -> list[str]:
    limits = ["--timeout", str(_TEST_TIMEOUT_S)]
    return ["--junit-xml", f"{results}/junit.xml", *limits, *selection, module]


def _run(command: list[str], folder: Path, results: Path, environment: dict[str, str]) -> Run:
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE_S,
        check=False,
    )
    seconds = time.monotonic() - began
    tests, messages = read_junit(results / "junit.xml")
    log = done.stdout.decode(errors="replace")
    return Run(tests=tests, messages=messages, exit_code=done.returncode, seconds=seconds, log=log)

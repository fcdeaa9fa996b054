"""Run belljar as a person does: its console script, from a folder, with an environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
"""The interpreter that runs inside of enclaves: the system's, which every user can read."""

SCRIPT = Path(sys.executable).with_name("belljar")
TIMEOUT_S = 120
SESSION_MARK = f"BELLJAR_TEST_SESSION={os.getpid()}"
"""In the environment of every belljar that a test starts, so that what one leaves behind can be told from others."""

_KEPT = ("PATH", "HOME", "LANG", "TERM", "TMPDIR")


@dataclass
class Belljar:
    """Runs belljar with a cache of its own.

    Attributes:
        cache: where XDG_CACHE_HOME points.
        folder: working directory of every call.
        environment: additions to the environment.
        prefix: words before the command: `setpriv`, `unshare` …
        script: the console script.
    """

    cache: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    prefix: list[str] = field(default_factory=list[str])
    script: Path = SCRIPT

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs belljar."""
        return [*self.prefix, str(self.script), *words]

    def environ(self) -> dict[str, str]:
        """Return the environment belljar is run in."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        name, _, value = SESSION_MARK.partition("=")
        return {
            **kept,
            name: value,
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_STATE_HOME": f"{self.cache}/state",
            "BELLJAR_RUNTIME_DIR": f"{self.cache}/runs",
            **self.environment,
        }

    def __call__(
        self, *words: str, stdin: str | None = None, check: int | None = 0, timeout: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run belljar to the end; fails the test if it does not exit with `check`."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environ(),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check is not None:
            assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def python(
        self, code: str, *arguments: str, check: int | None = 0, timeout: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in an enclave."""
        return self("run", "--", PYTHON, "-c", code, *arguments, check=check, timeout=timeout)

    def start(self, *words: str, stdin: int | None = None, new_session: bool = False) -> subprocess.Popen[str]:
        """Start belljar with pipes for its output, and return the process."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=new_session,
            text=True,
        )


def has(program: str) -> bool:
    """Say whether a program is installed."""
    return shutil.which(program) is not None

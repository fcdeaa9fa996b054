"""Who is measured: the same command, natively and in several sandboxes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to run a command: the words that go before it."""

    name: str
    prefix: tuple[str, ...]

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs `words` this way."""
        return [*self.prefix, *words]


def sandboxes() -> list[Peer]:
    """Return the sandboxes that are installed and work here, from Debian's packages."""
    here = os.getcwd()
    bwrap = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--unshare-all")
    known = [
        Peer("bubblewrap", (*bwrap, "--die-with-parent", "--chdir", here)),
        Peer("runsc", ("runsc", "--network=none", "do", "--cwd", here)),
    ]
    return [peer for peer in known if shutil.which(peer.prefix[0]) and _works(peer)]


def _works(peer: Peer) -> bool:
    try:
        tried = subprocess.run(peer.command("/bin/true"), capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


@contextmanager
def belljar() -> Iterator[Peer]:
    """Install belljar from a wheel of this checkout into a clean environment, with a cache of its own."""
    with tempfile.TemporaryDirectory(prefix="belljar-bench-") as folder:
        subprocess.run([PYTHON, "-m", "venv", f"{folder}/venv"], check=True, capture_output=True)
        pip = [f"{folder}/venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", str(ROOT)]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(pip, check=True, capture_output=True, env=clean)
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        yield Peer("belljar", (f"{folder}/venv/bin/belljar", "run", "--"))

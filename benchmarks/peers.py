"""Who is measured: the same command, natively and in several sandboxes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Launch:
    """One way to start belljar: a column of `warm-start`.

    Attributes:
        name: of the column.
        words: what follows `belljar`, before the command.
        resident: what follows `belljar` in a process that is there while this way is measured; empty for none.
    """

    name: str
    words: tuple[str, ...]
    resident: tuple[str, ...] = ()


LAUNCHES = (
    Launch("belljar", ("run", "--")),
    Launch("belljar, resident", ("run", "--"), resident=("serve",)),
)


@dataclass(frozen=True, slots=True)
class OciPeer(Peer):
    """A runtime of OCI bundles: the command stands in a file, so each has a bundle of its own."""

    folder: Path = Path()
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def command(self, *words: str) -> list[str]:
        """Write a bundle that runs `words` on the host's folders, read-only, and return what runs it."""
        name = f"bench-{os.getpid()}-{next(self.numbers)}"
        bundle = self.folder / name
        root = bundle / "root"
        root.mkdir(parents=True)
        for path in Path("/").iterdir():
            if path.is_symlink():
                (root / path.name).symlink_to(path.readlink())
        (bundle / "config.json").write_text(json.dumps(_oci_config(words)))
        return [*self.prefix, "run", "--bundle", str(bundle), name]


_HIDDEN = ("/proc", "/sys", "/dev", "/run", "/lost+found")


def _oci_config(words: tuple[str, ...]) -> dict[str, object]:
    tmpfs = [{"destination": path, "type": "tmpfs", "source": "tmpfs"} for path in ("/dev", "/dev/shm", "/run")]
    here = [str(path) for path in Path("/").iterdir() if path.is_dir() and not path.is_symlink()]
    shown = [
        {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
        for path in here
        if path not in _HIDDEN
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": [*words], "cwd": os.getcwd(), "noNewPrivileges": True,
            "env": ["PATH=/usr/bin:/bin"], "capabilities": {},
        },
        "root": {"path": "root"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, *tmpfs, *shown],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }  # fmt: skip


def sandboxes(folder: Path) -> tuple[list[Peer], list[str]]:
    """Return the sandboxes from Debian's packages that work here, and why the others are left out.

    Args:
        folder: where those that need files keep them; not the working directory.
    """
    here = os.getcwd()
    bwrap = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--unshare-all")
    # crun refuses cgroups of both versions side by side, so the second is taken away from it (2 to 3 ms).
    hide = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    shim = ("unshare", "-m", "sh", "-c", hide, "sh") if Path("/sys/fs/cgroup/unified").exists() else ()
    known = [
        Peer("bubblewrap", (*bwrap, "--die-with-parent", "--chdir", here)),
        OciPeer("crun", (*shim, "crun", "--cgroup-manager=disabled"), folder),
        Peer("firejail", ("firejail", "--quiet", "--noprofile", "--net=none", "--keep-var-tmp")),
        Peer("runsc", ("runsc", "--network=none", "do", "--cwd", here)),
    ]
    reasons = {peer.name: _why_not(peer) for peer in known}
    left_out = [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason]
    return [peer for peer in known if not reasons[peer.name]], left_out


def _why_not(peer: Peer) -> str:
    program = "bwrap" if peer.name == "bubblewrap" else peer.name
    if not shutil.which(program):
        return f"{program} is not installed"
    try:
        tried = subprocess.run(peer.command("/bin/true"), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it does not work here: {error}"
    said = "".join(tried.stderr.strip().splitlines()[-1:])
    return f"it does not work here: {said or tried.returncode}" if tried.returncode else ""


def environment_with(packages: str, folder: Path) -> Path:
    """Make a virtual environment of the guest's interpreter with something from PyPI in it; return its interpreter.

    Raises:
        subprocess.CalledProcessError: pip cannot install it.
    """
    # Bytecode must be there before it is measured: nobody can write it inside.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    python = folder / "bin/python"
    pip = (str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", packages)
    for command in ((PYTHON, "-m", "venv", str(folder)), pip):
        subprocess.run(command, check=True, capture_output=True, text=True, env=clean)
    return python


@contextmanager
def belljar(script: Path | None, cache: Path | None) -> Iterator[Path]:
    """Yield the console script of belljar, with a cache of its own.

    Args:
        script: one that is installed; None to install a wheel of this checkout into a clean environment.
        cache: where belljar's cache shall be; None for a new one that ends with the block.
    """
    with tempfile.TemporaryDirectory(prefix="belljar-bench-") as folder:
        os.environ["XDG_CACHE_HOME"] = str(cache or Path(folder, "cache"))
        os.environ["BELLJAR_RUNTIME_DIR"] = str(Path(folder, "runs"))
        os.environ["BELLJAR_LAUNCHER"] = "off"  # but where it is what is measured
        yield script or environment_with(str(ROOT), Path(folder, "venv")).with_name("belljar")


def launched(script: Path, launch: Launch) -> Peer:
    """Return one way to start belljar."""
    return Peer(launch.name, (str(script), *launch.words))

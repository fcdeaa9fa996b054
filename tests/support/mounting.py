"""Mount a writable tree for real, beside a tmpfs, in namespaces of their own, and run programs there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from belljar.fs.writable.server import WritableServer

from .source import ROOT

if TYPE_CHECKING:
    from belljar.fs.writable.tree import WritableTree

_TIMEOUT_S = 300
_THREADS = 2
_HOLD = """
import os, socket, sys
from belljar.libos import kernel
channel = socket.socket(fileno=int(sys.argv[1]))
kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
channel.send(b"unshared")
channel.recv(16)
kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions"
kernel.mount("belljar", sys.argv[2], "fuse.belljar", kernel.MS_NOSUID | kernel.MS_NODEV, options)
kernel.mount("tmpfs", sys.argv[3], "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
socket.send_fds(channel, [b"mounted"], [device])
os.close(device)
channel.recv(16)
"""


@dataclass
class Mounted:
    """A mounted tree and a tmpfs beside it.

    Attributes:
        holder: pid of a process in the namespaces.
        fuse: where the tree is mounted, there.
        tmpfs: where the tmpfs is mounted, there.
        failures: what the server was told of.
        violations: what the server was told of.
    """

    holder: int
    fuse: str
    tmpfs: str
    failures: list[BaseException] = field(default_factory=list[BaseException])
    violations: list[Exception] = field(default_factory=list[Exception])

    def inside(self, *words: str) -> list[str]:
        """Return words that run a command in the namespaces."""
        return ["nsenter", f"--target={self.holder}", "--user", "--mount", "--preserve-credentials", "--", *words]

    def run(self, *words: str, cwd: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces, in the folder `cwd` there."""
        command = ["sh", "-c", 'cd "$0" && exec "$@"', cwd or "/", *words]
        done = subprocess.run(
            self.inside(*command), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment()
        )
        if check:
            assert done.returncode == 0, (
                f"{words}: exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done

    def python(self, *words: str, cwd: str | None = None) -> str:
        """Run Python in the namespaces and return what it prints."""
        return self.run(sys.executable, *words, cwd=cwd).stdout


def environment() -> dict[str, str]:
    """Return the environment of programs inside: they find the tests' modules."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": "/dev/null"}


@contextmanager
def mounted(tree: WritableTree) -> Iterator[Mounted]:
    """Mount a tree until the block ends; everything in the namespaces is killed then.

    Raises:
        AssertionError: the server failed in a way that no test asked for.
    """
    with tempfile.TemporaryDirectory(prefix="belljar-mounted-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for below in ("fuse", "tmpfs"):
            (folder / below).mkdir()
        with _held(name) as (holder, device):
            shown = Mounted(holder.pid, f"{name}/fuse", f"{name}/tmpfs")
            with _served(device, tree, shown, holder):
                yield shown


@contextmanager
def _held(folder: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Mount both; yields the process that holds the namespaces, and /dev/fuse."""
    ours, theirs = socket.socketpair()
    words = [sys.executable, "-c", _HOLD, str(theirs.fileno()), f"{folder}/fuse", f"{folder}/tmpfs"]
    holder = subprocess.Popen(words, pass_fds=[theirs.fileno()])
    theirs.close()
    device = -1
    try:
        ours.settimeout(_TIMEOUT_S)
        assert ours.recv(16) == b"unshared"
        _map_ids(holder.pid)
        ours.send(b"mapped")
        _, (device,), _, _ = socket.recv_fds(ours, 16, 1)
        yield holder, device
    finally:
        if device >= 0:
            os.close(device)
        ours.close()
        holder.kill()
        holder.wait(_TIMEOUT_S)


@contextmanager
def _served(device: int, tree: WritableTree, shown: Mounted, holder: subprocess.Popen[bytes]) -> Iterator[None]:
    server = WritableServer(device, tree, on_violation=shown.violations.append, on_failure=shown.failures.append)
    threads = [threading.Thread(target=server.serve, daemon=True) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    yield
    holder.kill()  # the last one in the namespaces: the kernel writes back what it holds, and unmounts
    for thread in threads:
        thread.join(_TIMEOUT_S)
    assert not [thread for thread in threads if thread.is_alive()]
    server.close()
    assert not shown.failures


def _map_ids(pid: int) -> None:
    if os.geteuid() == 0:
        for kind in ("uid", "gid"):
            Path(f"/proc/{pid}/{kind}_map").write_text("0 0 65536")
    else:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
        Path(f"/proc/{pid}/uid_map").write_text(f"0 {os.geteuid()} 1")
        Path(f"/proc/{pid}/gid_map").write_text(f"0 {os.getegid()} 1")

"""Where a process is: what it sees and may do. A launcher serves only those who are where it is itself (proc(5)).

In comes a pid; out comes a value to compare. Somebody in another mount namespace means other files by the same names;
somebody with fewer rights must not get more by asking. What the caller's own cgroup allows is not asked for: a run
lives in the launcher's (docs/decisions/0016-resident-launcher.md).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    Place = tuple[object, ...]

_NAMESPACES = ("mnt", "user", "pid", "net", "ipc", "uts", "time")
_STATUS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask")
_LIMITS = ("Max cpu time", "Max file size", "Max data size", "Max stack size", "Max resident set", "Max address space")


def place_of(pid: int) -> Place:
    """Return where a process is.

    Raises:
        OSError: it is not there, or does not let us look.
    """
    own = f"/proc/{pid}"
    root = os.stat(f"{own}/root")
    return (
        *(os.readlink(f"{own}/ns/{name}") for name in _NAMESPACES),
        (root.st_dev, root.st_ino),
        *(line for line in _lines(f"{own}/status") if line.startswith(_STATUS) and line.partition(":")[0] in _STATUS),
        *(line for line in _lines(f"{own}/limits") if line.startswith(_LIMITS)),
        os.getpriority(os.PRIO_PROCESS, pid),
    )


def _lines(path: str) -> list[str]:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace").splitlines()

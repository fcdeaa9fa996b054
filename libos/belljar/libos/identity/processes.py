"""Which process asks: from a number of the guest's pid namespace to a process that no later one can be taken for.

FUSE tells the number of the thread that opens a file, as the guest counts. The host's /proc tells it, too, for every
process below the enclave's init (proc_pid_status(5): NSpid). Asked once for each open.
"""

from __future__ import annotations

import os
from errno import ESRCH

from belljar.libos.interfaces import read_text
from belljar.libos.limits.watch import birth, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Process = tuple[int, str]
"""Pid on the host, and when it was started."""


def process_of(thread: int, roots: list[int]) -> Process:
    """Return the process of a thread.

    Args:
        thread: number of the thread in the guest.
        roots: host pids of the enclave's init, and of programs that joined.

    Raises:
        OSError: ESRCH, there is no such thread any more.
    """
    pids = processes(roots)
    for pid in pids:
        if _number_inside(f"/proc/{pid}/status") == thread:
            return pid, birth(pid)
    for pid in pids:
        if any(_number_inside(path) == thread for path in _threads(pid)):
            return pid, birth(pid)
    raise OSError(ESRCH, "no such process")


def _threads(pid: int) -> Iterable[str]:
    folder = f"/proc/{pid}/task"
    try:
        return [f"{folder}/{name}/status" for name in os.listdir(folder)]
    except OSError:  # ended meanwhile
        return ()


def _number_inside(path: str) -> int:
    for line in read_text(path).splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0

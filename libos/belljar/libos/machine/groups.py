"""Probes: cgroups that can hold an enclave's memory and CPU, and end all of it at once."""

from __future__ import annotations

import os
import signal

from belljar.libos.limits.cgroups import CPU, MEMORY, Cgroups, hierarchies, remove
from belljar.libos.spec import Limits

from .finding import Finding, State

_COSTS = {
    MEMORY: "a memory limit is looked at ten times a second: an enclave can be over it for as long",
    CPU: "a CPU limit is rounded up to whole CPUs, which other programs may use, too",
}
_LIMITS = {
    MEMORY: Limits(memory_bytes=64 << 20, processes=1, open_files=16, cpu_millis=None, run_time_ms=None),
    CPU: Limits(memory_bytes=None, processes=1, open_files=16, cpu_millis=500, run_time_ms=None),
}


def memory() -> Finding:
    """Limit the memory of a process by a cgroup."""
    return _limit(MEMORY)


def cpu() -> Finding:
    """Limit the CPU time of a process by a cgroup."""
    return _limit(CPU)


def _limit(controller: str) -> Finding:
    """Make a group with a limit as an enclave does, and move a process into it."""
    name = f"{controller} limit"
    groups = Cgroups()
    groups.create(f"{os.getpid()}-doctor", _LIMITS[controller])
    try:
        if controller not in groups.enforced:
            return _not_enforced(name, controller, "no cgroup can be written")
        with _Idle() as pid:
            groups.add(pid)
        return Finding(name=name, state=State.OK, found=f"the kernel keeps it, in {_parents(groups)}")
    except OSError as error:
        where = f"no process can be moved into a cgroup of {_parents(groups)}"
        return Finding(
            name=name, state=State.MISSING, found=f"{where}: {(error.strerror or str(error)).lower()}",
            cost=f"no enclave with a {controller} limit can be built", remedy=_remedy(),
        )  # fmt: skip
    finally:
        for directory in groups.directories:
            remove(directory)


def _parents(groups: Cgroups) -> str:
    return ", ".join(os.path.dirname(directory) for directory in groups.directories)


def _not_enforced(name: str, controller: str, found: str) -> Finding:
    return Finding(name=name, state=State.DEGRADED, found=found, cost=_COSTS[controller], remedy=_remedy())


def _remedy() -> str:
    if os.geteuid() == 0:
        return "as root of the host: mount -o remount,rw /sys/fs/cgroup; a container: start it with --privileged"
    return "systemd-run --user --scope -p Delegate=yes belljar run …"


class _Idle:
    """A process that does nothing, and has ended when the block has."""

    def __init__(self) -> None:
        self._pid = 0

    def __enter__(self) -> int:
        self._pid = os.fork()
        if self._pid == 0:
            signal.alarm(_LONGEST_S)
            signal.pause()
            os._exit(0)
        return self._pid

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


_LONGEST_S = 10


def kill() -> Finding:
    """See whether a group of ours has `cgroup.kill`."""
    name = "cgroup.kill"
    own = hierarchies().get("")
    if own is None:
        return Finding(name=name, state=State.DEGRADED, found="no cgroup version 2 is mounted", cost=_ONE_WAY)
    directory = os.path.join(own, f"belljar-{os.getpid()}-doctor")
    try:
        os.mkdir(directory)
    except OSError as error:
        found = f"no group can be made in {own}: {(error.strerror or str(error)).lower()}"
        return Finding(name=name, state=State.DEGRADED, found=found, cost=_ONE_WAY, remedy=_remedy())
    try:
        if os.path.exists(os.path.join(directory, "cgroup.kill")):
            return Finding(name=name, state=State.OK, found=f"there, in {own}")
    finally:
        remove(directory)
    return Finding(name=name, state=State.MISSING, found=f"not in {own}", cost=_ONE_WAY, remedy="Linux 5.14 or newer")


_ONE_WAY = "nothing yet: the end of an enclave is held by its pid namespace and by death signals"

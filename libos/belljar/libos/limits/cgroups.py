"""Put an enclave into cgroups of its own: version 2, version 1, or both side by side, as the machine has them.

In come limits and a name; out comes a `Cgroups` that knows which limits the kernel now enforces, counts the processes
it killed for memory, and lists what has to be removed in the end. What cannot be written is left to `watch.py`; the
number of processes needs no cgroup, RLIMIT_NPROC counts them per enclave.
Interfaces: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import os

from belljar.libos.interfaces import read_text, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.libos.spec import Limits

    Settings = Callable[[str, int], list[tuple[str, str]]]

PREFIX = "belljar-"
MEMORY = "memory"
CPU = "cpu"
_PERIOD_US = 100_000
_V2 = ""  # the unified hierarchy has no name in /proc/self/cgroup


class Cgroups:
    """The cgroups of one enclave.

    Args:
        tell: told of every directory before it is made.

    Attributes:
        enforced: controllers whose limit the kernel enforces: "memory", "cpu".
        directories: what has to be removed in the end.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self.enforced: set[str] = set()
        self.directories: list[str] = []
        self._memory_usage: str | None = None
        self._memory_events: str | None = None

    def create(self, name: str, limits: Limits) -> None:
        """Make the directories and set the limits, as far as this machine lets us.

        Args:
            name: unique on this machine.
            limits: what to enforce; limits that are None need no cgroup.
        """
        wanted = {MEMORY: limits.memory_bytes, CPU: limits.cpu_millis}
        found = None
        for controller, value in wanted.items():
            if value is None:
                continue
            found = found or hierarchies()
            if controller in found:
                self._try(_v1_settings, found[controller], name, controller, value)
            elif _V2 in found:
                self._try_v2(found[_V2], name, controller, value)

    def _try_v2(self, own: str, name: str, controller: str, value: int) -> None:
        """Try our own group, then the one above: a group with processes may not hand controllers down."""
        for parent in (own, os.path.dirname(own)):
            if _hands_down(parent, controller):
                self._try(_v2_settings, parent, name, controller, value)
            if controller in self.enforced:
                return

    def _try(self, settings: Settings, parent: str, name: str, controller: str, value: int) -> None:
        directory = os.path.join(parent, PREFIX + name)
        try:
            if directory not in self.directories:
                sweep(parent)
                if self._tell is not None:
                    self._tell(directory)
                os.mkdir(directory)
                self.directories.append(directory)
            for file, text in settings(controller, value):
                write_text(os.path.join(directory, file), text)
        except OSError:  # no permission, no such controller: somebody else has to enforce it
            return
        self.enforced.add(controller)
        if controller == MEMORY:
            v1 = settings is _v1_settings
            self._memory_usage = os.path.join(directory, "memory.usage_in_bytes" if v1 else "memory.current")
            self._memory_events = os.path.join(directory, "memory.oom_control" if v1 else "memory.events")

    def add(self, process: int) -> None:
        """Move a process, and so its future children, into the cgroups.

        Raises:
            OSError: the kernel refused.
        """
        for directory in self.directories:
            write_text(os.path.join(directory, "cgroup.procs"), str(process))

    def memory_kills(self) -> int:
        """Return how many processes the kernel killed because the memory limit was reached."""
        if self._memory_events is None:
            return 0
        for line in read_text(self._memory_events).splitlines():
            key, _, count = line.partition(" ")
            if key == "oom_kill":
                return int(count)
        return 0

    def memory_used(self) -> int | None:
        """Return the bytes the enclave uses, or None if no cgroup accounts for them."""
        used = read_text(self._memory_usage) if self._memory_usage else ""
        return int(used) if used else None


def sweep(parent: str) -> None:
    """Remove empty groups of enclaves whose supervisor and warden both died before they could."""
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in names:
        pid = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            remove(os.path.join(parent, name))


def remove(directory: str) -> bool:
    """Remove an empty group; say whether it is gone."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _v1_settings(controller: str, value: int) -> list[tuple[str, str]]:
    if controller == MEMORY:
        return [("memory.limit_in_bytes", str(value))]
    return [("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", str(value * _PERIOD_US // 1000))]


def _v2_settings(controller: str, value: int) -> list[tuple[str, str]]:
    if controller == MEMORY:
        return [("memory.max", str(value)), ("memory.swap.max", "0")]
    return [("cpu.max", f"{value * _PERIOD_US // 1000} {_PERIOD_US}")]


def _hands_down(parent: str, controller: str) -> bool:
    """Say whether children of a version 2 group get a controller; ask for it if they do not yet."""
    control = os.path.join(parent, "cgroup.subtree_control")
    if controller in read_text(control).split():
        return True
    if controller not in read_text(os.path.join(parent, "cgroup.controllers")).split():
        return False
    try:
        write_text(control, f"+{controller}")
    except OSError:
        return False
    return True


def hierarchies() -> dict[str, str]:
    """Return controller -> directory of our own group; the unified hierarchy has the name ""."""
    own: dict[str, str] = {}
    for line in read_text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    found: dict[str, str] = {}
    for line in read_text("/proc/self/mountinfo").splitlines():
        fields, _, super_ = line.partition(" - ")
        root, place = fields.split(" ")[3:5]
        kind, _, options = super_.split(" ", 2)
        names = {"cgroup2": [_V2], "cgroup": options.split(",")}.get(kind, [])
        for name in names:
            if name in own:
                below = own[name].removeprefix(root.rstrip("/")) if own[name].startswith(root) else ""
                found[name] = os.path.join(place, below.lstrip("/")).rstrip("/")
    return found

"""The machine as the guest sees it: /proc/meminfo, cpuinfo, stat, loadavg, uptime, swaps and /sys/devices/system/cpu.

In come the limits and a way to look at the enclave; out comes path -> function that makes the content when the file is
opened. Consistent with the limits, so that a program sizes its pools and buffers for what it really gets.
"""

from __future__ import annotations

import os
import time

from belljar.libos.interfaces import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.libos.spec import Limits

_SWAPS = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
_OVER_MINUTES = (1, 5, 15)


class Machine:
    """What is shown of the machine.

    Args:
        limits: of the enclave.
        memory_used: returns the bytes in use, or None if nobody counts.
        tasks: returns (running, all) tasks of the enclave.
    """

    def __init__(
        self, limits: Limits, *, memory_used: Callable[[], int | None], tasks: Callable[[], tuple[int, int]]
    ) -> None:
        self._limits = limits
        self._memory_used = memory_used
        self._tasks = tasks
        self._started = time.monotonic()
        self._booted = int(time.time())
        self._load = [0.0, 0.0, 0.0]
        self._load_at = self._started
        allowed = len(os.sched_getaffinity(0))
        self.cpus = allowed if limits.cpu_millis is None else max(1, min(allowed, -(-limits.cpu_millis // 1000)))

    def files(self) -> dict[str, Callable[[], bytes]]:
        """Return path below the root of the generated file system -> what makes its content."""
        online = f"0-{self.cpus - 1}\n" if self.cpus > 1 else "0\n"
        return {
            "proc/cpuinfo": self.cpuinfo,
            "proc/loadavg": self.loadavg,
            "proc/meminfo": self.meminfo,
            "proc/stat": self.stat,
            "proc/swaps": lambda: _SWAPS,
            "proc/uptime": self.uptime,
            **{f"sys/devices/system/cpu/{name}": online.encode for name in ("online", "possible", "present")},
        }

    def meminfo(self) -> bytes:
        """Return the host's table with totals cut to the limit, and no swap."""
        host = _table("/proc/meminfo")
        limit_kib = host.get("MemTotal", 0)
        if self._limits.memory_bytes is not None:
            limit_kib = min(limit_kib, self._limits.memory_bytes >> 10)
        used = self._memory_used()
        used_kib = limit_kib - host.get("MemAvailable", 0) if used is None else used >> 10
        free_kib = max(0, min(limit_kib - used_kib, host.get("MemAvailable", 0)))
        shown = {
            "MemTotal": limit_kib,
            "MemFree": free_kib,
            "MemAvailable": free_kib,
            "Buffers": 0,
            "Cached": 0,
            "SwapCached": 0,
            "SwapTotal": 0,
            "SwapFree": 0,
            "Shmem": 0,
        }
        return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in shown.items()).encode()

    def cpuinfo(self) -> bytes:
        """Return the host's description of as many processors as the enclave may use."""
        processors = read_text("/proc/cpuinfo").rstrip("\n").split("\n\n")
        return ("\n\n".join(processors[: self.cpus]) + "\n\n").encode()

    def stat(self) -> bytes:
        """Return CPU times of as many processors, and the enclave's own start and tasks."""
        lines = [
            line for line in read_text("/proc/stat").splitlines() if line.startswith("cpu") and line[3:4].isdecimal()
        ]
        lines = [f"cpu{i} {line.partition(' ')[2]}" for i, line in enumerate(lines[: self.cpus])]
        rows = [[int(value) for value in line.split()[1:]] for line in lines]
        total = " ".join(str(sum(column)) for column in zip(*rows, strict=True))
        running, tasks = self._tasks()
        head = [f"cpu  {total}", *lines, "intr 0", "ctxt 0", f"btime {self._booted}"]
        return "\n".join([*head, f"processes {tasks}", f"procs_running {running}", "procs_blocked 0", ""]).encode()

    def loadavg(self) -> bytes:
        """Return running tasks of the enclave, averaged over the times between looks at this file."""
        running, tasks = self._tasks()
        now = time.monotonic()
        elapsed, self._load_at = now - self._load_at, now
        for i, minutes in enumerate(_OVER_MINUTES):
            weight = 2.718281828459045 ** (-elapsed / (60 * minutes))
            self._load[i] = self._load[i] * weight + running * (1 - weight)
        return ("{:.2f} {:.2f} {:.2f} ".format(*self._load) + f"{running}/{tasks} {tasks}\n").encode()

    def uptime(self) -> bytes:
        """Return the age of the enclave; its CPUs count as idle."""
        age = time.monotonic() - self._started
        return f"{age:.2f} {age * self.cpus:.2f}\n".encode()


def _table(path: str) -> dict[str, int]:
    rows = (line.split(":", 1) for line in read_text(path).splitlines())
    return {name: int(value.split()[0]) for name, value in rows}

"""Door of this house to those who ask what this machine offers an enclave, and what it lacks. Cold.

Probes try what an enclave does, in processes that end, and leave nothing behind. None of them raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .interfaces import read_text
from .machine import files, filters, groups, hardware, leaks, namespaces
from .machine.finding import Finding, State

__all__ = ["Finding", "State", "examine"]

Probe = Callable[[], Finding]

PROBES: tuple[tuple[str, Probe], ...] = (
    ("Linux", hardware.linux),
    ("Python", hardware.python),
    ("user namespaces", namespaces.user_namespaces),
    ("other namespaces", namespaces.other_namespaces),
    ("own /proc", namespaces.proc),
    ("detached mounts", namespaces.detached_mounts),
    ("/dev/fuse", files.fuse_device),
    ("FUSE mount", files.fuse_mount),
    ("overlayfs", files.overlay),
    ("seccomp filter", filters.seccomp),
    ("seccomp listener", filters.listener),
    ("libseccomp", filters.libseccomp),
    ("Landlock", filters.landlock),
    ("pidfd", filters.pidfd),
    ("memory limit", groups.memory),
    ("cpu limit", groups.cpu),
    ("cgroup.kill", groups.kill),
    ("core dumps", lambda: leaks.core_pattern(read_text("/proc/sys/kernel/core_pattern"))),
    ("swap", lambda: leaks.swap(read_text("/proc/swaps"))),
    ("processes of others", lambda: leaks.hidden_processes(read_text("/proc/self/mountinfo"))),
    ("ptrace", leaks.ptrace),
    ("hardware TEE", hardware.tee),
    ("TPM", hardware.tpm),
)


def examine(probes: tuple[tuple[str, Probe], ...] = PROBES) -> Iterator[Finding]:
    """Yield what each probe found, in the order in which an enclave would miss it."""
    for name, probe in probes:
        try:
            yield probe()
        except Exception as error:  # noqa: BLE001 - a machine that is odd in one respect is examined in the others
            yield Finding(
                name=name,
                state=State.DEGRADED,
                found=f"could not be looked at: {type(error).__name__}: {error}",
                cost="not known",
            )

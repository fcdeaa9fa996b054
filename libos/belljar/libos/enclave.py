"""Door of this house: say what an enclave shall be, run it, learn how it ended (IEEE 2952 5.1.3 a, c, d, e).

On the start path: see docs/decisions/0005-start-path.md before you add an import.
"""

from __future__ import annotations

import os

from .callers import Commission, NotCommissioned, Present, shell_of
from .errors import LibosError, NameTaken, ProgramNotStarted, SandboxUnavailable
from .identity.presence import attests_here
from .interfaces import read_text
from .manner import Manner
from .outcome import (
    EXIT_BELLJAR_FAILED,
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    Outcome,
    Run,
)
from .plan.build import Host, Plan, plan_enclave
from .spec import (
    SPEC_KINDS,
    EnclaveSpec,
    GuestUser,
    HashedMount,
    HostMount,
    Identity,
    Inward,
    Limits,
    Outward,
    ScratchMount,
    Traffic,
    VolumeMount,
)
from .supervisor.refusals import Refusal
from .supervisor.terminal import terminals
from .values import Value, of_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.keeping import Credential
    from belljar.fs.serving import Warmup

    from .callers import Caller
    from .supervisor.volumes import Keys
else:  # names for type checkers only
    Caller = Keys = None

_COLD: Warmup = ((), (), ())
_IMPORTED_LATE = (
    "guest.enter",
    "hostmounts.capture",
    "identity.guest_files",
    "limits.cgroups",
    "limits.warden",
    "limits.watch",
    "runs.desk",
    "supervisor.answers",
    "supervisor.lifetime",
    "supervisor.watch",
    "supervisor.files",
    "synthetic.proc",
)
_PLAIN = Manner()

__all__ = [
    "EXIT_BELLJAR_FAILED",
    "EXIT_NOT_EXECUTABLE",
    "EXIT_NOT_FOUND",
    "SPEC_KINDS",
    "Caller",
    "Commission",
    "EnclaveSpec",
    "GuestUser",
    "HashedMount",
    "Host",
    "HostMount",
    "Identity",
    "Inward",
    "Keys",
    "LibosError",
    "Limits",
    "Manner",
    "NameTaken",
    "NotCommissioned",
    "Outcome",
    "Outward",
    "Plan",
    "ProgramNotStarted",
    "Refusal",
    "Run",
    "SandboxUnavailable",
    "ScratchMount",
    "Traffic",
    "Value",
    "VolumeMount",
    "import_everything",
    "of_plain",
    "plan_enclave",
    "plan_here",
    "run_enclave",
    "shell_of",
]


def plan_here(
    spec: EnclaveSpec,
    warmup: Warmup = _COLD,
    shown: tuple[int, ...] | None = None,
    *,
    cpus_by_affinity: int | None = None,
) -> Plan:
    """Return the steps that would build `spec` on this machine, by this user.

    Args:
        spec: what the enclave shall be.
        warmup: what an earlier run of the same trees used.
        shown: which of 0, 1 and 2 are terminals; None to look.
        cpus_by_affinity: CPUs to run on where no cgroup can enforce the limit.
    """
    cpus = sorted(os.sched_getaffinity(0))
    return plan_enclave(
        spec,
        Host(
            privileged=os.geteuid() == 0,
            uid=os.geteuid(),
            gid=os.getegid(),
            supervisor_pid=os.getpid(),
            terminals=terminals() if shown is None else shown,
            cpus_by_affinity=cpus_by_affinity,
            setup_cpu=cpus[os.getpid() % len(cpus)],
            mapped_ids=_mapped_ids(),
            attests=attests_here(spec.identity.platform),
        ),
        warmup,
    )


def _mapped_ids() -> tuple[int, int]:
    """Return (first, count) of the longest range of ids that is both of users and of groups (user_namespaces(7))."""
    ranges: list[tuple[int, int]] = []
    for name in ("uid_map", "gid_map"):
        rows = [line.split() for line in read_text(f"/proc/self/{name}").splitlines()]
        ranges.append(max(((int(first), int(count)) for first, _, count in rows), key=_count, default=(0, 0)))
    (first, many), (other, others) = ranges
    start = max(first, other)
    return start, max(0, min(first + many, other + others) - start)


def _count(ids: tuple[int, int]) -> int:
    return ids[1]


def run_enclave(
    spec: EnclaveSpec,
    warmup: Warmup = _COLD,
    manner: Manner = _PLAIN,
    caller: Caller | None = None,
    keys: Keys | None = None,
) -> Run:
    """Build the enclave, run its program to the end, and leave nothing behind.

    The process must have one thread. Standard descriptors are the program's: terminals through one of its own, anything
    else as it is.

    Args:
        spec: what the enclave shall be.
        warmup: what an earlier run of the same trees used.
        manner: what the run is called, and where its output goes.
        caller: who will say, when the enclave stands, what shall run in it, in what manner; None for us, at once.
        keys: what opens each encrypted volume that is not ephemeral.

    Raises:
        NotCommissioned: the caller does not want it.
        NameTaken: an enclave of the name that was asked for is running.
        SandboxUnavailable: the enclave could not be built; the program never ran.
        ProgramNotStarted: the program could not be executed.
    """
    from .limits.cgroups import CPU, Cgroups
    from .limits.warden import Warden
    from .supervisor.lifetime import Lifetime
    from .supervisor.streams import open_standard_descriptors

    open_standard_descriptors()
    warden = Warden()
    try:
        cgroups = Cgroups(warden.tell_group)
        cgroups.create(f"{os.getpid()}", spec.limits)
        cpu_millis = spec.limits.cpu_millis
        by_affinity = -(-cpu_millis // 1000) if cpu_millis is not None and CPU not in cgroups.enforced else None
        caller = caller or Present(spec, manner)

        def planned(wanted: EnclaveSpec, shown: tuple[int, ...]) -> Plan:
            return plan_here(wanted, warmup, shown, cpus_by_affinity=by_affinity)

        return Lifetime(spec, planned, warmup, cgroups=cgroups, caller=caller, keys=keys or _no_keys).run(warden)
    finally:
        warden.close()


def _no_keys(mount: VolumeMount) -> Credential:
    raise SandboxUnavailable(f"volume at {mount.path}: nothing was given that opens it")


def import_everything() -> None:
    """Import now what runs import when they need it: for a process whose children are to run enclaves at once."""
    for name in _IMPORTED_LATE:
        __import__(f"belljar.libos.{name}")

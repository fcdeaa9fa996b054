"""Turn what an enclave shall be into the steps that make it so. Pure: reads nothing, does nothing.

In come an `EnclaveSpec` and what this machine and this run are like; out comes a `Plan`, which can be printed, compared
in tests and executed. The order of the steps is the order of trust: mounts while we may mount, then ids, then every
privilege away, then the program.
"""

from __future__ import annotations

from belljar.libos.errors import SandboxUnavailable
from belljar.libos.values import Value, of_plain

from . import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.serving import Warmup
    from belljar.libos.spec import EnclaveSpec

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
GENERATED_PROC = ("cpuinfo", "loadavg", "meminfo", "stat", "swaps", "uptime")
KEPT_PROC = ("filesystems", "mounts", "net", "self", "sys", "sysvipc", "thread-self", "version")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a guest path
RESERVED_DIRECTORIES = ("/dev", "/proc", "/sys", "/tmp")  # noqa: S108 - guest paths; they always exist
SHM_BYTES = 256 << 20  # a limit, not a reservation; multiprocessing and torch use it

QUESTIONS = ("127.0.0.1:53", "udp:127.0.0.1:53")  # where resolvers inside ask for names

_HOST_ID_BASE = 0x70000000  # above what systemd gives to containers, below 2^31
_IDS_PER_ENCLAVE = 2
_FEWEST_IDS = 1024


class Host(Value):
    """What of the machine and of this run matters to a plan.

    Attributes:
        privileged: we are root of the initial user namespace, or at least may map any ids.
        uid: our own user id.
        gid: our own group id.
        supervisor_pid: makes the host ids of this enclave its own.
        terminals: which of 0, 1 and 2 are terminals.
        cpus_by_affinity: CPUs to run on where no cgroup can enforce the limit, or None.
        setup_cpu: the CPU that setup and file servers share.
        mapped_ids: (first, count) of the user and group ids that exist here: fewer in a container.
        attests: whether there is a root of trust for this enclave.
    """

    privileged: bool
    uid: int
    gid: int
    supervisor_pid: int
    terminals: tuple[int, ...]
    cpus_by_affinity: int | None
    setup_cpu: int
    mapped_ids: tuple[int, int]
    attests: bool = False


class IdMap(Value):
    """The lines of /proc/PID/uid_map and gid_map: (id inside, id outside, count)."""

    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]
    deny_setgroups: bool

    def describe(self) -> str:
        """Return one line for `--dry-run`."""
        shown = ", ".join(f"{inside} is host {outside}" for inside, outside, _ in self.uids)
        return f"map user ids: {shown}"


class Plan(Value):
    """Everything that will happen, in order.

    Attributes:
        namespaces: names of the namespaces that are new.
        ids: how guest ids become host ids; never host id 0.
        setup: what the enclave's init does before the program exists.
        confine: what the program's process does before it executes the program.
        execute: the last step.
        giver: what the process that made the namespaces does before it gives sockets of the guest's network to the
            gateway; empty if it ends.
    """

    namespaces: tuple[str, ...]
    ids: IdMap
    setup: tuple[steps.Step, ...]
    confine: tuple[steps.Step, ...]
    execute: steps.Execute
    giver: tuple[steps.Step, ...] = ()

    def describe(self) -> str:
        """Return the whole plan for people, a line per step."""
        lines = [f"unshare namespaces: {' '.join(self.namespaces)}", self.ids.describe()]
        if self.giver:
            lines.append("stay outside of the pid namespace, to give the gateway sockets of the guest's network:")
            lines += [f"  {step.describe()}" for step in self.giver]
        lines += [step.describe() for step in self.setup]
        lines += ["fork: pid 1 reaps and waits, pid 2 goes on:"]
        lines += [step.describe() for step in (*self.confine, self.execute)]
        return "\n".join(f"{number:3}  {line}" for number, line in enumerate(lines, 1))

    @property
    def attests(self) -> bool:
        """Whether the guest has files to ask for evidence."""
        return any(isinstance(step, steps.MountAttestation) for step in self.setup)

    @property
    def has_gateway(self) -> bool:
        """Whether anything leads in or out of the guest's network."""
        return bool(self.giver) or any(isinstance(step, steps.ListenInside) for step in self.setup)

    def with_rest(self, confine: tuple[object, ...], execute: object) -> Plan:
        """Return the same building with another program: its confinement and execution, as `Value.plain` gave them."""
        return self.replace(confine=of_plain(confine, steps.KINDS), execute=of_plain(execute, steps.KINDS))


def plan_enclave(spec: EnclaveSpec, host: Host, warmup: Warmup = ((), (), ())) -> Plan:
    """Return the steps that build and start the enclave `spec` on `host`.

    Args:
        spec: what the enclave shall be.
        host: what this machine and this run are like.
        warmup: what the last run of the same measurement used.
    """
    names = ("user", "mount", "pid", "ipc", "uts", "cgroup")
    return Plan(
        namespaces=names if spec.host_network else (*names, "net"),
        ids=_ids(spec, host),
        setup=tuple(_setup(spec, host, warmup)),
        confine=tuple(_confine(spec, host)),
        execute=steps.Execute(path=spec.executable, argv=spec.argv, environment=spec.environment),
        giver=_giver(spec, host) if spec.inward else (),
    )


def _ids(spec: EnclaveSpec, host: Host) -> IdMap:
    """Map guest root and the guest's user to host ids nobody else has; unprivileged, the one id we have."""
    user = spec.user
    if not host.privileged:
        return IdMap(uids=((user.uid, host.uid, 1),), gids=((user.gid, host.gid, 1),), deny_setgroups=True)
    base = _first_id(host)
    return IdMap(uids=_pair(user.uid, base), gids=_pair(user.gid, base), deny_setgroups=False)


def _first_id(host: Host) -> int:
    """Return the first of two ids that belong to nobody: far above all others, in a container the last it has."""
    first, count = host.mapped_ids
    base = _HOST_ID_BASE + host.supervisor_pid * _IDS_PER_ENCLAVE
    if first <= base and base + _IDS_PER_ENCLAVE <= first + count:
        return base
    if count < _FEWEST_IDS:
        raise SandboxUnavailable(
            f"only {count} user ids are mapped here, expected {_FEWEST_IDS}: none is left for an enclave",
            hint="run belljar as an ordinary user, or give the container a range of ids",
        )
    enclaves = count // 8 // _IDS_PER_ENCLAVE
    return first + count - _IDS_PER_ENCLAVE * (1 + host.supervisor_pid % enclaves)


def _pair(inside: int, base: int) -> tuple[tuple[int, int, int], ...]:
    return ((0, base, 1),) if inside == 0 else ((0, base, 1), (inside, base + 1, 1))


def _setup(spec: EnclaveSpec, host: Host, warmup: Warmup) -> list[steps.Step]:
    plan: list[steps.Step] = [
        steps.ShareCpu(cpu=host.setup_cpu),
        steps.MountHashedRoot(),
        steps.MountGenerated(),
        steps.CoverWithOverlay(),
        steps.MountProc(keep=KEPT_PROC, generated=GENERATED_PROC),
        steps.BindGenerated(source="sys", path="/sys"),
        steps.MountDevices(devices=DEVICES, shm_bytes=SHM_BYTES, folders=("attestation",) if host.attests else ()),
    ]
    if host.attests:
        plan += [steps.MountAttestation(), steps.ShowAttestation()]
    placed: list[tuple[str, steps.Step]] = [
        (m.path, steps.MountScratch(path=m.path, size_bytes=m.size_bytes, mode=m.mode, executable=m.executable))
        for m in spec.scratch
    ]
    placed += [
        (
            m.path,
            steps.AttachHostMount(
                path=m.path, source=m.source, number=number, writable=m.writable, executable=m.executable
            ),
        )
        for number, m in enumerate(spec.host)
    ]
    placed += [
        (m.path, steps.MountVolume(path=m.path, number=number, executable=m.executable))
        for number, m in enumerate(spec.volumes)
    ]
    covered = [m.path for m in spec.hashed if any(m.path.startswith(f"{path}/") for path, _ in placed)]
    if covered:
        plan.append(steps.KeepHashed(paths=tuple(covered)))
        placed += [(path, steps.ShowHashed(path=path)) for path in covered]
    plan += [step for _, step in sorted(placed, key=lambda item: item[0])]  # parents before what lies in them
    missing = [path for path in (spec.working_directory, spec.user.home) if _is_in_scratch(path, spec)]
    if missing:
        plan.append(steps.MakeDirectories(paths=tuple(missing)))
    plan += [steps.PivotRoot(), steps.SetHostName(name=spec.name)]
    if not spec.host_network:
        plan.append(steps.LoopbackUp())
    if spec.outward:
        plan.append(steps.ListenInside(places=listening_places(spec)))
    plan.append(steps.LookUpUsed(paths=warmup[0], folders=warmup[1]))
    plan.append(steps.LeaveCpu())
    return plan


def listening_places(spec: EnclaveSpec) -> tuple[str, ...]:
    """Return where the gateway listens inside: each outward place once, then, where names lead there, for questions."""
    places = tuple(dict.fromkeys(outward.guest for outward in spec.outward))
    named = any(outward.name for outward in spec.outward)
    return (*places, *(QUESTIONS if named else ()))


def _giver(spec: EnclaveSpec, host: Host) -> tuple[steps.Step, ...]:
    return (
        steps.BecomeUser(uid=spec.user.uid, gid=spec.user.gid, clear_groups=host.privileged),
        steps.NoNewPrivileges(),
        *(steps.LoadFilter(program=program, tells=False) for program in spec.filters),
    )


def _is_in_scratch(path: str, spec: EnclaveSpec) -> bool:
    """Say whether a directory lies below a scratch mount, and no other mount provides it."""
    mounts = [m.path for m in spec.hashed] + [m.path for m in spec.host]
    mounts += [m.path for m in spec.scratch] + [m.path for m in spec.volumes]
    around = max((mount for mount in mounts if f"{path}/".startswith(f"{mount.rstrip('/')}/")), key=len, default="/")
    return around != path and around in {m.path for m in spec.scratch}


def _confine(spec: EnclaveSpec, host: Host) -> list[steps.Step]:
    plan: list[steps.Step] = [
        steps.NewSession(),
        steps.LimitResources(limits=_resource_limits(spec)),
    ]
    if host.cpus_by_affinity is not None:
        plan.append(steps.LimitCpus(count=host.cpus_by_affinity))
    plan.append(steps.BecomeUser(uid=spec.user.uid, gid=spec.user.gid, clear_groups=host.privileged))
    if host.terminals:
        plan.append(steps.OpenTerminal(descriptors=host.terminals))
    plan += [
        steps.ChangeDirectory(path=spec.working_directory),
        steps.NoNewPrivileges(),
        _landlock(spec, attests=host.attests),
        # The first one lists what is allowed and what is denied by name; only one filter can have a listener.
        *(steps.LoadFilter(program=program, tells=not number) for number, program in enumerate(spec.filters)),
        steps.CloseDescriptors(),
    ]
    return plan


def _resource_limits(spec: EnclaveSpec) -> tuple[tuple[str, int], ...]:
    # No RLIMIT_AS: numpy and OpenBLAS reserve far more address space than they use.
    limits = spec.limits
    return (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", limits.open_files),
        ("RLIMIT_NPROC", limits.processes),
        ("RLIMIT_MEMLOCK", 8 << 20),
    )


def _landlock(spec: EnclaveSpec, *, attests: bool) -> steps.RestrictPaths:
    writable = ["/dev", "/proc"] + (["/sys"] if attests else [])  # there nothing but configfs-tsm can be written
    writable += [m.path for m in spec.scratch] + [m.path for m in spec.volumes]
    writable += [m.path for m in spec.host if m.writable]
    return steps.RestrictPaths(writable=tuple(writable))

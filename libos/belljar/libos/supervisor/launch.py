"""Start an enclave: fork the guest's side, give it ids and limits, serve its files, wait until the program runs.

In come the specification, the plan and the servers; out comes a `Guest`. Nothing here may wait for the guest in a way
that the guest's death does not end: every wait is on the control socket, which closes with the processes that hold it.
"""

from __future__ import annotations

import marshal
import os

from belljar.libos import control as messages
from belljar.libos.control import Control, control_pair
from belljar.libos.errors import ProgramNotStarted, SandboxUnavailable
from belljar.libos.interfaces import write_text
from belljar.libos.limits.watch import birth, children
from belljar.libos.plan.steps import ShareCpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.limits.cgroups import Cgroups
    from belljar.libos.plan.build import IdMap, Plan
    from belljar.libos.spec import EnclaveSpec

    from .files import GuestFiles
    from .terminal import CallerTerminal
    from .volumes import GuestVolumes

    Message = tuple[bytes, list[bytes], list[int]]

_HINTS = (
    ("unshare", "user namespaces are restricted here: belljar doctor says by what, and the remedy"),
    ("open /dev/fuse", "an ordinary user needs a /dev/fuse of mode 0666, as the package fuse3 sets it"),
    ("mount proc", "inside of a container the host's /proc must not be masked: belljar doctor says the remedy"),
)
_NO_WINDOW = bytes(8)


class Guest:
    """A started enclave, as the supervisor holds it.

    Attributes:
        outer: pid of the process that makes the namespaces and then init; 0 when it has ended.
        init: pid of the enclave's init, a child of ours.
        control: closes when init ends.
        program: pidfd of the program, or -1 until it has started.
        namespaces: open namespaces of the enclave, for programs that join it; mostly none.
        giver: line to who gives sockets of the guest's network, which is then `outer`; -1 if nobody does.
        listening: sockets in the guest's network that the gateway answers on.
    """

    def __init__(self, control: Control, outer: int) -> None:
        self.control = control
        self.init = 0
        self.program = -1
        self.outer = outer
        self.namespaces: list[int] = []
        self.giver = -1
        self.listening: list[int] = []
        self._callers: dict[int, str] = {}

    def end(self) -> None:
        """Kill whatever there is of the enclave, and wait until the kernel has ended all of it."""
        for pid in (self.outer, self.init):
            if pid:
                try:
                    os.kill(pid, _SIGKILL)
                except ProcessLookupError:
                    pass
                os.waitpid(pid, 0)
        self.outer = self.init = 0
        self.control.close()
        for descriptor in (*self.namespaces, *self.listening, *([self.giver] if self.giver >= 0 else [])):
            os.close(descriptor)
        self.namespaces, self.listening, self.giver = [], [], -1
        if self.program >= 0:
            os.close(self.program)
            self.program = -1

    def let_in(self, caller: int) -> None:
        """Note a process that starts a program in the enclave from outside."""
        self._callers[caller] = birth(caller)

    def roots(self) -> list[int]:
        """Return the processes that everything in the enclave is below: init, and programs that joined."""
        self._callers = {pid: born for pid, born in self._callers.items() if born and birth(pid) == born}
        doors = [door for caller in self._callers for door in children(caller)]
        joined = [program for door in doors for program in children(door)]
        return [self.init, *joined] if self.init else joined

    def outer_ended(self) -> None:
        """Reap the process that made init."""
        os.waitpid(self.outer, 0)
        self.outer = 0


_SIGKILL = 9


def fork_guest(spec: EnclaveSpec, plan: Plan) -> Guest:
    """Fork the guest's side; it waits for limits before it does anything. Call before any thread or secret exists."""
    ours, theirs = control_pair()
    outer = os.fork()
    if outer == 0:
        ours.close()
        from belljar.libos.guest.enter import Entry, enter

        enter(
            Entry(
                plan,
                theirs,
                host_mounts=() if _maps_owners(plan) else spec.host,
                enterable=spec.enterable,
                volumes=len(spec.volumes),
            )
        )
    theirs.close()
    return Guest(ours, outer)


def start(
    guest: Guest, spec: EnclaveSpec, plan: Plan, cgroups: Cgroups, files: GuestFiles, volumes: GuestVolumes | None
) -> None:
    """Lead the guest's side through its setup, until its root is served; the rest it does alone.

    Raises:
        SandboxUnavailable: a step failed; the message says which.
    """
    outer = guest.outer
    try:
        cgroups.add(outer)
    except OSError as error:
        raise SandboxUnavailable(f"cannot move the enclave into its cgroup: {error.strerror}") from error
    _send(guest, messages.GO)
    root, generated, *others = _expect(guest, messages.UNSHARED)[1]
    if plan.attests:
        files.take_attestation(others.pop())
    if volumes is not None:
        volumes.take(others)
    try:
        map_ids(outer, plan.ids)
        captured = _capture(spec, plan)
        try:
            _send(guest, messages.MAPPED, captured)
        finally:
            for descriptor in captured:
                os.close(descriptor)
        _expect(guest, messages.MOUNTED, _know_init(guest, gives=bool(plan.giver)))
    except BaseException:
        os.close(root)
        os.close(generated)
        raise
    files.serve(root, generated, init=guest.init, cpu=setup_cpu(plan))


def commission(guest: Guest, plan: Plan | None, streams: tuple[int, int, int], terminal: CallerTerminal | None) -> None:
    """Let the program start as soon as the enclave stands.

    Args:
        guest: the enclave.
        plan: what to run, if the guest's side was not forked with it; only confinement and program count.
        streams: what becomes 0, 1 and 2.
        terminal: of the caller.

    Raises:
        SandboxUnavailable: the guest's side has failed meanwhile.
    """
    rest = None if plan is None else (tuple(step.plain() for step in plan.confine), plan.execute.plain())
    shown = (None, _NO_WINDOW) if terminal is None else (terminal.attributes, terminal.window())
    file = os.memfd_create("belljar-start", os.MFD_CLOEXEC)
    try:
        os.pwrite(file, marshal.dumps((rest, shown)), 0)
        _send(guest, messages.START, [file, *streams])
    finally:
        os.close(file)


def _know_init(guest: Guest, *, gives: bool) -> Message | None:
    """Wait until outer has named init; init runs already and may speak earlier: return the worst it said."""
    early = None
    while True:
        message = guest.control.receive()
        if message[0] == messages.INIT:
            guest.init = int(message[1][0])
            guest.namespaces = message[2]
            if gives:
                guest.giver = guest.namespaces.pop()
            else:
                guest.outer_ended()
            return early
        if not message[0]:
            raise failure(*(early or message)[:2])
        if early is None or message[0] == messages.FAILED:
            early = message


def setup_cpu(plan: Plan) -> int:
    """Return the CPU that setup and file servers share."""
    return next(step.cpu for step in plan.setup if isinstance(step, ShareCpu))


def _send(guest: Guest, kind: bytes, descriptors: list[int] | None = None) -> None:
    """Send a message; if the guest's side has failed before it could read it, that is what is told."""
    try:
        guest.control.send(kind, descriptors=descriptors)
    except BrokenPipeError:
        name, fields, _ = guest.control.receive()
        raise failure(name, fields) from None


def _expect(guest: Guest, kind: bytes, early: Message | None = None) -> tuple[list[bytes], list[int]]:
    name, fields, descriptors = early or guest.control.receive()
    if name == kind:
        return fields, descriptors
    raise failure(name, fields)


def failure(name: bytes, fields: list[bytes]) -> SandboxUnavailable | ProgramNotStarted:
    """Return the error that a message of failure stands for."""
    if name == messages.NOT_EXECUTED:
        code = int(fields[0])
        return ProgramNotStarted(os.strerror(code).lower(), code=code)
    if name == messages.FAILED:
        text = fields[1].decode(errors="replace")
        hint = next((hint for start, hint in _HINTS if text.startswith(start)), None)
        return SandboxUnavailable(f"cannot build the enclave: {text}", hint=hint)
    return SandboxUnavailable("the enclave ended while it was built: its processes were killed from outside")


def _maps_owners(plan: Plan) -> bool:
    """Say whether host mounts are captured here, as root, with their owner mapped to the guest's user."""
    return not plan.ids.deny_setgroups


def map_ids(process: int, ids: IdMap) -> None:
    """Map user and group ids into the user namespace that a process has just made.

    Raises:
        SandboxUnavailable: the kernel refused.
    """
    try:
        if ids.deny_setgroups:
            write_text(f"/proc/{process}/setgroups", "deny")
        for name, rows in (("gid_map", ids.gids), ("uid_map", ids.uids)):
            write_text(f"/proc/{process}/{name}", "".join("{} {} {}\n".format(*row) for row in rows))
    except OSError as error:
        raise SandboxUnavailable(
            f"cannot map user ids: {error.strerror}", hint="belljar needs CAP_SETUID when it runs as root"
        ) from error


def _capture(spec: EnclaveSpec, plan: Plan) -> list[int]:
    if not spec.host or not _maps_owners(plan):
        return []
    from belljar.libos.hostmounts.capture import capture

    captured: list[int] = []
    for mount in spec.host:
        try:
            captured.append(capture(mount, plan.ids))
        except OSError as error:
            raise SandboxUnavailable(f"cannot bind host {mount.source}: {error.strerror}") from error
    return captured

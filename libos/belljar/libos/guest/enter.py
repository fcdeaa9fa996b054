"""The guest's side of the fork: three processes, each of which becomes the next.

    outer    new namespaces, opens /dev/fuse while it still may, waits for its ids, makes init its sibling, ends;
             with a gateway it stays, and gives it sockets (sockets.py)
    init     pid 1: takes the setup steps, starts the program, gives everything up, reaps until the program ends
    program  pid 2: takes the confinement steps, executes

None of them holds a secret: they are forked before one exists. None returns: each ends in os._exit.
"""

from __future__ import annotations

import marshal
import os
import sys
from errno import ENOENT, ENOTDIR

from belljar.libos import control as messages
from belljar.libos import kernel
from belljar.libos.hostmounts.capture import capture
from belljar.libos.interfaces import read_text, write_text
from belljar.libos.plan import steps

from . import confine, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from belljar.libos.control import Control
    from belljar.libos.plan.build import Plan
    from belljar.libos.spec import HostMount

    Terminal = tuple[list[object] | None, bytes]

_NAMESPACES = {
    "user": kernel.CLONE_NEWUSER,
    "mount": kernel.CLONE_NEWNS,
    "pid": kernel.CLONE_NEWPID,
    "net": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS,
    "cgroup": kernel.CLONE_NEWCGROUP,
}
_JOINED = ("user", "mnt", "pid_for_children", "net", "ipc", "uts", "cgroup")  # in the order join.py enters them
_OOM_SCORE = "/proc/self/oom_score_adj"
_SIGKILL = 9
_TOLD: dict[type[steps.Step], bytes] = {
    steps.MountGenerated: messages.MOUNTED,
    steps.MountAttestation: messages.ATTESTATION,
    steps.LeaveCpu: messages.SET_UP,
}
_RESET_SIGNALS = (2, 13, 25)  # SIGINT, SIGPIPE, SIGXFSZ: the ones the interpreter changed when it started
_ENDED = 125


class Entry:
    """What the guest's side needs to know.

    Args:
        plan: the steps to take.
        control: the socket to the supervisor.
        host_mounts: what to capture here, after the namespaces exist; empty if the supervisor does it.
        enterable: whether the supervisor shall have the namespaces, so that others can join them.
        volumes: how many encrypted volumes there will be.
        terminal: attributes of the caller's terminal, or None, and its `struct winsize`; told later in an enclave of
            its own.
    """

    def __init__(
        self,
        plan: Plan,
        control: Control,
        *,
        host_mounts: tuple[HostMount, ...],
        enterable: bool,
        volumes: int = 0,
        terminal: Terminal = (None, bytes(8)),
    ) -> None:
        self.plan = plan
        self.control = control
        self.host_mounts = host_mounts
        self.enterable = enterable
        self.volumes = volumes
        self.outside = confine.Outside(*terminal, self._hand_over)
        self.joins = False
        self.doing = ""
        self.oom_score = "0"

    def _hand_over(self, kind: bytes, descriptors: list[int]) -> None:
        self.control.send(kind, descriptors=descriptors)


def enter(entry: Entry) -> NoReturn:
    """Be the guest's side. Every failure is told to the supervisor as what was being done, with the errno."""
    try:
        __import__("termios")  # for confine.py, which can import nothing any more
        if entry.plan.has_gateway:
            __import__("belljar.libos.guest.sockets")
        # Once the root is the guest's, an import would bring its files into our processes: there shall be none.
        sys.meta_path.clear()
        _outer(entry)
    except BaseException as failure:  # noqa: BLE001 - a forked child must not run its parent's cleanup
        report(entry, failure)
    finally:
        os._exit(_ENDED)


def report(entry: Entry, failure: BaseException) -> None:
    """Tell the supervisor what failed, and at what."""
    code, why = 0, f"{type(failure).__name__}: {failure}"
    if isinstance(failure, OSError):
        at = "" if failure.filename is None else f" ({os.fsdecode(failure.filename)})"
        code, why = failure.errno or 0, f"{failure.strerror}{at}"
    try:
        entry.control.send(messages.FAILED, b"%d" % code, f"{entry.doing}: {why}".encode(errors="replace"))
    except OSError:  # the supervisor is gone, and so is everybody who could read it
        pass


def _outer(entry: Entry) -> None:
    entry.control.move_to(confine.CONTROL)
    kernel.close_range(confine.CONTROL + 1)  # whatever the supervisor holds is not for us
    entry.doing = "offer the enclave to the out-of-memory killer first"
    entry.oom_score = read_text(_OOM_SCORE)
    write_text(_OOM_SCORE, "1000")
    entry.doing = "wait for the supervisor"
    _expect(entry, messages.GO)
    flags = 0
    for name in entry.plan.namespaces:
        flags |= _NAMESPACES[name]
    entry.doing = f"unshare namespaces ({' '.join(entry.plan.namespaces)})"
    kernel.unshare(flags)
    # /dev/fuse may be open to root only: it must be opened before our host id changes, and after unshare, because the
    # kernel compares the opener's user namespace with the one that mounts.
    entry.doing = "open /dev/fuse"
    devices = [os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC) for _ in range(2 + entry.volumes + entry.plan.attests)]
    entry.control.send(messages.UNSHARED, descriptors=devices)
    entry.doing = "wait for the id maps"
    captured = _expect(entry, messages.MAPPED)
    for mount in entry.host_mounts:
        entry.doing = f"bind host {mount.source}"
        captured.append(capture(mount))
    entry.doing = "fork init"
    pid = kernel.fork_sibling()
    if pid:
        names = [name for name in _JOINED if name != "net" or name in entry.plan.namespaces] if entry.enterable else []
        opened = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
        _leave(entry, pid, opened)
    materials = mounts.Materials(devices[0], devices[1], devices[2:], captured, owner=_owner(entry.plan))
    materials.attestation = devices[-1]
    _init(entry, materials)


def _leave(entry: Entry, init: int, opened: list[int]) -> NoReturn:
    """Tell the supervisor of init, and end; or stay, and give it sockets."""
    if not entry.plan.giver:
        entry.control.send(messages.INIT, b"%d" % init, descriptors=opened)
        os._exit(0)
    from . import sockets  # `enter` has imported it

    ours, theirs = sockets.line()
    entry.control.send(messages.INIT, b"%d" % init, descriptors=[*opened, theirs.fileno()])
    entry.control.close()  # its end shall tell of init's
    sockets.give(ours, entry.plan.giver, entry.outside, oom_score=entry.oom_score)


def _expect(entry: Entry, kind: bytes) -> list[int]:
    name, _, descriptors = entry.control.receive()
    if name != kind:
        os._exit(_ENDED)  # the supervisor is gone or gave up, and said why itself
    return descriptors


def _owner(plan: Plan) -> tuple[int, int]:
    """Return the ids inside that setup runs as: guest root where it is mapped, else the one id there is."""
    return plan.ids.uids[0][0], plan.ids.gids[0][0]


def _init(entry: Entry, materials: mounts.Materials) -> None:
    entry.doing = "become root of the namespace"
    os.setsid()
    for number in _RESET_SIGNALS:
        kernel.restore_default_signal(number)
    if not entry.plan.ids.deny_setgroups:
        os.setgroups([])
    uid, gid = materials.owner
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # After the change of ids, which would undo both. From here on the supervisor's death is ours, and nobody inside
    # can look into our memory.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.set_name("belljar-init")
    for step in entry.plan.setup:
        entry.doing = step.describe()
        mounts.take(step, materials)
        _tell(entry.control, step, materials)
    entry.doing = "wait for the caller"
    _take_commission(entry, _expect(entry, messages.START))
    entry.doing = "fork the program"
    program = os.fork()
    if program == 0:
        become_program(entry)
    entry.doing = "start the program"
    entry.control.send(messages.STARTED, descriptors=[os.pidfd_open(program)])
    _give_up(entry)
    _reap(entry.control, program)


def _tell(control: Control, step: steps.Step, materials: mounts.Materials) -> None:
    """Tell the supervisor of a step that it waits for; if it has died meanwhile, this raises EPIPE."""
    if isinstance(step, steps.MountVolume):
        control.send(messages.VOLUME, b"%d" % step.number)
    elif isinstance(step, steps.ListenInside):
        control.send(messages.LISTENING, descriptors=materials.listening)
        for descriptor in materials.listening:
            os.close(descriptor)
    elif type(step) in _TOLD:
        control.send(_TOLD[type(step)])


def _take_commission(entry: Entry, descriptors: list[int]) -> None:
    """Learn what the caller wants: the rest of the plan, if it is another now, and the streams."""
    file, *streams = descriptors
    told = os.pread(file, os.fstat(file).st_size, 0)
    rest, shown = marshal.loads(told)  # noqa: S302 - made by our supervisor
    entry.outside.attributes, entry.outside.window = shown
    os.close(file)
    if rest is not None:
        entry.plan = entry.plan.with_rest(*rest)
    for wanted, descriptor in enumerate(streams):
        os.dup2(descriptor, wanted)
        os.close(descriptor)


def _give_up(entry: Entry) -> None:
    """Keep nothing that waiting does not need."""
    try:
        write_text(_OOM_SCORE, entry.oom_score)  # the program's processes first, so that somebody can tell
    except OSError:  # what root raised, only root may lower: the supervisor does
        pass
    entry.doing = "give up init's privileges"
    confine.drop_bounding_set()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    for descriptor in (0, 1, 2):  # a reader of our pipes must see the end when the program closes them
        os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
    kernel.close_range(confine.CONTROL + 1)


def _reap(control: Control, program: int) -> NoReturn:
    """Wait for whatever ends; when the program has ended, so do we, and the kernel ends whatever it left behind."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            control.send(messages.EXITED, b"%d" % status)
            os._exit(0)


def become_program(entry: Entry) -> NoReturn:
    """Take the confinement steps, and execute the program."""
    try:
        for step in entry.plan.confine:
            entry.doing = step.describe()
            confine.take(step, entry.outside)
        if entry.joins:  # the change of ids undid it
            kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
        entry.control.send(messages.NOT_EXECUTED, b"%d" % _execute(entry.plan.execute))
    except BaseException as failure:  # noqa: BLE001 - a forked child must not run its parent's cleanup
        report(entry, failure)
    finally:
        os._exit(_ENDED)


def _execute(execute: steps.Execute) -> int:
    """Execute the program, looked for on the PATH of its environment if it is a plain name; return the errno."""
    environment = dict(execute.environment)
    folders = [""] if "/" in execute.path else [f"{folder}/" for folder in environment.get("PATH", "").split(":")]
    code = ENOENT
    for folder in folders:
        try:
            os.execve(folder + execute.path, execute.argv, environment)  # noqa: S606 - what it is for
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                code = error.errno or 0
    return code

"""Take the confinement steps of a plan in the process that becomes the program: each takes something away.

Runs as pid 2 of the enclave. The order is the plan's; after the last step the process can only execute the program.
"""

from __future__ import annotations

import fcntl
import os
import resource

from belljar.libos import control as messages
from belljar.libos import kernel
from belljar.libos.plan import steps

from .landlock import restrict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    SendDescriptors = Callable[[bytes, list[int]], None]

_FIRST_UNKNOWN_DESCRIPTOR = 4  # 3 is the control socket, which the kernel closes on exec
CONTROL = 3
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414


class Outside:
    """What the program's process has to do with the world outside, until it executes the program.

    Args:
        attributes: of the caller's terminal, as termios.tcgetattr() gave them, or None to keep the kernel's defaults.
        window: `struct winsize` of the caller's terminal.
        send: hands descriptors to the supervisor, as a message of `control.py`.
    """

    def __init__(self, attributes: list[object] | None, window: bytes, send: SendDescriptors) -> None:
        self.attributes = attributes
        self.window = window
        self.send = send


def take(step: steps.Step, outside: Outside) -> None:
    """Take one step of the plan's confinement.

    Raises:
        OSError: the kernel refused.
    """
    _TAKE[type(step)](step, outside)


def _new_session(_step: steps.Step, _outside: Outside) -> None:
    os.setsid()


def _limit_resources(step: steps.Step, _outside: Outside) -> None:
    assert isinstance(step, steps.LimitResources)
    for name, wanted in step.limits:
        which = getattr(resource, name)
        _, hard = resource.getrlimit(which)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (value, value))


def _limit_cpus(step: steps.Step, _outside: Outside) -> None:
    assert isinstance(step, steps.LimitCpus)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: step.count])


def _become_user(step: steps.Step, _outside: Outside) -> None:
    assert isinstance(step, steps.BecomeUser)
    drop_bounding_set()
    kernel.prctl(kernel.PR_SET_SECUREBITS, kernel.SECBITS_LOCKED_DOWN)
    if step.clear_groups:
        os.setgroups([])
    os.setresgid(step.gid, step.gid, step.gid)
    os.setresuid(step.uid, step.uid, step.uid)


def drop_bounding_set() -> None:
    """Make sure that no program can ever get a capability back by being executed."""
    kernel.prctl(kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(kernel.LAST_KNOWN_CAPABILITY + 1):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL: this kernel knows no more
            return


def _open_terminal(step: steps.Step, outside: Outside) -> None:
    import termios  # loaded by `enter`, if there is a terminal at all

    assert isinstance(step, steps.OpenTerminal)
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
    number = int.from_bytes(fcntl.ioctl(master, _TIOCGPTN, bytes(4)), "little")
    slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    if outside.attributes is not None:
        termios.tcsetattr(slave, termios.TCSANOW, outside.attributes)  # type: ignore[arg-type] # as tcgetattr gave it
    fcntl.ioctl(slave, _TIOCSWINSZ, outside.window)
    outside.send(messages.TERMINAL, [master, slave])
    os.close(master)
    for descriptor in step.descriptors:
        os.dup2(slave, descriptor)


def _change_directory(step: steps.Step, _outside: Outside) -> None:
    assert isinstance(step, steps.ChangeDirectory)
    os.chdir(step.path)


def _no_new_privileges(_step: steps.Step, _outside: Outside) -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()


def _restrict_paths(step: steps.Step, _outside: Outside) -> None:
    assert isinstance(step, steps.RestrictPaths)
    restrict(step)


def _load_filter(step: steps.Step, outside: Outside) -> None:
    assert isinstance(step, steps.LoadFilter)
    if not step.tells:
        kernel.seccomp_filter(step.program)
        return
    listener = kernel.seccomp_listener(step.program)
    outside.send(messages.LISTENER, [listener])
    os.close(listener)


def _close_descriptors(_step: steps.Step, _outside: Outside) -> None:
    kernel.close_range(_FIRST_UNKNOWN_DESCRIPTOR)


_TAKE: dict[type[steps.Step], Callable[[steps.Step, Outside], None]] = {
    steps.NewSession: _new_session,
    steps.LimitResources: _limit_resources,
    steps.LimitCpus: _limit_cpus,
    steps.BecomeUser: _become_user,
    steps.OpenTerminal: _open_terminal,
    steps.ChangeDirectory: _change_directory,
    steps.NoNewPrivileges: _no_new_privileges,
    steps.RestrictPaths: _restrict_paths,
    steps.LoadFilter: _load_filter,
    steps.CloseDescriptors: _close_descriptors,
}

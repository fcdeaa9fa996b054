"""The guest's side of `belljar exec`: two processes, the second of which becomes a program of a running enclave.

    door      joins the cgroups and namespaces; waits for the program, and tells how it ended
    program   in the enclave's pid namespace: takes the same confinement steps as every program, executes

The door stands outside the pid namespace, so nobody inside can see it; when it dies, the program dies.
"""

from __future__ import annotations

import os
import sys

from belljar.libos import control as messages
from belljar.libos import kernel
from belljar.libos.interfaces import write_text

from . import confine
from .enter import become_program, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .enter import Entry

_SIGKILL = 9
_ENDED = 125


def join(entry: Entry, namespaces: tuple[int, ...], cgroups: tuple[str, ...]) -> NoReturn:
    """Be the door. Every failure is told to the other end of the control socket.

    Args:
        entry: the plan; of it only the confinement and the program are taken.
        namespaces: open, the user namespace first.
        cgroups: directories of the enclave's cgroups.
    """
    try:
        if entry.outside.attributes is not None:
            __import__("termios")  # for confine.py, which can import nothing any more
        sys.meta_path.clear()  # as in enter.py: no import may bring the guest's files into our processes
        _door(entry, namespaces, cgroups)
    except BaseException as failure:  # noqa: BLE001 - a forked child must not run its parent's cleanup
        report(entry, failure)
    finally:
        os._exit(_ENDED)


def _door(entry: Entry, namespaces: tuple[int, ...], cgroups: tuple[str, ...]) -> NoReturn:
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    for directory in cgroups:
        entry.doing = f"join the cgroup {directory}"
        write_text(f"{directory}/cgroup.procs", str(os.getpid()))
    entry.doing = "join the enclave's namespaces"
    for descriptor in namespaces:
        kernel.setns(descriptor)
        os.close(descriptor)
    entry.doing = "become root of the namespace"
    if not entry.plan.ids.deny_setgroups:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    # The change of ids undid both: the death of who asked for us is ours, and nobody may look into our memory.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    entry.control.move_to(confine.CONTROL)
    os.chdir("/")
    entry.doing = "fork the program"
    program = os.fork()
    if program == 0:
        entry.joins = True
        become_program(entry)
    entry.control.send(messages.STARTED, descriptors=[os.pidfd_open(program)])
    for descriptor in (0, 1, 2):  # a reader of our pipes must see the end when the program closes them
        os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
    _, status = os.waitpid(program, 0)
    entry.control.send(messages.EXITED, b"%d" % status)
    os._exit(0)

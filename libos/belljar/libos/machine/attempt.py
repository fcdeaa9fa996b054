"""Try in a process of its own what would change this one: it ends afterwards, and everything it made with it.

In come steps, each with a name; out comes what the kernel refused, or nothing. User ids are mapped by the parent, from
the same plan and by the same function as for an enclave, so that what works here works there.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from belljar.libos import kernel
from belljar.libos.enclave import plan_here
from belljar.libos.errors import LibosError
from belljar.libos.spec import EnclaveSpec, GuestUser, Limits
from belljar.libos.supervisor.launch import map_ids
from belljar.libos.values import Value

_PATIENCE_S = 10
_MAP = b"map"
_MAPPED = b"mapped"
_DONE = b"done"
_LARGEST = 4096
PLACE = "/tmp"  # noqa: S108 - overmounted in a namespace of the probe's own; no file is put there


class Refusal(Value):
    """What did not work.

    Attributes:
        doing: the step that failed.
        code: errno, or 0 where there was none.
        said: what the kernel or we say about it.
        hint: what to do, where whoever refused knows.
    """

    doing: str
    code: int
    said: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.doing}: {self.said}"


class Child:
    """The process of a probe, as its steps see it."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.fuse = -1

    def map_ids(self) -> None:
        """Have the parent map user ids into our new user namespace, and become its root."""
        self._line.send(_MAP)
        if self._line.recv(_LARGEST) != _MAPPED:
            os._exit(0)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


Step = tuple[str, Callable[[Child], object]]

NEW_USER: Step = ("create a user namespace", lambda _: kernel.unshare(kernel.CLONE_NEWUSER))
MAP_IDS: Step = ("map user ids", Child.map_ids)
NEW_MOUNTS: Step = ("create a mount namespace", lambda _: kernel.unshare(kernel.CLONE_NEWNS))
PRIVATE: Step = ("keep mounts private", lambda _: kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE))
NO_NEW_PRIVILEGES: Step = ("give up new privileges", lambda _: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1))


def refused(*steps: Step) -> Refusal | None:
    """Take steps in a process of its own; return the first that did not work, or None."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _take(steps, theirs)
    theirs.close()
    try:
        answer = _lead(pid, ours)
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return answer if answer is not _KILLED else Refusal(doing=steps[-1][0], code=0, said=f"killed by signal {-ended}")


_KILLED = Refusal(doing="", code=0, said="")


def _lead(pid: int, line: socket.socket) -> Refusal | None:
    """Answer the child until it says how it went."""
    while said := line.recv(_LARGEST):
        if said == _DONE:
            return None
        if said != _MAP:
            code, doing, text = said.decode(errors="replace").split("\0")
            return Refusal(doing=doing, code=int(code), said=text)
        try:
            map_ids(pid, plan_here(_smallest_enclave()).ids)
        except LibosError as error:
            return Refusal(doing=MAP_IDS[0], code=0, said=str(error), hint=error.hint or "")
        line.send(_MAPPED)
    return _KILLED


def _take(steps: tuple[Step, ...], line: socket.socket) -> None:
    doing = ""
    try:
        signal.alarm(_PATIENCE_S)
        child = Child(line)
        for step in steps:
            doing, act = step
            act(child)
        line.send(_DONE)
        signal.pause()  # to be killed: a process that ends by itself would have to be told from one that was
    except OSError as error:
        line.send(f"{error.errno or 0}\0{doing}\0{(error.strerror or str(error)).lower()}".encode())
        signal.pause()
    except BaseException as failure:  # noqa: BLE001 - a forked child must not run its parent's cleanup
        line.send(f"0\0{doing}\0{type(failure).__name__}: {failure}".encode())
        signal.pause()
    finally:
        os._exit(0)


def _smallest_enclave() -> EnclaveSpec:
    return EnclaveSpec(
        name="doctor",
        measurement=bytes(32),
        executable="/bin/true",
        argv=("true",),
        environment=(),
        working_directory="/",
        user=GuestUser(uid=0, gid=0, name="root", home="/"),
        hashed=(),
        host=(),
        scratch=(),
        volumes=(),
        limits=Limits(memory_bytes=None, processes=1, open_files=16, cpu_millis=None, run_time_ms=None),
        filters=(),
        denied=(),
        enterable=False,
        host_network=False,
        stop_on_violation=True,
    )

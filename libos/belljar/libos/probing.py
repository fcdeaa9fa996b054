"""Door of this house to those who must ask a program of the host something before it is in an enclave. Cold.

An interpreter knows best where its library is, a dynamic linker which libraries a program wants. Both are whatever a
manifest names, so what they may do while they answer is: read, compute, and write to their output. They cannot write
a file, open a socket, send a signal, or change anything of a file; Landlock and seccomp hold this, as in an enclave.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from functools import cache

from . import kernel
from .guest.landlock import restrict
from .plan.steps import RestrictPaths
from .syscalls.compile import compile_policy
from .syscalls.policy import make_policy

_CHANGES = (
    "socket connect bind listen kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal "
    "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat "
    "removexattr lremovexattr fremovexattr removexattrat utime utimes utimensat futimesat truncate "
    "shmget msgget semget mq_open setpriority sched_setscheduler sched_setattr"
)
_CPU_S = 60


def probe(command: list[str], *, patience_s: float, environment: dict[str, str] | None = None) -> str:
    """Run a command that may look, but change nothing, and return what it printed.

    Args:
        command: program and arguments.
        patience_s: how long to wait, seconds.
        environment: of the command; the caller's by default.

    Raises:
        OSError: it cannot be run, or the kernel refused to confine it.
        subprocess.SubprocessError: it failed, or took too long.
        SandboxUnavailable: libseccomp is missing.
    """
    filters = _filters()

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        restrict(RestrictPaths(writable=("/dev/null",)))
        for program in filters:
            kernel.seccomp_filter(program)

    answer = subprocess.run(  # noqa: S603 - confined, which is what this is for
        command,
        capture_output=True,
        check=True,
        cwd="/",
        env=environment,
        preexec_fn=confine,
        stdin=subprocess.DEVNULL,
        timeout=patience_s,
    )
    return answer.stdout.decode(errors="surrogateescape")


@cache
def _filters() -> tuple[bytes, ...]:
    return compile_policy(make_policy(deny=tuple(_CHANGES.split())))


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when the one that started it has ended; end now if it has already.

    Args:
        parent: pid of who started it.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)

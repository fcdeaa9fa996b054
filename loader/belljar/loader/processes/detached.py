"""`belljar run --detach`: leave the run in the background, and come back when its program has started.

The supervisor is a child in a session of its own; it tells its name through a pipe. Until then what goes wrong is said
to the caller, afterwards it is in what `belljar logs` and `belljar ps --all` show.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from belljar.libos.enclave import Manner
from belljar.loader.errors import LoaderError

Run = Callable[[Manner], int]


def run_detached(name: str | None, run: Run) -> int:
    """Have `run` done by a child, print the name of the run, and return 0, or what the child exited with.

    Args:
        name: what it shall be called, or None.
        run: runs the enclave to its end, and returns the exit code.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_supervisor(writer, name, run)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    if told:
        print(told)  # noqa: T201 - the result
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        raise LoaderError(f"the supervisor was ended by signal {-code}", hint="try again")
    return code or LoaderError.exit_code


def _be_supervisor(writer: int, name: str | None, run: Run) -> None:
    """Run the enclave, and end. Errors before the start are the caller's to see, so they are raised."""
    os.setsid()
    _lead_nowhere(0)

    def tell(name: str) -> None:
        _lead_nowhere(1)
        _lead_nowhere(2)
        os.write(writer, name.encode())
        os.close(writer)

    os._exit(run(Manner(name=name, keeps_output=True, on_started=tell)))


def _lead_nowhere(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, descriptor)
    os.close(null)

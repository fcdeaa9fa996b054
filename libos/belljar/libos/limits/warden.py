"""A process that outlives the supervisor for a moment, to remove what the kernel does not release by itself.

Processes, mounts and namespaces of an enclave end with its init, descriptors with the supervisor; the directories of
its run and of its cgroups stay. The warden is told of each before it is made, waits until the supervisor is gone,
however it went, and removes them. Killed itself, it leaves that to whoever looks next (`runs.directory.names`,
`cgroups.sweep`).
"""

from __future__ import annotations

import os
import time

from belljar.libos import kernel
from belljar.libos.runs.directory import remove_dead

from .cgroups import remove

_PATIENCE_S = 10.0  # a group is busy until its last process has been reaped
_PAUSE_S = 0.005
_MAX_DESCRIPTORS = 1 << 20
_SIGKILL = 9
_GROUP = b"g"
_RUN = b"r"


class Warden:
    """Holds the supervisor's end of the lifeline. Closing it, or dying, lets the warden do its work."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self._needed = False
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writer)
                _watch(reader)
            finally:
                os._exit(0)
        os.close(reader)

    def tell_group(self, directory: str) -> None:
        """Tell of a cgroup that is about to be made."""
        self._needed = True  # nobody else waits until it is empty
        os.write(self._writer, _GROUP + os.fsencode(directory) + b"\0")

    def tell_run(self, directory: str) -> None:
        """Tell of the directory of a run that is about to be made, or renamed."""
        os.write(self._writer, _RUN + os.fsencode(directory) + b"\0")

    def close(self) -> None:
        """Let the warden remove the cgroups now, and wait until it has; the directory of the run is gone by now."""
        if self._writer >= 0:
            if not self._needed:
                os.kill(self._pid, _SIGKILL)  # nothing to do: quicker than to let it find out
            os.close(self._writer)
            self._writer = -1
            os.waitpid(self._pid, 0)


def _watch(lifeline: int) -> None:
    kernel.set_name("belljar-warden")
    os.setsid()  # what the terminal sends to the supervisor's group is not for us
    os.dup2(lifeline, 0)
    os.closerange(1, _MAX_DESCRIPTORS)  # above all, nobody but the supervisor may hold /dev/fuse or its pipes
    told = b""
    while part := os.read(0, 1 << 16):
        told += part
    paths = told.split(b"\0")[:-1]
    for path in paths:
        if path.startswith(_RUN):
            remove_dead(os.fsdecode(path[1:]))
    groups = [os.fsdecode(path[1:]) for path in reversed(paths) if path.startswith(_GROUP)]
    deadline = time.monotonic() + _PATIENCE_S
    while (groups := [group for group in groups if not remove(group)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)

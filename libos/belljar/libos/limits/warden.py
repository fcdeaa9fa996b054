"""A process that outlives the supervisor for a moment, to remove what the kernel does not release by itself.

Processes, mounts and namespaces of an enclave end with its init, descriptors with the supervisor; the directory of the
run and those of its cgroups stay. The warden waits until the supervisor is gone, however it went, and removes them.
"""

from __future__ import annotations

import os
import time

from belljar.libos import kernel
from belljar.libos.runs.directory import is_alive
from belljar.libos.runs.directory import remove as remove_run

from .cgroups import remove

_PATIENCE_S = 10.0  # a group is busy until its last process has been reaped
_PAUSE_S = 0.005
_MAX_DESCRIPTORS = 1 << 20
_SIGKILL = 9


class Warden:
    """Holds the supervisor's end of the lifeline. Closing it, or dying, lets the warden do its work.

    Args:
        directories: of cgroups, innermost first.
        run: the open directory of the run.
        path: where that is.
    """

    def __init__(self, directories: list[str], run: int, path: str) -> None:
        self._directories = directories
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writer)
                _watch(reader, directories, run, path)
            finally:
                os._exit(0)
        os.close(reader)

    def close(self) -> None:
        """Let the warden remove the cgroups now, and wait until it has; the directory of the run is ours again."""
        if self._writer >= 0:
            if not self._directories:
                os.kill(self._pid, _SIGKILL)  # nothing to do: quicker than to let it find out
            os.close(self._writer)
            self._writer = -1
            os.waitpid(self._pid, 0)


def _watch(lifeline: int, directories: list[str], run: int, path: str) -> None:
    kernel.set_name("belljar-warden")
    os.setsid()  # what the terminal sends to the supervisor's group is not for us
    kept = os.dup(lifeline), os.dup(run)
    os.dup2(kept[0], 0)
    os.dup2(kept[1], 1)
    os.closerange(2, _MAX_DESCRIPTORS)  # above all, nobody but the supervisor may hold /dev/fuse or its pipes
    os.read(0, 1)
    if not is_alive(1):
        remove_run(1, path)
    deadline = time.monotonic() + _PATIENCE_S
    while not all(remove(directory) for directory in directories) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)

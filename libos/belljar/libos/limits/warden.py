"""A process that outlives the supervisor for a moment, to remove what the kernel does not release by itself.

Processes, mounts and namespaces of an enclave end with its init, descriptors with the supervisor; a cgroup directory
stays. The warden waits until the supervisor is gone, however it went, and removes the directories. It is forked only
when there are any.
"""

from __future__ import annotations

import os
import time

from .cgroups import remove

_PATIENCE_S = 10.0  # a group is busy until its last process has been reaped
_PAUSE_S = 0.005
_MAX_DESCRIPTORS = 1 << 20


class Warden:
    """Holds the supervisor's end of the lifeline. Closing it, or dying, lets the warden do its work.

    Args:
        directories: what to remove, innermost first.
    """

    def __init__(self, directories: list[str]) -> None:
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writer)
                _watch(reader, directories)
            finally:
                os._exit(0)
        os.close(reader)

    def close(self) -> None:
        """Let the warden remove the directories now, and wait until it has."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            os.waitpid(self._pid, 0)


def _watch(lifeline: int, directories: list[str]) -> None:
    os.setsid()  # what the terminal sends to the supervisor's group is not for us
    os.dup2(lifeline, 0)
    os.closerange(1, _MAX_DESCRIPTORS)  # above all, nobody but the supervisor may hold /dev/fuse or its pipes
    os.read(0, 1)
    deadline = time.monotonic() + _PATIENCE_S
    while not all(remove(directory) for directory in directories) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)

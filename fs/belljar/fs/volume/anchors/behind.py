"""Makes a state file durable while whoever wrote it goes on: a commit waits for its own disk, not for the anchor's.

One thread for all volumes of a process, started by the first write. Who must know asks `settle`. It never writes: a
sync that failed says nothing about what is there (fsync(2)), so the writer does both again.
"""

from __future__ import annotations

import errno
import os
from _queue import SimpleQueue
from _thread import allocate_lock, start_new_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _thread import LockType

    from .state_file import StateFile


class Syncing:
    """One sync that goes on; who can take `done` may read what it `failed` with."""

    __slots__ = ("done", "failed", "file")

    def __init__(self, file: StateFile) -> None:
        self.file = file
        self.done = allocate_lock()
        self.done.acquire()
        self.failed: OSError | None = None


class Behind:
    """Syncs files in the order in which they come; used under the lock of its owner."""

    def __init__(self) -> None:
        self._wanted: SimpleQueue[Syncing | None] = SimpleQueue()
        self._thread: LockType | None = None
        self._going: dict[StateFile, Syncing] = {}

    def sync(self, file: StateFile) -> None:
        """Begin to make durable what was written to a file; what was begun before must be settled, or have failed."""
        going = self._going[file] = Syncing(file)
        if self._thread is None and not self._start():
            _sync(going)
        else:
            self._wanted.put(going)

    def settle(self, file: StateFile) -> None:
        """Wait until what was begun is done. Raises OSError: it failed, and must be written again."""
        going = self._going.get(file)
        if going is None:
            return
        with going.done:
            if going.failed is not None:
                raise going.failed
        del self._going[file]

    def close(self) -> None:
        """End the thread, after what it has begun."""
        if self._thread is not None:
            self._wanted.put(None)
            self._thread.acquire()
            self._thread = None

    def _start(self) -> bool:
        """Start the thread; say whether there is one to be had."""
        alive = allocate_lock()
        alive.acquire()
        try:
            start_new_thread(self._serve, (alive,))
        except RuntimeError:
            return False
        self._thread = alive
        return True

    def _serve(self, alive: LockType) -> None:
        try:
            while (going := self._wanted.get()) is not None:
                _sync(going)
        finally:
            alive.release()


def _sync(going: Syncing) -> None:
    try:
        going.file.sync()
    except OSError as error:
        going.failed = error
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing is durable, and somebody waits to hear of it
        going.failed = OSError(errno.EIO, f"{os.strerror(errno.EIO)}: {error}")
    finally:
        going.done.release()

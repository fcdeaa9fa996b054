"""Keep what a detached program writes: a pipe, copied into the run's directory by a thread of the supervisor.

The guest never holds the file: it could neither fill the disk nor change what it wrote. Two files of limited size take
turns, so that the newest output is always there.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread

from belljar.libos.runs.directory import OUTPUT

_HALF_BYTES = 4 << 20  # of what is kept: at least so much of the newest
_BLOCK = 64 << 10
_DRAIN_S = 5.0  # a pipe that nobody closes any more must not keep us


class Output:
    """A pipe for standard output and error of a program.

    Attributes:
        writer: the end for the program; close it with `finish`.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._finished = allocate_lock()
        self._file = -1
        self._size = 0
        self._directory = -1

    def keep_in(self, directory: int) -> None:
        """Start copying into an open directory, which must stay open until `finish`."""
        self._directory = directory
        self._open()
        self._finished.acquire()
        start_new_thread(self._copy, ())

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(OUTPUT, flags, 0o600, dir_fd=self._directory)
        self._size = 0

    def _copy(self) -> None:
        try:
            while block := os.read(self._reader, _BLOCK):
                try:
                    self._write(block)
                except OSError:  # no space: the program must not wait for it
                    continue
        finally:
            self._finished.release()

    def _write(self, block: bytes) -> None:
        if self._size >= _HALF_BYTES:
            os.close(self._file)
            os.rename(OUTPUT, f"{OUTPUT}.1", src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._open()
        self._size += os.write(self._file, block)

    def finish(self) -> None:
        """Wait until everything that was written is kept. The program must be gone."""
        os.close(self.writer)
        if self._file >= 0 and self._finished.acquire(timeout=_DRAIN_S):
            os.close(self._file)
            os.close(self._reader)

"""Hold the address of the launcher: one per folder of runs, whoever starts first.

A lock says who that is; the kernel gives it back when its holder dies, and the socket of a dead launcher is replaced.
"""

from __future__ import annotations

import fcntl
import os
import socket

from belljar.loader.errors import LoaderError

from . import wire

_LOCK = f"{wire.ADDRESS}.lock"
_BACKLOG = 64


class Address:
    """The address, held until `close`.

    Args:
        folder: of runs.

    Attributes:
        listener: the socket that callers call, not blocking.

    Raises:
        LoaderError: a launcher is running already.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str) -> None:
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = self._locked(folder)
        self._unlink(wire.ADDRESS)
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self.listener = socket.socket(socket.AF_UNIX, kind)
        self.listener.bind(wire.path_in(self._directory))
        self.listener.listen(_BACKLOG)

    def _locked(self, folder: str) -> int:
        while True:
            lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone: children do not inherit it
            except BlockingIOError as error:
                raise LoaderError(f"a launcher is serving {folder} already", hint="belljar serve --status") from error
            try:
                if os.path.samestat(os.fstat(lock), os.stat(_LOCK, dir_fd=self._directory)):
                    return lock
            except FileNotFoundError:  # who held it has just removed it
                pass
            os.close(lock)

    def close(self) -> None:
        """Give it up, for the next launcher."""
        self.listener.close()
        self._unlink(wire.ADDRESS)
        self._unlink(_LOCK)
        os.close(self._lock)
        os.close(self._directory)

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            pass

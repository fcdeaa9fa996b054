"""Files that hold secrets: only their owner reads them, and they are whole or absent, also after a crash.

In come a folder, a name and bytes. The folder is 0700, files are 0600, both of whoever runs this; anything else is
refused with the command that mends it. A file is written beside its place, made durable, and moved there under the
folder's lock. POSIX only: elsewhere there are no owners and modes to rely on.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from belljar.attestation.errors import PlatformRefused

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = ".new"


class StateFolder:
    """A folder only its owner enters, held open. Close it when done."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def close(self) -> None:
        """Let go of the folder."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder's lock: one process at a time changes what is in it."""
        import fcntl

        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def open(self, name: str) -> int | None:
        """Return a descriptor of a file to read, or None if there is none.

        Raises:
            PlatformRefused: it is not a file of ours alone.
        """
        try:
            fd = os.open(name, os.O_RDONLY | _FLAGS | getattr(os, "O_NONBLOCK", 0), dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PlatformRefused(f"{self.path}/{name}: {os.strerror(error.errno or 0)}") from error
        try:
            _ours(f"{self.path}/{name}", os.fstat(fd), stat.S_IFREG)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def holds(self, name: str) -> bool:
        """Say whether there is something of this name, whatever it is."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, parts: Sequence[bytes | memoryview], *, replace: bool) -> None:
        """Put a file in its place, whole and durable. The lock must be held.

        Raises:
            PlatformRefused: it cannot be written, or is there already and must not be replaced.
        """
        try:
            self._write(name, parts, replace=replace)
        except OSError as error:
            raise PlatformRefused(f"{self.path}/{name}: {os.strerror(error.errno or 0)}") from error

    def _write(self, name: str, parts: Sequence[bytes | memoryview], *, replace: bool) -> None:
        self._remove(name + _NEW)  # of somebody who was killed while writing it
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        fd = os.open(name + _NEW, flags, 0o600, dir_fd=self.descriptor)
        try:
            for part in parts:
                _write_all(fd, memoryview(part))
            os.fsync(fd)
        except BaseException:
            self._remove(name + _NEW)
            raise
        finally:
            os.close(fd)
        if replace:
            os.rename(name + _NEW, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        else:
            try:
                os.link(name + _NEW, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            finally:
                self._remove(name + _NEW)
        os.fsync(self.descriptor)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return


def open_folder(path: str, *, create: bool) -> StateFolder:
    """Return a folder, made if it may be.

    Raises:
        PlatformRefused: it is missing, no folder, of somebody else, or others can enter it.
    """
    if os.name != "posix":
        raise PlatformRefused(
            "a root of trust in a file needs POSIX owners and modes", hint="verify here, attest there"
        )
    try:
        if create:
            os.makedirs(path, mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    except OSError as error:
        hint = "belljar platform init makes one" if isinstance(error, FileNotFoundError) else None
        raise PlatformRefused(f"{path}: {os.strerror(error.errno or 0)}", hint=hint) from error
    try:
        _ours(path, os.fstat(fd), stat.S_IFDIR)
    except BaseException:
        os.close(fd)
        raise
    return StateFolder(path, fd)


def _ours(path: str, found: os.stat_result, kind: int) -> None:
    """Refuse what is not of the wanted kind, of somebody else, or open to others."""
    if stat.S_IFMT(found.st_mode) != kind:
        raise PlatformRefused(f"{path}: not a {'folder' if kind == stat.S_IFDIR else 'file'}")
    if found.st_uid != os.geteuid():
        raise PlatformRefused(f"{path}: belongs to user {found.st_uid}, expected {os.geteuid()}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        wanted = "700" if kind == stat.S_IFDIR else "600"
        raise PlatformRefused(
            f"{path}: mode {stat.S_IMODE(found.st_mode):o}, expected {wanted}: others may have read it",
            hint=f"chmod {wanted} {path}; if others use this machine, belljar platform rotate as well",
        )


def _write_all(fd: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(fd, rest) :]

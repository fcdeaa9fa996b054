"""One state file: opened carefully, read whole, written a record at a time. Who may read it is checked here.

The folder and the file belong to one user and nobody else may read or write them; a link, another kind of file or
somebody else's file is refused, since whoever can write it decides which root counts as the newest.
"""

from __future__ import annotations

import os
import stat

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume import portable

from . import layout

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class StateFile:
    """An open state file.

    Args:
        path: where.
        writable: whether it is locked and may be written.

    Raises:
        FileNotFoundError: there is none.
        VolumeRefused: it is not ours alone, not a plain file, or another process writes it.
    """

    def __init__(self, path: str, *, writable: bool) -> None:
        flags = (os.O_RDWR if writable else os.O_RDONLY) | portable.BINARY_CLOEXEC | portable.NOFOLLOW
        self._descriptor = os.open(path, flags)
        self.writable = writable
        try:
            check_private(os.fstat(self._descriptor), path, folder=False)
            if writable:
                _lock(self._descriptor, path)
        except BaseException:
            self.close()
            raise

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes of the file."""
        return portable.pread(self._descriptor, size, offset)

    def pwrite(self, content: bytes, offset: int) -> None:
        """Write bytes in place."""
        portable.pwrite(self._descriptor, content, offset)

    def sync(self) -> None:
        """Make them durable."""
        portable.sync_content(self._descriptor)

    def close(self) -> None:
        """Close the file; its lock ends with it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int, path: str) -> None:
    if not portable.take_lock(descriptor):
        raise VolumeRefused(
            f"{path}: another process advances this anchor: the volume, or a copy of it, is mounted",
            hint="end the other mount: belljar ps",
        )


def create_state_file(folder: str, path: str, content: bytes) -> None:
    """Make a state file, whole or not at all; durable on return."""
    temporary = f"{path}.{os.getpid()}.new"
    if os.path.lexists(temporary):  # of a process of that number that died
        os.unlink(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | portable.BINARY_CLOEXEC | portable.NOFOLLOW
    descriptor = os.open(temporary, flags, _FILE_MODE)
    try:
        try:
            portable.pwrite(descriptor, content.ljust(layout.FILE_BYTES, b"\0"), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    portable.sync_folder(folder)


def prepare_folder(folder: str) -> None:
    """Make the folder of the state files if there is none, and check that it is ours alone.

    Raises:
        VolumeRefused: others may read or write it.
    """
    os.makedirs(folder, mode=_FOLDER_MODE, exist_ok=True)
    check_private(os.stat(folder), folder, folder=True)


def check_private(found: os.stat_result, path: str, *, folder: bool) -> None:
    """Refuse what is not ours alone; where the system knows no owners and modes, only the kind counts.

    Raises:
        VolumeRefused: it is not.
    """
    expected = stat.S_ISDIR if folder else stat.S_ISREG
    what = "folder" if folder else "file"
    if not expected(found.st_mode):
        raise VolumeRefused(f"{path}: not a plain {what}")
    if not hasattr(os, "geteuid"):
        return
    if found.st_uid != os.geteuid():
        raise VolumeRefused(f"{path}: the {what} belongs to user {found.st_uid}, expected {os.geteuid()}")
    if found.st_mode & 0o077:
        mode = f"{_FOLDER_MODE if folder else _FILE_MODE:o}"
        raise VolumeRefused(
            f"{path}: others may read or write the {what} (mode {stat.S_IMODE(found.st_mode):o}), expected {mode}",
            hint=f"chmod {mode} {path}, if you trust what is in it",
        )

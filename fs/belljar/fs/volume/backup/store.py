"""Where a repository lies: the seam, and plain folders. Other places are in `remote.py`, which needs fsspec.

Names are relative, with slashes. Writing is all or nothing under the final name, as far as the place can promise it.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from belljar.fs.errors import BackupRefused
from belljar.fs.volume import portable

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEMPORARY = ".tmp."
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | portable.BINARY_CLOEXEC


class Store(Protocol):
    """Named byte strings."""

    def read(self, name: str) -> bytes:
        """Return the content. Raises FileNotFoundError."""
        ...

    def size(self, name: str) -> int | None:
        """Return the length, or None if there is no such name."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write the content under that name, replacing what is there."""
        ...

    def publish(self, name: str, content: bytes) -> None:
        """Write as `write` does, but whole or not at all, and only once everything written before is durable."""
        ...

    def names(self) -> Iterator[str]:
        """Yield every name."""
        ...

    def remove(self, name: str) -> None:
        """Remove a name."""
        ...

    def close(self) -> None:
        """Release the lock, if the place has one."""
        ...


def open_store(place: str, *, create: bool) -> Store:
    """Return the store at a folder or URL.

    Args:
        place: a path, `file://` or any URL that fsspec knows.
        create: whether it may be made.

    Raises:
        BackupRefused: there is none, somebody else writes it, or fsspec is needed and not installed.
    """
    if "://" not in place:
        return FolderStore(place, create=create)
    parts = urlsplit(place)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise BackupRefused(f"{place}: expected file:///path")
        path = unquote(parts.path)
        return FolderStore(path[1:] if sys.platform == "win32" else path, create=create)
    from .remote import RemoteStore

    return RemoteStore(place)


class FolderStore:
    """A repository in a folder; one process at a time."""

    def __init__(self, folder: str, *, create: bool) -> None:
        self._folder = folder
        self._dirty: set[str] = set()
        self._lock = -1
        if create:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        elif not os.path.isdir(folder):
            raise BackupRefused(f"{folder}: no such backup repository")
        try:
            self._lock = os.open(os.path.join(folder, ".lock"), _LOCK_FLAGS, 0o600)
        except OSError as error:
            if create or error.errno not in (errno.EROFS, errno.EACCES):
                raise
            return  # what we cannot write, we only read
        if not portable.take_lock(self._lock):
            self.close()
            raise BackupRefused(
                f"{folder}: another backup, restore or prune works in this repository", hint="wait for it"
            )
        for name in os.listdir(folder):
            if name.startswith(_TEMPORARY):
                os.unlink(os.path.join(folder, name))

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, *name.split("/"))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with open(self._path(name), "rb") as file:
            return file.read()

    def size(self, name: str) -> int | None:
        """Return the length of a file, or None."""
        try:
            return os.stat(self._path(name)).st_size
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file: durable before it has its name, so a crash leaves no half of it."""
        path = self._path(name)
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            self._dirty.add(os.path.dirname(folder))
        temporary = os.path.join(self._folder, f"{_TEMPORARY}{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | portable.BINARY_CLOEXEC, 0o600)
        try:
            portable.pwrite(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        self._dirty.add(folder)

    def publish(self, name: str, content: bytes) -> None:
        """Write a file after the names of all before it are durable."""
        self._flush()
        self.write(name, content)
        self._flush()

    def _flush(self) -> None:
        while self._dirty:
            portable.sync_folder(self._dirty.pop())

    def names(self) -> Iterator[str]:
        """Yield the names of all files but the lock and leftovers of writes that were interrupted."""
        for folder, folders, files in os.walk(self._folder):
            folders.sort()
            below = os.path.relpath(folder, self._folder).replace(os.sep, "/")
            for file in sorted(files):
                if below == "." and (file == ".lock" or file.startswith(_TEMPORARY)):
                    continue
                yield file if below == "." else f"{below}/{file}"

    def remove(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self._path(name))

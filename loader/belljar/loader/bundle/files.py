"""Put files in place for people: whole or not at all, and never a key over another.

In come a path and bytes; out goes a file. Unlike the cache's, these are worth an fsync.
"""

from __future__ import annotations

import os

from belljar.loader.errors import LoaderError

PRIVATE = 0o600
PUBLIC = 0o666  # less the umask


def replace_file(path: str, content: bytes, mode: int = PUBLIC) -> None:
    """Put a file in place at once: readers see the old one or the new one, never a part.

    Raises:
        LoaderError: it cannot be written.
    """
    temporary = f"{path}.{os.getpid()}.new"
    try:
        _write(temporary, content, mode)
        try:
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise LoaderError(f"{path}: cannot be written: {error.strerror}") from error


def create_file(path: str, content: bytes, mode: int) -> None:
    """Make a file that must not exist yet.

    Raises:
        LoaderError: there is one, or it cannot be written.
    """
    try:
        _write(path, content, mode)
    except FileExistsError as error:
        hint = "choose another name with -o, or move the old one away"
        raise LoaderError(f"{path}: exists already, and a key is never overwritten", hint=hint) from error
    except OSError as error:
        raise LoaderError(f"{path}: cannot be written: {error.strerror}") from error


def _write(path: str, content: bytes, mode: int) -> None:
    careful = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)  # Windows has neither
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | careful, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)

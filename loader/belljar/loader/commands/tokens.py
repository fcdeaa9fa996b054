"""Files of tokens, one line for each holder: add a line, whole or not at all, while nobody else does.

In come a path, a new line, and what reads such a file; out goes one write at its end. Such a file holds hashes and no
secret, but who may write to it decides who may come: one that others can write to is refused. The secrets themselves
never come here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from belljar.loader.bundle.files import PRIVATE
from belljar.loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

MAX_BYTES = 1 << 20


def add_line(path: str, line: str, names_in: Callable[[str], list[str]]) -> None:
    """Add a line to a file of tokens, which is made if there is none.

    Args:
        path: of the file.
        line: without its end; the last of the names in it is new.
        names_in: returns the names in the text of a file, or refuses it; it raises `AttestationError`.

    Raises:
        AttestationError: the file with this line would be refused.
        LoaderError: there is a token of this name, others can write to the file, or it cannot be written.
    """
    try:
        with _alone(path) as descriptor:
            text = _read(path, descriptor)
            end = "" if not text or text.endswith("\n") else "\n"
            addition = f"{end}{line}\n"
            *others, name = names_in(text + addition)
            if name in others:
                hint = "take its line out of the file first, or choose another name"
                raise LoaderError(f"{path}: there is a token of {name} already", hint=hint)
            _append(descriptor, addition.encode())
    except OSError as error:
        raise LoaderError(f"{path}: cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _alone(path: str) -> Generator[int]:
    """Have the file open, and nobody else's `add_line` at work on it."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise LoaderError(f"{path}: is no regular file, expected a file of tokens")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise LoaderError(f"{path}: others can write to it, and let in whom they like", hint=f"chmod 600 {path}")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: str, descriptor: int) -> str:
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise LoaderError(f"{path}: has more than {MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise LoaderError(f"{path}: not UTF-8 at byte {error.start}, expected a file of tokens") from error


def _append(descriptor: int, content: bytes) -> None:
    """Write all of it, or leave the file as it was."""
    size = os.fstat(descriptor).st_size
    is_whole = False
    try:
        is_whole = os.write(descriptor, content) == len(content)
        os.fsync(descriptor)
    finally:
        if not is_whole:
            os.ftruncate(descriptor, size)
    if not is_whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

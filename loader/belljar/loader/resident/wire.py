"""What a caller and the launcher say to each other: a SOCK_SEQPACKET socket in the folder of runs. Hot.

    caller   -> launcher   `hello`; the launcher answers `welcome`, so that nobody hands a stopped one its streams
    caller   -> launcher   the request's file, and what becomes 0, 1, 2 (and the descriptor of --result)
    launcher -> caller     `cold`: run it yourself, or
    spare    -> caller     `taken PID`: yours if you still want it; the caller answers `go`
    spare    -> launcher   `ready`, as often as it can be called on; `taken` when a caller has it
    spare    -> caller     `exit CODE`

A caller that goes away ends its run, and a line that closes without `exit` tells of a supervisor that was killed. Both
ends belong to one user; the kernel says who is who (SO_PEERCRED), and the folder lets nobody else in.
"""

from __future__ import annotations

import marshal
import os
import sys
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from struct import pack, unpack

from belljar.libos.values import Value
from belljar.loader.version import VERSION

ADDRESS = ".launcher"
HELLO = b"hello"
WELCOME = b"welcome"
COLD = b"cold"
TAKEN = b"taken"
GO = b"go"
EXIT = b"exit"
READY = b"ready"
STATUS = b"status"  # asked of the launcher, and answered
_MOST_DESCRIPTORS = 8
_MAX_BYTES = 64  # of a word
_MAX_REQUEST = 16 << 20  # the kernel takes no more than 6 MiB of arguments and environment (execve(2))


class NotARequest(Exception):
    """What arrived is nothing a caller of this version says."""


class Request(Value):
    """What a caller wants to be run.

    Attributes:
        stamp: what `installation` returned.
        options: of the command line.
        words: of the command line.
        folder: the working directory.
        environment: the caller's.
    """

    stamp: tuple[object, ...]
    options: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    folder: str
    environment: tuple[tuple[str, str], ...]

    def to_file(self) -> int:
        """Return a descriptor of a new file that holds the request."""
        file = os.memfd_create("belljar-request", os.MFD_CLOEXEC)
        os.pwrite(file, marshal.dumps(tuple(self.fields())), 0)  # type: ignore[arg-type] # plain values, as annotated
        return file

    @classmethod
    def of_file(cls, file: int) -> Request:
        """Return the request in a file.

        Raises:
            NotARequest: there is none.
        """
        size = os.fstat(file).st_size
        if size > _MAX_REQUEST:
            raise NotARequest
        try:
            request = cls.from_fields(marshal.loads(os.pread(file, size, 0)))  # noqa: S302 - of our own user
        except (ValueError, TypeError, EOFError) as error:
            raise NotARequest from error
        rows = [_parts(row) for row in (*_parts(request.options), *_parts(request.environment))]
        texts = [request.folder, *_parts(request.words), *(text for row in rows for text in row)]
        if any(len(row) != 2 for row in rows) or not all(isinstance(t, str) and "\0" not in t for t in texts):
            raise NotARequest
        return request


def _parts(value: object) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise NotARequest
    return value  # pyright: ignore[reportUnknownVariableType] # any part is an object


def installation() -> tuple[object, ...]:
    """Return what tells one belljar from another: two of them must not run each other's enclaves."""
    status = os.stat(os.path.dirname(os.path.dirname(__file__)) + "/cli.py")
    return (VERSION, sys.executable, status.st_dev, status.st_ino, status.st_mtime_ns)


def call(folder: str) -> socket | None:
    """Return a line to the launcher of a folder of runs, or None if there is none."""
    line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            line.connect(path_in(directory))
        finally:
            os.close(directory)
    except OSError:
        line.close()
        return None
    return line


def pair() -> tuple[socket, socket]:
    """Return two connected ends, for the launcher and a child of it."""
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)


def path_in(directory: int) -> str:
    """Return the address through a descriptor: a socket's own path may have 107 bytes only."""
    return f"/proc/self/fd/{directory}/{ADDRESS}"


def peer(line: socket) -> tuple[int, int]:
    """Return (pid, uid) of the other side, as the kernel knows it (unix(7)); the pid is 0 if it is not of our kind."""
    pid, uid, _ = unpack("iII", line.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    return pid, uid


def hand_on(line: socket, descriptors: list[int], word: bytes = b"run") -> None:
    """Send descriptors.

    Raises:
        OSError: the other side is gone.
    """
    line.sendmsg([word], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(descriptors)}i", *descriptors))])


def take(line: socket) -> tuple[bytes, list[int]]:
    """Return (word, descriptors) of one message; the word is empty when the other side is gone."""
    try:
        word, ancillary, _, _ = line.recvmsg(_MAX_BYTES, 16 + 4 * _MOST_DESCRIPTORS, MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", []
    descriptors: list[int] = []
    for level, kind, content in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            descriptors += unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
    return word, descriptors


def say(line: socket, word: bytes) -> bool:
    """Send a word; say whether the other side is still there."""
    try:
        line.send(word)
    except OSError:
        return False
    return True


def close_all(descriptors: list[int]) -> None:
    """Close descriptors that nobody needs any more."""
    for descriptor in descriptors:
        os.close(descriptor)

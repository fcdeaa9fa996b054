"""The table of cases, and what their code is made of."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

CASES: dict[str, Callable[[], object]] = {}
DISK: set[str] = set()
"""Cases that tmpfs cannot do, or does in its own way: they are compared with the disk."""

MIB = 1 << 20
STRANGER = 1000

libc = ctypes.CDLL(None, use_errno=True)


def case(function: Callable[[], object]) -> Callable[[], object]:
    """Add a case, to be compared with tmpfs."""
    CASES[function.__name__] = function
    return function


def disk_case(function: Callable[[], object]) -> Callable[[], object]:
    """Add a case, to be compared with the disk."""
    DISK.add(function.__name__)
    return case(function)


def outcome(function: Callable[..., Any], *words: Any, **named: Any) -> Any:
    """Return what a call returns, or the name of its errno."""
    try:
        return function(*words, **named)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def called(function: str, *words: Any) -> Any:
    """Call a function of the C library, and return its result or the name of its errno."""
    ctypes.set_errno(0)
    result = getattr(libc, function)(*words)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result


def put(name: str | bytes, content: bytes = b"") -> None:
    """Write a file."""
    with open(name, "wb") as file:
        file.write(content)


def get(name: str | bytes) -> bytes:
    """Read a file."""
    with open(name, "rb") as file:
        return file.read()


def mode(name: str | int) -> str:
    """Return type and permissions."""
    return oct(os.stat(name, follow_symlinks=False).st_mode if isinstance(name, str) else os.fstat(name).st_mode)


def as_stranger(function: Callable[[], object], gid: int = STRANGER) -> Any:
    """Return what a function returns in a child that is an ordinary user."""
    return in_child(lambda: _become(gid) and outcome(function))


def _become(gid: int) -> bool:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(STRANGER, STRANGER, STRANGER)
    return True


def in_child(function: Callable[[], object]) -> Any:
    """Return what a function returns in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(as_json(function())).encode())
        except BaseException:  # noqa: BLE001 - whatever it is, the parent shall see it
            os.write(writer, json.dumps(traceback.format_exc()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def as_json(value: object) -> object:
    """Return a value with bytes as text, so that it can travel."""
    if isinstance(value, bytes):
        return value.decode("latin-1") if len(value) < 200 else f"{len(value)} bytes, hash {hash_of(value)}"
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, dict):
        return {str(key): as_json(part) for key, part in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def hash_of(content: bytes) -> int:
    """Return a number that differs for other content."""
    return sum(content[start : start + 1][0] * (start + 1) for start in range(0, len(content), 7)) & 0xFFFFFFFF

"""Enforce the mounts' access rights a second time, by path, with Landlock (kernel: Documentation/userspace-api).

Mounts and ids already forbid what is forbidden here; this layer still holds if one of them has a hole, and it closes
one door of its own: a standard descriptor that is a host file cannot be reopened with more rights through /proc.
"""

from __future__ import annotations

import fcntl
import os
import stat

from belljar.libos import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.plan.steps import RestrictPaths

# LANDLOCK_ACCESS_FS_*, include/uapi/linux/landlock.h
_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_ALL_OF_ABI_1 = (1 << 13) - 1
_REFER = 1 << 13  # ABI 2
_TRUNCATE = 1 << 14  # ABI 3
_IOCTL_DEV = 1 << 15  # ABI 5
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # ABI 6

_SIZE_BY_ABI = ((6, 24), (4, 16), (1, 8))  # how much of struct landlock_ruleset_attr each version knows


def restrict(step: RestrictPaths) -> None:
    """Restrict this process to the paths of the plan; does nothing on a kernel without Landlock.

    Raises:
        OSError: the kernel has Landlock, but refused.
    """
    abi = kernel.landlock_abi()
    if abi < 1:
        return
    handled = _handled(abi)
    scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0
    size = next(size for version, size in _SIZE_BY_ABI if abi >= version)
    ruleset = kernel.landlock_create_ruleset(handled, scoped, size)
    try:
        _allow(ruleset, "/", _EXECUTE | _READ_FILE | _READ_DIR)
        for path in step.writable:
            _allow(ruleset, path, handled & ~_EXECUTE)
        for descriptor in (0, 1, 2):
            _allow_standard(ruleset, descriptor, handled)
        kernel.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _handled(abi: int) -> int:
    handled = _ALL_OF_ABI_1
    for version, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if abi >= version:
            handled |= right
    return handled


def _allow(ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        kernel.landlock_add_path(ruleset, place, rights)
    finally:
        os.close(place)


def _allow_standard(ruleset: int, descriptor: int, handled: int) -> None:
    """Let a redirected file be reopened as it was opened: /dev/stdin works, and gives no more than it already has."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
    except OSError:  # closed: the caller may start us without it
        return
    access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    rights = {os.O_RDONLY: _READ_FILE, os.O_WRONLY: _WRITE_FILE}.get(access, _READ_FILE | _WRITE_FILE)
    kernel.landlock_add_path(ruleset, descriptor, rights & handled)

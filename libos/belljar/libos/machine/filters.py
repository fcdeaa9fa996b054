"""Probes: seccomp filters, their listener, libseccomp, Landlock, pidfd."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import struct

from belljar.libos import kernel
from belljar.libos.errors import SandboxUnavailable
from belljar.libos.interfaces import read_text
from belljar.libos.syscalls.compile import compile_policy, unknown_names
from belljar.libos.syscalls.names import ALLOWED, split
from belljar.libos.syscalls.policy import make_policy

from . import remedies
from .attempt import NO_NEW_PRIVILEGES, Child, refused
from .finding import Finding, State

_RET = 0x06  # BPF_RET | BPF_K
_ALLOW = struct.pack("<HBBI", _RET, 0, 0, 0x7FFF0000)  # SECCOMP_RET_ALLOW
_LISTENER = kernel.SECCOMP_FILTER_FLAG_NEW_LISTENER
_KILLABLE = kernel.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
_SCOPES = 6  # the version of Landlock that keeps signals and abstract sockets inside


def seccomp() -> Finding:
    """Load a filter."""
    refusal = refused(NO_NEW_PRIVILEGES, ("load a filter", lambda _: kernel.seccomp_filter(_ALLOW)))
    if refusal is None:
        return Finding(name="seccomp filter", state=State.OK, found="can be loaded", required=True)
    return Finding(
        name="seccomp filter", state=State.MISSING, required=True, found=str(refusal), cost="no enclave can be built",
        remedy=remedies.of_a_filter() or "a kernel built with CONFIG_SECCOMP_FILTER=y",
    )  # fmt: skip


def listener() -> Finding:
    """Load a filter with a listener, and one whose listener is not disturbed by signals."""
    name = "seccomp listener"
    cost = "nothing yet: enclaves of this version run without; later ones tell with it what they refused"
    refusal = refused(NO_NEW_PRIVILEGES, ("load a filter", lambda child: _listen(child, _LISTENER)))
    if refusal is not None:
        remedy = "start belljar outside of the sandbox that listens already" if refusal.code == errno.EBUSY else ""
        return Finding(
            name=name, state=State.MISSING, found=str(refusal), cost=cost, remedy=remedy or remedies.of_a_filter()
        )
    refusal = refused(NO_NEW_PRIVILEGES, ("load a filter", lambda child: _listen(child, _LISTENER | _KILLABLE)))
    if refusal is None:
        return Finding(name=name, state=State.OK, found="works, with WAIT_KILLABLE_RECV")
    return Finding(
        name=name, state=State.DEGRADED, found="works, without WAIT_KILLABLE_RECV", cost=cost,
        remedy="Linux 5.19 or newer",
    )  # fmt: skip


def _listen(_child: Child, flags: int) -> None:
    os.close(kernel.seccomp_filter(_ALLOW, flags))


def libseccomp() -> Finding:
    """Compile the default policy."""
    name = "libseccomp"
    try:
        compile_policy(make_policy())
        unknown = unknown_names(split(ALLOWED))
    except SandboxUnavailable as error:
        return Finding(
            name=name, state=State.MISSING, required=True, found=str(error),
            cost="no enclave can be built", remedy=error.hint or "apt install libseccomp2",
        )  # fmt: skip
    found = f"{_version()}, compiles the policy"
    if not unknown:
        return Finding(name=name, state=State.OK, found=found, required=True)
    return Finding(
        name=name, state=State.DEGRADED, required=True,
        found=f"{found}, but knows nothing of {', '.join(unknown)}",
        cost="programs do without these system calls: most fall back to older ones",
        remedy="a newer libseccomp: apt upgrade libseccomp2, or a newer release of the system",
    )  # fmt: skip


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


def _version() -> str:
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    version = library.seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"


def landlock() -> Finding:
    """Ask for the version of Landlock."""
    name = "Landlock"
    try:
        version = kernel.landlock_version()
    except OSError as error:
        off = error.errno == errno.EOPNOTSUPP
        return Finding(
            name=name, state=State.MISSING, found=f"not there: {(error.strerror or str(error)).lower()}",
            cost="one layer less: mounts and ids alone keep paths, namespaces alone keep signals and sockets",
            remedy=_landlock_remedy(off=off),
        )  # fmt: skip
    if version >= _SCOPES:
        return Finding(name=name, state=State.OK, found=f"version {version}")
    return Finding(
        name=name, state=State.DEGRADED, found=f"version {version}, expected {_SCOPES}",
        cost="it keeps paths, but not signals and abstract sockets: namespaces alone do",
        remedy="Linux 6.12 or newer",
    )  # fmt: skip


def _landlock_remedy(*, off: bool) -> str:
    if not off:
        return remedies.of_a_filter() or "a kernel built with CONFIG_SECURITY_LANDLOCK=y"
    active = read_text("/sys/kernel/security/lsm").strip()
    return f"start the kernel with lsm=landlock,{active or '…'}"


def pidfd() -> Finding:
    """Hold a process by a descriptor."""
    name = "pidfd"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding(
            name=name, state=State.MISSING, required=True, found=(error.strerror or str(error)).lower(),
            cost="no enclave can be built: the supervisor holds its program by a pidfd",
            remedy=remedies.of_a_filter() or "Linux 5.3 or newer",
        )  # fmt: skip
    return Finding(name=name, state=State.OK, found="works", required=True)

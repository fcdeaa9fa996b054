"""Door of this house to those who decide what a guest may ask of the kernel. Cold: compiling needs libseccomp."""

from __future__ import annotations

from .errors import LibosError, SandboxUnavailable
from .syscalls.compile import check_names, compile_policy, denied_calls
from .syscalls.policy import SyscallPolicy, UnknownSyscall, make_policy

__all__ = [
    "LibosError",
    "SandboxUnavailable",
    "SyscallPolicy",
    "UnknownSyscall",
    "check_names",
    "compile_policy",
    "denied_calls",
    "make_policy",
]

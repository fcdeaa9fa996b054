"""Compile a policy into seccomp programs with libseccomp, through pyseccomp.

In come a `SyscallPolicy` and an architecture; out come BPF programs (`struct sock_filter` arrays), which
`kernel.seccomp_filter` loads. Cold: importing pyseccomp costs 15 ms, so the result is cached by the loader.
Foreign ABIs (i386 and x32 on x86-64, arm on aarch64) end the process.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from belljar.libos.errors import SandboxUnavailable

from .names import ALLOWED, DENIED, RULED, split
from .policy import DEFAULT_ERROR, Rule, SyscallPolicy, UnknownSyscall

_OPTIMIZE_AS_TREE = 2  # SCMP_FLTATR_CTL_OPTIMIZE: binary search instead of a list of compares


def compile_policy(policy: SyscallPolicy, machine: str | None = None) -> tuple[bytes, ...]:
    """Return the filters of a policy, in the order they must be loaded.

    Args:
        policy: what is allowed.
        machine: "x86_64" or "aarch64"; this machine's by default.

    Raises:
        SandboxUnavailable: libseccomp is missing, or the architecture is not supported.
        UnknownSyscall: the policy names a system call that libseccomp does not know, and that is not ours.
    """
    library = _library()
    arches = {"x86_64": library.Arch.X86_64, "aarch64": library.Arch.AARCH64}
    machine = machine or os.uname().machine
    if machine not in arches:
        raise SandboxUnavailable(f"machine {machine} is not supported: expected x86_64 or aarch64")
    arch = arches[machine]
    # What is denied by name is handed over to the supervisor, which notes it and refuses it (supervisor/refusals.py).
    # Without one the kernel answers ENOSYS: denied all the same. An errno of the other filter comes first.
    rules = _compile(library, arch, policy.rules, library.ERRNO(DEFAULT_ERROR), denied=library.NOTIFY)
    # Of two filters that both return an errno the younger one's is taken: guards, which know the better one, come last.
    return rules, _compile(library, arch, policy.guards, library.ALLOW)


def denied_calls(policy: SyscallPolicy) -> tuple[tuple[int, str], ...]:
    """Return (number, name) of the calls that are handed over to be refused with EPERM, on this machine."""
    library = _library()
    numbers = [
        (library.resolve_syscall(library.Arch.NATIVE, rule.name), rule.name) for rule in policy.rules if rule.error
    ]
    return tuple(sorted((number, name) for number, name in numbers if number >= 0))


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names that no architecture has.

    Raises:
        UnknownSyscall: names the first one, and the closest known name.
    """
    library = _library()
    for name in names:
        if library.resolve_syscall(library.Arch.NATIVE, name) == _UNKNOWN:
            close = difflib.get_close_matches(name, [*split(ALLOWED), *RULED, *split(DENIED)], 1, 0.6)
            raise UnknownSyscall(f"unknown system call {name}" + (f": did you mean {close[0]}?" if close else ""))


def unknown_names(names: list[str]) -> list[str]:
    """Return those names that this libseccomp is too old to know.

    Raises:
        SandboxUnavailable: libseccomp is missing.
    """
    library = _library()
    return [name for name in names if library.resolve_syscall(library.Arch.NATIVE, name) == _UNKNOWN]


_UNKNOWN = -1  # __NR_SCMP_ERROR


def _library() -> Any:
    try:
        import pyseccomp  # pyright: ignore[reportMissingTypeStubs] # untyped, and used in this room only
    except (ImportError, RuntimeError, OSError) as error:
        raise SandboxUnavailable(
            f"libseccomp cannot be used: {error}", hint="install it, for example with: apt install libseccomp2"
        ) from error
    return pyseccomp


def _compile(library: Any, arch: int, rules: tuple[Rule, ...], default: int, *, denied: int | None = None) -> bytes:
    compiled = library.SyscallFilter(default)
    if arch != library.system_arch():
        compiled.add_arch(arch)
        compiled.remove_arch(library.system_arch())
    compiled.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    compiled.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_AS_TREE)
    for rule in rules:
        number = library.resolve_syscall(library.Arch.NATIVE, rule.name)
        if number == _UNKNOWN:  # newer than libseccomp: ENOSYS, and the C library falls back
            continue
        refusal = library.ERRNO(rule.error or 0) if denied is None else denied
        action = library.ALLOW if rule.error is None else refusal
        if action == default:
            continue
        compare = [library.Arg(c.index, library.MASKED_EQ, c.mask, c.value) for c in rule.compare]
        compiled.add_rule(action, number, *compare)
    return _export(compiled)


def _export(compiled: Any) -> bytes:
    descriptor = os.memfd_create("belljar-filter", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "rb") as exported:
        compiled.export_bpf(exported)
        exported.seek(0)
        return exported.read()

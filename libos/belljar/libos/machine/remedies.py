"""Why the kernel refuses, and the command that changes it. Only asked after something was tried and refused."""

from __future__ import annotations

import errno
import os
import sys

from belljar.libos.interfaces import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Refusal

UNCONFINED = "docker run --security-opt seccomp=unconfined …, or --privileged; the same options for podman"
_PROFILE = (
    r"printf 'abi <abi/4.0>,\nprofile belljar {} flags=(unconfined) {{ userns, }}\n' > /etc/apparmor.d/belljar && "
    "apparmor_parser -r /etc/apparmor.d/belljar"
)
_SYSCTL = "/proc/sys/"


def user_namespaces(refusal: Refusal, read: Callable[[str], str] = read_text) -> str:
    """Return what to do when no user namespace can be made, or one gives no rights.

    Args:
        refusal: what the kernel refused.
        read: reads a text file of the kernel; empty if there is none.
    """
    if refusal.hint:
        return refusal.hint
    if refusal.code == errno.ENOSPC:
        return namespace_limit("user", read)
    if refusal.code in (errno.EINVAL, errno.ENOSYS):
        return "a kernel built with CONFIG_USER_NS=y"
    if _is(read, "kernel/unprivileged_userns_clone", "0"):
        return "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if _is(read, "kernel/apparmor_restrict_unprivileged_userns", "1"):
        profile = _PROFILE.format(os.path.realpath(sys.executable))
        return f"as root: {profile} (it holds for every program of this interpreter), or run belljar as root"
    return of_a_filter(read) or "the system's security policy refuses (SELinux, AppArmor, a chroot): ask who set it"


def namespace_limit(kind: str, read: Callable[[str], str] = read_text) -> str:
    """Return what to do when there are too many namespaces of a kind: "user", "mnt", "pid", "net" …"""
    if _is(read, f"user/max_{kind}_namespaces", "0"):
        return f"as root: sysctl -w user.max_{kind}_namespaces=15000"
    return f"as root, outside of this container: sysctl user.max_{kind}_namespaces shows the limit; raise it"


def of_a_filter(read: Callable[[str], str] = read_text) -> str:
    """Return how to be rid of a seccomp filter that belljar was started under, if it was."""
    lines = read("/proc/self/status").splitlines()
    return UNCONFINED if "Seccomp:\t2" in lines else ""


def _is(read: Callable[[str], str], setting: str, value: str) -> bool:
    return read(_SYSCTL + setting).strip() == value

"""Probes: /dev/fuse, a FUSE mount inside of a user namespace, overlayfs there."""

from __future__ import annotations

import errno
import os
import stat

from belljar.libos import kernel

from . import remedies
from .attempt import MAP_IDS, NEW_MOUNTS, NEW_USER, PLACE, PRIVATE, Child, Refusal, Step, refused
from .finding import Finding, State

_DEVICE = "/dev/fuse"
_LOAD = "as root: modprobe fuse; in a container, start it with --device /dev/fuse"
_SERVED_FROM = "no enclave can be built: its files are served through FUSE"


def _open(child: Child) -> None:
    child.fuse = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)


def _mount(child: Child) -> None:
    options = f"fd={child.fuse},rootmode=40555,user_id=0,group_id=0,allow_other,default_permissions"
    kernel.mount("belljar", PLACE, "fuse.belljar", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_RDONLY, options)


# As an enclave does it: opened in the new namespace, but before our host id changes.
_OPEN: Step = (f"open {_DEVICE}", _open)


def fuse_device() -> Finding:
    """Open /dev/fuse."""
    try:
        status = os.stat(_DEVICE)
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding(
            name=_DEVICE, state=State.MISSING, required=True,
            found=f"cannot be opened: {(error.strerror or str(error)).lower()}{_mode()}",
            cost=_SERVED_FROM, remedy=_open_remedy(error.errno or 0),
        )  # fmt: skip
    if not stat.S_ISCHR(status.st_mode):
        return Finding(
            name=_DEVICE, state=State.MISSING, required=True, found="is no device", cost=_SERVED_FROM, remedy=_LOAD
        )
    return _who_may_open(stat.S_IMODE(status.st_mode))


def _who_may_open(mode: int) -> Finding:
    found = f"can be opened (mode {mode:04o})"
    if mode & 0o006 == 0o006:
        return Finding(name=_DEVICE, state=State.OK, found=found, required=True)
    return Finding(
        name=_DEVICE, state=State.DEGRADED, required=True, found=found,
        cost="other users of this machine cannot run enclaves", remedy=_open_remedy(errno.EACCES),
    )  # fmt: skip


def _mode() -> str:
    try:
        return f" (mode {stat.S_IMODE(os.stat(_DEVICE).st_mode):04o})"
    except OSError:
        return ""


def _open_remedy(code: int) -> str:
    if code == errno.EACCES:
        return "as root: chmod 666 /dev/fuse (until the next boot), or apt install fuse3 (for good)"
    return _LOAD


def fuse_mount() -> Finding:
    """Mount a FUSE file system inside of a user namespace."""
    name = "FUSE mount"
    refusal = refused(NEW_USER, _OPEN, MAP_IDS, NEW_MOUNTS, PRIVATE, ("mount fuse", _mount))
    if refusal is None:
        return Finding(name=name, state=State.OK, found="can be mounted in a user namespace", required=True)
    return Finding(
        name=name, state=State.MISSING, required=True, found=str(refusal),
        cost=_SERVED_FROM, remedy=_mount_remedy(refusal),
    )  # fmt: skip


def _mount_remedy(refusal: Refusal) -> str:
    if refusal.doing == _OPEN[0]:
        return _open_remedy(refusal.code)
    if refusal.doing != "mount fuse":
        return "see user namespaces, other namespaces"
    if refusal.code == errno.EPERM:
        return remedies.of_a_filter() or "Linux 4.18 or newer, and a security policy that allows mounts"
    return _LOAD


def overlay() -> Finding:
    """Mount overlayfs inside of a user namespace."""
    name = "overlayfs"
    refusal = refused(NEW_USER, MAP_IDS, NEW_MOUNTS, PRIVATE, ("mount overlay", _overlay))
    if refusal is None:
        return Finding(name=name, state=State.OK, found="can be mounted in a user namespace")
    return Finding(
        name=name, state=State.MISSING, found=str(refusal),
        cost="programs open files up to 40 % slower",
        remedy="as root: modprobe overlay" if refusal.code == errno.ENODEV else "Linux 5.11 or newer",
    )  # fmt: skip


def _overlay(_child: Child) -> None:
    kernel.mount("tmpfs", PLACE, "tmpfs", kernel.MS_NOSUID)
    lower, second = f"{PLACE}/lower", f"{PLACE}/second"
    for folder in (lower, second):
        os.mkdir(folder)
    kernel.mount("belljar", PLACE, "overlay", kernel.MS_RDONLY, f"lowerdir={lower}:{second}")

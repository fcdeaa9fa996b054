"""Probes: user namespaces, the other namespaces, /proc of an own pid namespace, detached mounts."""

from __future__ import annotations

import errno
import os

from belljar.libos import kernel

from . import remedies
from .attempt import MAP_IDS, NEW_MOUNTS, NEW_USER, PLACE, PRIVATE, Child, Refusal, Step, refused
from .finding import Finding, State

_KINDS = {
    "mount": ("mnt", kernel.CLONE_NEWNS),
    "pid": ("pid", kernel.CLONE_NEWPID),
    "ipc": ("ipc", kernel.CLONE_NEWIPC),
    "uts": ("uts", kernel.CLONE_NEWUTS),
    "cgroup": ("cgroup", kernel.CLONE_NEWCGROUP),
    "net": ("net", kernel.CLONE_NEWNET),
}
_CHOWN = 0  # the number of CAP_CHOWN; which one is given up does not matter
# On Ubuntu the namespace can be made, but AppArmor gives no rights in it: to give one up takes one.
_USE_RIGHTS: Step = ("have rights in it", lambda _: kernel.prctl(kernel.PR_CAPBSET_DROP, _CHOWN))
_UNMASK = (
    "docker run --security-opt systempaths=unconfined …, podman run --security-opt unmask=ALL …; "
    "elsewhere, unmount what lies on parts of /proc"
)


def user_namespaces() -> Finding:
    """Make a user namespace, as an enclave does."""
    name = "user namespaces"
    refusal = refused(NEW_USER, MAP_IDS, _USE_RIGHTS)
    if refusal is None:
        who = "root, with ids of nobody" if os.geteuid() == 0 else f"the ordinary user {os.geteuid()}"
        return Finding(name=name, state=State.OK, found=f"can be made by {who}", required=True)
    return Finding(
        name=name, state=State.MISSING, required=True, found=str(refusal),
        cost="no enclave can be built", remedy=remedies.user_namespaces(refusal),
    )  # fmt: skip


def other_namespaces() -> Finding:
    """Make each of the other namespaces inside of a user namespace."""
    name = "other namespaces"
    refusals = {kind: refusal for kind in _KINDS if (refusal := _without(kind)) is not None}
    if not refusals:
        return Finding(name=name, state=State.OK, found=", ".join(_KINDS), required=True)
    kind, refusal = next(iter(refusals.items()))
    return Finding(
        name=name, state=State.MISSING, required=True,
        found=", ".join(f"{kind}: {refusal.said}" for kind, refusal in refusals.items()),
        cost="no enclave can be built", remedy=_remedy(kind, refusal),
    )  # fmt: skip


def _without(kind: str) -> Refusal | None:
    return refused(NEW_USER, MAP_IDS, (f"create a {kind} namespace", lambda _: kernel.unshare(_KINDS[kind][1])))


def _remedy(kind: str, refusal: Refusal) -> str:
    if refusal.doing in (NEW_USER[0], MAP_IDS[0]):
        return "see user namespaces"
    if refusal.code == errno.ENOSPC:
        return remedies.namespace_limit(_KINDS[kind][0])
    if refusal.code == errno.EINVAL:
        return f"a kernel built with CONFIG_{_KINDS[kind][0].upper()}_NS=y"
    return remedies.of_a_filter() or "see user namespaces"


def proc() -> Finding:
    """Mount /proc of an own pid namespace: the kernel refuses where parts of the one we see are masked."""
    name = "own /proc"
    refusal = refused(
        NEW_USER, MAP_IDS, NEW_MOUNTS, PRIVATE,
        ("create a pid namespace", lambda _: kernel.unshare(kernel.CLONE_NEWPID)),
        ("mount proc", _mount_proc),
    )  # fmt: skip
    if refusal is None:
        return Finding(name=name, state=State.OK, found="can be mounted", required=True)
    masked = refusal.doing == "mount proc" and refusal.code == errno.EPERM
    return Finding(
        name=name, state=State.MISSING, required=True, found=str(refusal),
        cost="no enclave can be built",
        remedy=_UNMASK if masked else "see user namespaces, other namespaces",
    )  # fmt: skip


def _mount_proc(_child: Child) -> None:
    pid = os.fork()  # only a child is in the new pid namespace
    if pid == 0:
        try:
            kernel.mount("proc", PLACE, "proc", kernel.MS_NOSUID, "hidepid=2")
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def detached_mounts() -> Finding:
    """Clone a mount without attaching it, and change it: how host mounts reach an enclave."""
    name = "detached mounts"
    refusal = refused(NEW_USER, MAP_IDS, NEW_MOUNTS, PRIVATE, ("clone and attach a mount", _clone))
    if refusal is None:
        return Finding(name=name, state=State.OK, found="open_tree, mount_setattr and move_mount work")
    return Finding(
        name=name, state=State.MISSING, found=str(refusal), cost="manifests with host mounts cannot run",
        remedy=remedies.of_a_filter() or "Linux 5.12 or newer",
    )  # fmt: skip


def _clone(_child: Child) -> None:
    kernel.mount("tmpfs", PLACE, "tmpfs", kernel.MS_NOSUID)
    clone = kernel.open_tree(PLACE, kernel.OPEN_TREE_CLONE)
    kernel.mount_setattr(clone, 0, kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NODEV)
    kernel.move_mount(clone, PLACE)

"""Take the mount steps of a plan. Runs as root of the enclave's user namespace, before the program exists.

The new root is built on the host's /tmp, in a mount namespace nobody else sees; generated files stand on the host's
/sys until they are bound where they belong. Every function takes one kind of step.
"""

from __future__ import annotations

import fcntl
import os
import stat
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket

from belljar.libos import kernel
from belljar.libos.plan import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NEW_ROOT = "/tmp"  # noqa: S108 - no file is put there: it is overmounted in a namespace of our own
GENERATED = "/sys"

_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV
_STRICT = _QUIET | kernel.MS_NOEXEC
# The overlay copies the mode of the root when it is mounted, before anybody asked FUSE for it: so it is said here.
_FUSE_OPTIONS = "fd={},rootmode=40555,user_id={},group_id={},allow_other,default_permissions"
_VOLUME_OPTIONS = "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions,max_read=1048576"
_ATTESTATION_OPTIONS = "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions"
_FEWEST_INODES = 1024
_BYTES_PER_INODE = 4096
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


class Materials:
    """Descriptors that mounts are made from; each is closed as soon as it is used.

    Args:
        root: /dev/fuse for the hashed tree.
        generated: /dev/fuse for the generated files.
        volumes: /dev/fuse for each volume, in the order of the specification.
        captured: detached bind mounts of the host, in the order of the specification.
        owner: (uid, gid) inside that mounts belong to.

    Attributes:
        attestation: /dev/fuse for the files for evidence, or -1.
        listening: sockets that a step has opened for the gateway.
    """

    def __init__(
        self, root: int, generated: int, volumes: list[int], captured: list[int], *, owner: tuple[int, int]
    ) -> None:
        self.root = root
        self.generated = generated
        self.volumes = volumes
        self.captured = captured
        self.owner = owner
        self.attestation = -1
        self.listening: list[int] = []
        self.kept: dict[str, int] = {}
        self.cpus: set[int] = set()


def take(step: steps.Step, materials: Materials) -> None:
    """Take one step of the plan's setup.

    Raises:
        OSError: the kernel refused.
    """
    _TAKE[type(step)](step, materials)


def _mount_hashed_root(_step: steps.Step, materials: Materials) -> None:
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    options = _FUSE_OPTIONS.format(materials.root, *materials.owner)
    kernel.mount("belljar", NEW_ROOT, "fuse.belljar", _QUIET | kernel.MS_RDONLY, options)
    os.close(materials.root)  # only the supervisor may keep it, or its death would go unnoticed


def _mount_volume(step: steps.Step, materials: Materials) -> None:
    assert isinstance(step, steps.MountVolume)
    device = materials.volumes[step.number]
    options = _VOLUME_OPTIONS.format(device, *materials.owner)
    kernel.mount("belljar", NEW_ROOT + step.path, "fuse.volume", _QUIET if step.executable else _STRICT, options)
    os.close(device)  # as of the root


def _share_cpu(step: steps.Step, materials: Materials) -> None:
    assert isinstance(step, steps.ShareCpu)
    materials.cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {step.cpu})


def _leave_cpu(_step: steps.Step, materials: Materials) -> None:
    os.sched_setaffinity(0, materials.cpus)


def _cover_with_overlay(_step: steps.Step, _materials: Materials) -> None:
    # An overlay wants two layers; the second is an empty folder.
    options = f"lowerdir={NEW_ROOT}:{GENERATED}/empty"
    try:
        kernel.mount("belljar", NEW_ROOT, "overlay", _QUIET | kernel.MS_RDONLY, options)
    except OSError:  # no overlayfs, or not in user namespaces: FUSE alone does the same, slower
        pass


def _look_up_used(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.LookUpUsed)
    for look, paths in ((_look_at, step.paths), (os.listdir, step.folders)):
        for path in paths:
            try:
                look(path)
            except OSError:  # the kernel has learnt that, too
                pass
    try:
        os.close(os.open("/etc/passwd", os.O_RDONLY | os.O_CLOEXEC))  # it asks once whether it may open without asking
    except OSError:
        pass


def _look_at(path: str) -> None:
    if stat.S_ISLNK(os.lstat(path).st_mode):
        os.readlink(path)


def _mount_generated(_step: steps.Step, materials: Materials) -> None:
    options = _FUSE_OPTIONS.format(materials.generated, *materials.owner)
    kernel.mount("belljar", GENERATED, "fuse.belljar", _STRICT | kernel.MS_RDONLY, options)
    os.close(materials.generated)


def _mount_proc(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.MountProc)
    proc = f"{NEW_ROOT}/proc"
    kernel.mount("proc", proc, "proc", _STRICT, "hidepid=2")
    for name in os.listdir(proc):
        if name in step.keep or name.isdecimal():
            continue
        path = f"{proc}/{name}"
        if name in step.generated:
            kernel.mount(f"{GENERATED}/proc/{name}", path, None, kernel.MS_BIND)
        elif stat.S_ISDIR(os.lstat(path).st_mode):
            kernel.mount(f"{GENERATED}/empty", path, None, kernel.MS_BIND)
        elif not os.path.islink(path):
            kernel.mount("/dev/null", path, None, kernel.MS_BIND)
    _read_only_bind(f"{proc}/sys", _STRICT)


def _mount_devices(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.MountDevices)
    dev = f"{NEW_ROOT}/dev"
    flags = kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("tmpfs", dev, "tmpfs", flags, "mode=755,size=64k,nr_inodes=64")
    for name in step.devices:
        os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        kernel.mount(f"/dev/{name}", f"{dev}/{name}", None, kernel.MS_BIND)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/pts")
    kernel.mount("devpts", f"{dev}/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=620")
    for name in step.folders:
        os.mkdir(f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    kernel.mount("tmpfs", f"{dev}/shm", "tmpfs", _STRICT, _scratch_options(0o1777, step.shm_bytes))
    kernel.mount("none", dev, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags)


def _bind_generated(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.BindGenerated)
    kernel.mount(f"{GENERATED}/{step.source}", NEW_ROOT + step.path, None, kernel.MS_BIND)


def _mount_attestation(_step: steps.Step, materials: Materials) -> None:
    options = _ATTESTATION_OPTIONS.format(materials.attestation, *materials.owner)
    kernel.mount("belljar", f"{NEW_ROOT}/dev/attestation", "fuse.attestation", _STRICT, options)
    os.close(materials.attestation)  # as of the root


def _show_attestation(_step: steps.Step, _materials: Materials) -> None:
    """Bind both parts; the second covers the mount they come from, so that each is seen in its place only."""
    place = f"{NEW_ROOT}/dev/attestation"
    kernel.mount(f"{place}/report", f"{NEW_ROOT}/sys/kernel/config/tsm/report", None, kernel.MS_BIND)
    kernel.mount(f"{place}/attestation", place, None, kernel.MS_BIND)


def _mount_scratch(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.MountScratch)
    target = _mount_point(step.path, directory=True)
    flags = _QUIET if step.executable else _STRICT
    kernel.mount("tmpfs", target, "tmpfs", flags, _scratch_options(step.mode, step.size_bytes))


def _scratch_options(mode: int, size_bytes: int) -> str:
    """Limit the number of files, too: each takes kernel memory, also an empty one."""
    return f"mode={mode:o},size={size_bytes},nr_inodes={max(_FEWEST_INODES, size_bytes // _BYTES_PER_INODE)}"


def _keep_hashed(step: steps.Step, materials: Materials) -> None:
    assert isinstance(step, steps.KeepHashed)
    for path in step.paths:
        materials.kept[path] = kernel.open_tree(NEW_ROOT + path, kernel.OPEN_TREE_CLONE)


def _show_hashed(step: steps.Step, materials: Materials) -> None:
    assert isinstance(step, steps.ShowHashed)
    kept = materials.kept.pop(step.path)
    directory = stat.S_ISDIR(os.fstat(kept).st_mode)
    kernel.move_mount(kept, _mount_point(step.path, directory=directory))
    os.close(kept)


def _attach_host_mount(step: steps.Step, materials: Materials) -> None:
    assert isinstance(step, steps.AttachHostMount)
    captured = materials.captured[step.number]
    directory = stat.S_ISDIR(os.fstat(captured).st_mode)
    kernel.move_mount(captured, _mount_point(step.path, directory=directory))
    os.close(captured)


def _mount_point(path: str, *, directory: bool) -> str:
    """Return where to mount; inside of a scratch mount the place has to be made first."""
    target = NEW_ROOT + path
    if not os.path.lexists(target):
        os.makedirs(target if directory else os.path.dirname(target), mode=0o755, exist_ok=True)
        if not directory:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    return target


def _make_directories(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.MakeDirectories)
    for path in step.paths:
        os.makedirs(NEW_ROOT + path, mode=0o755, exist_ok=True)


def _pivot_root(_step: steps.Step, _materials: Materials) -> None:
    os.chdir(NEW_ROOT)
    kernel.pivot_root(".", ".")  # the old root now lies on top of the new one
    kernel.umount2(".", kernel.MNT_DETACH)
    os.chdir("/")


def _set_host_name(step: steps.Step, _materials: Materials) -> None:
    assert isinstance(step, steps.SetHostName)
    kernel.sethostname(step.name)


def _loopback_up(_step: steps.Step, _materials: Materials) -> None:
    siocsifflags, up_running = 0x8914, 0x41  # IFF_UP | IFF_RUNNING
    with_flags = b"lo".ljust(16, b"\0") + up_running.to_bytes(2, "little") + bytes(22)  # struct ifreq
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        fcntl.ioctl(control.fileno(), siocsifflags, with_flags)
    finally:
        control.close()


def _listen_inside(step: steps.Step, materials: Materials) -> None:
    from .sockets import listening  # only with a gateway; `enter` has imported it

    assert isinstance(step, steps.ListenInside)
    materials.listening = listening(step.places)


def _read_only_bind(path: str, flags: int) -> None:
    kernel.mount(path, path, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags)


_TAKE: dict[type[steps.Step], Callable[[steps.Step, Materials], None]] = {
    steps.ShareCpu: _share_cpu,
    steps.LeaveCpu: _leave_cpu,
    steps.CoverWithOverlay: _cover_with_overlay,
    steps.LookUpUsed: _look_up_used,
    steps.MountHashedRoot: _mount_hashed_root,
    steps.MountGenerated: _mount_generated,
    steps.MountProc: _mount_proc,
    steps.MountDevices: _mount_devices,
    steps.BindGenerated: _bind_generated,
    steps.MountAttestation: _mount_attestation,
    steps.ShowAttestation: _show_attestation,
    steps.MountScratch: _mount_scratch,
    steps.KeepHashed: _keep_hashed,
    steps.ShowHashed: _show_hashed,
    steps.AttachHostMount: _attach_host_mount,
    steps.MountVolume: _mount_volume,
    steps.MakeDirectories: _make_directories,
    steps.PivotRoot: _pivot_root,
    steps.SetHostName: _set_host_name,
    steps.LoopbackUp: _loopback_up,
    steps.ListenInside: _listen_inside,
}

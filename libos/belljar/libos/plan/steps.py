"""The steps of building an enclave, each a frozen value that can say what it does.

Pure: nothing here acts; `guest/execute.py` does. A step names guest paths; where the new root stands while it is built
is the executor's business.
"""

from __future__ import annotations

from belljar.libos.values import Value


class Step(Value):
    """One step; subclasses say in `describe` what will happen, in words a person can check."""

    def describe(self) -> str:
        """Return one line for `--dry-run`."""
        raise NotImplementedError


class MountHashedRoot(Step):
    """Mount the FUSE connection that serves the hashed tree."""

    def describe(self) -> str:
        return "mount the hashed tree at / (fuse, read-only, nosuid, nodev)"


class ShareCpu(Step):
    """Run on one CPU together with the file servers: a request is then a switch of tasks, not a wake-up elsewhere."""

    cpu: int

    def describe(self) -> str:
        return f"run on CPU {self.cpu}, together with the file servers, while the enclave is set up"


class LeaveCpu(Step):
    """Run on every CPU again."""

    def describe(self) -> str:
        return "run on every CPU again"


class CoverWithOverlay(Step):
    """Cover the hashed tree with a read-only overlay: what is no read or lookup then never leaves the kernel.

    CPython asks an ioctl of every file it opens; FUSE would pass each on to us (docs/decisions/0006-overlay.md).
    """

    def describe(self) -> str:
        return "cover the hashed tree with a read-only overlay, where the kernel has overlayfs"


class LookUpUsed(Step):
    """Look up what the last run of the same measurement used."""

    paths: tuple[str, ...]
    folders: tuple[str, ...]

    def describe(self) -> str:
        return f"look up {len(self.paths)} paths and list {len(self.folders)} folders that the last run used"


class MountGenerated(Step):
    """Mount the FUSE connection that serves generated files, outside of the guest's root."""

    def describe(self) -> str:
        return "mount the generated files aside (fuse, read-only, nosuid, nodev, noexec)"


class MountProc(Step):
    """Mount the proc of the guest's own pid namespace and hide what is not named.

    Attributes:
        keep: top-level names that stay as the kernel shows them.
        generated: names that are covered by generated files.
    """

    keep: tuple[str, ...]
    generated: tuple[str, ...]

    def describe(self) -> str:
        return (
            f"mount proc at /proc (hidepid=2), /proc/sys read-only, keep {' '.join(self.keep)}, "
            f"generate {' '.join(self.generated)}, mask the rest"
        )


class MountDevices(Step):
    """Mount a /dev with a few harmless devices, a private devpts and a shared memory folder.

    Attributes:
        devices: names of the host's character devices to bind.
        shm_bytes: size of /dev/shm.
        folders: empty folders in it, for later mounts.
    """

    devices: tuple[str, ...]
    shm_bytes: int
    folders: tuple[str, ...] = ()

    def describe(self) -> str:
        return (
            f"mount tmpfs at /dev (read-only) with {' '.join(self.devices)}, devpts, "
            f"and tmpfs at /dev/shm ({self.shm_bytes} bytes, noexec)"
        )


class MountAttestation(Step):
    """Mount the FUSE connection that serves evidence, where its first part belongs."""

    def describe(self) -> str:
        return "mount the files for evidence (fuse, nosuid, nodev, noexec)"


class ShowAttestation(Step):
    """Show the parts of the files for evidence where programs look for them."""

    def describe(self) -> str:
        return "show them at /dev/attestation and /sys/kernel/config/tsm/report"


class BindGenerated(Step):
    """Show a directory of the generated files."""

    source: str
    path: str

    def describe(self) -> str:
        return f"bind generated /{self.source} at {self.path} (read-only)"


class MountScratch(Step):
    """Mount a tmpfs."""

    path: str
    size_bytes: int
    mode: int
    executable: bool

    def describe(self) -> str:
        exec_ = "" if self.executable else ", noexec"
        return f"mount tmpfs at {self.path} ({self.size_bytes} bytes, mode {self.mode:o}, nosuid, nodev{exec_})"


class KeepHashed(Step):
    """Take copies of hashed mounts that lie below scratch or host mounts, before those cover them."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"keep copies of the hashed mounts {' '.join(self.paths)}"


class ShowHashed(Step):
    """Attach a kept copy of a hashed mount on top of what covers it."""

    path: str

    def describe(self) -> str:
        return f"show the hashed mount {self.path} again (read-only, nosuid, nodev)"


class AttachHostMount(Step):
    """Attach a bind mount of the host that was captured before.

    Attributes:
        number: which of the captured mounts.
    """

    path: str
    source: str
    number: int
    writable: bool
    executable: bool

    def describe(self) -> str:
        access = "writable" if self.writable else "read-only"
        exec_ = "" if self.executable else ", noexec"
        return f"bind host {self.source} at {self.path} ({access}, nosuid, nodev{exec_})"


class MountVolume(Step):
    """Mount the FUSE connection that serves an encrypted volume."""

    path: str
    number: int
    executable: bool

    def describe(self) -> str:
        rights = "nosuid, nodev" if self.executable else "nosuid, nodev, noexec"
        return f"mount an encrypted volume at {self.path} (fuse, {rights})"


class MakeDirectories(Step):
    """Make directories inside of scratch mounts: those that the program starts in or lives in."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"make {' '.join(self.paths)}"


class PivotRoot(Step):
    """Make the new tree the root and drop the host's."""

    def describe(self) -> str:
        return "pivot into the new root, unmount the host's"


class SetHostName(Step):
    """Name the UTS namespace."""

    name: str

    def describe(self) -> str:
        return f"set the host name to {self.name}"


class LoopbackUp(Step):
    """Bring up the only interface of the new network namespace."""

    def describe(self) -> str:
        return "bring up the loopback interface, the only one"


class ListenInside(Step):
    """Open the sockets in the guest's network on which the gateway answers.

    Attributes:
        places: "127.x.y.z:PORT", "udp:127.x.y.z:PORT" or "unix:/path".
    """

    places: tuple[str, ...]

    def describe(self) -> str:
        return f"listen for the gateway on {' '.join(self.places)}"


class NewSession(Step):
    """Leave the supervisor's session and terminal."""

    def describe(self) -> str:
        return "start a session of its own"


class LimitResources(Step):
    """Set resource limits: (name in the `resource` module, soft and hard value)."""

    limits: tuple[tuple[str, int], ...]

    def describe(self) -> str:
        return "limit " + ", ".join(f"{name} to {value}" for name, value in self.limits)


class LimitCpus(Step):
    """Run on a few CPUs only: where no cgroup can enforce a CPU limit."""

    count: int

    def describe(self) -> str:
        return f"run on at most {self.count} CPUs (no cgroup can be written)"


class BecomeUser(Step):
    """Give up root of the namespace: bounding set, securebits, groups, ids."""

    uid: int
    gid: int
    clear_groups: bool

    def describe(self) -> str:
        groups = "no supplementary groups" if self.clear_groups else "the caller's supplementary groups"
        return f"drop the bounding set, lock securebits, become uid {self.uid} gid {self.gid}, {groups}"


class OpenTerminal(Step):
    """Open a pseudo-terminal of the guest's own devpts and make it the controlling terminal.

    Attributes:
        descriptors: which of 0, 1 and 2 it replaces.
    """

    descriptors: tuple[int, ...]

    def describe(self) -> str:
        return f"open a terminal of its own for descriptors {' '.join(map(str, self.descriptors))}"


class ChangeDirectory(Step):
    """Go to the working directory."""

    path: str

    def describe(self) -> str:
        return f"change directory to {self.path}"


class NoNewPrivileges(Step):
    """Set no_new_privs and drop every capability."""

    def describe(self) -> str:
        return "set no_new_privs, drop all capabilities"


class RestrictPaths(Step):
    """Enforce the mounts' access rights once more with Landlock, where the kernel has it.

    Attributes:
        writable: paths below which files may be created and changed.
    """

    writable: tuple[str, ...]

    def describe(self) -> str:
        return f"landlock: write below {' '.join(self.writable)} only, no signals or abstract sockets to the outside"


class LoadFilter(Step):
    """Load a seccomp program.

    Attributes:
        program: `struct sock_filter` array.
        tells: whether it hands denied calls over to the supervisor, which notes and refuses them.
    """

    program: bytes
    tells: bool

    def describe(self) -> str:
        tells = "; the supervisor notes and refuses what it denies" if self.tells else ""
        return f"load a seccomp filter of {len(self.program) // 8} instructions{tells}"


class CloseDescriptors(Step):
    """Close everything but the standard descriptors."""

    def describe(self) -> str:
        return "close every descriptor but 0, 1 and 2"


class Execute(Step):
    """Execute the program."""

    path: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        names = " ".join(name for name, _ in self.environment)
        return f"execute {self.path} with arguments {list(self.argv)} and environment {names}"


KINDS: dict[str, type[Value]] = {kind.__name__: kind for kind in Step.__subclasses__()}
"""Every kind of step by its name, for `of_plain`."""

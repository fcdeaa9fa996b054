"""System calls that Python does not wrap, one thin function each, named as the kernel names them.

Every function calls, and raises OSError with errno and path if the kernel refuses. No policy lives here. Imported
in the guest's side of the fork only: ctypes costs milliseconds (docs/decisions/0005-start-path.md). Numbers are from
the kernel's include/uapi; system calls since Linux 5.1 have one number on every architecture.
"""

from __future__ import annotations

import ctypes
import os
from errno import EINVAL

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000
SIGCHLD = 17

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECBITS_LOCKED_DOWN = 0b11101111  # every securebit and its lock, but KEEP_CAPS itself
LAST_KNOWN_CAPABILITY = 63

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32

LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1

_NR = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277},
}
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_CLOSE_RANGE = 436
_NR_MOUNT_SETATTR = 442
_NR_LANDLOCK_CREATE_RULESET = 444
_NR_LANDLOCK_ADD_RULE = 445
_NR_LANDLOCK_RESTRICT_SELF = 446

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_native = _NR.get(os.uname().machine, {})


def _check(result: int, path: str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def _syscall(number: int, *arguments: ctypes.c_long | ctypes.c_void_p | bytes | None, path: str | None = None) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), path)


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def unshare(flags: int) -> None:
    """Move this process into new namespaces (unshare(2))."""
    _check(_libc.unshare(ctypes.c_int(flags)))


def fork_sibling() -> int:
    """Fork a child whose parent is our own parent (clone(2) with CLONE_PARENT); returns as fork(2) does.

    The interpreter is told as by os.fork(). glibc is not: its idea of the thread id stays the parent's, which only
    matters to raise(3) and robust mutexes, and the child uses neither.
    """
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    pid = int(_raw.syscall(_long(_native["clone"]), _long(CLONE_PARENT | SIGCHLD), None, None, None, None))
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    api.PyOS_AfterFork_Parent()
    return _check(pid)


_raw = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock across clone, as os.fork() does
_raw.syscall.restype = ctypes.c_long


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount a file system (mount(2))."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if options is None else options.encode(),
        ),
        target,
    )


def umount2(target: str, flags: int) -> None:
    """Unmount (umount2(2))."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Change the root mount (pivot_root(2))."""
    _syscall(_native["pivot_root"], os.fsencode(new_root), os.fsencode(put_old), path=new_root)


def open_tree(path: str, flags: int) -> int:
    """Return a descriptor of a detached copy of a mount (open_tree(2)); it is closed on exec."""
    return _syscall(_NR_OPEN_TREE, _long(AT_FDCWD), os.fsencode(path), _long(flags | os.O_CLOEXEC), path=path)


def move_mount(descriptor: int, target: str) -> None:
    """Attach a detached mount (move_mount(2))."""
    _syscall(
        _NR_MOVE_MOUNT, _long(descriptor), b"", _long(AT_FDCWD), os.fsencode(target), _long(MOVE_MOUNT_F_EMPTY_PATH),
        path=target,
    )  # fmt: skip


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(descriptor: int, flags: int, attributes: int, user_namespace: int = 0) -> None:
    """Set attributes of a detached mount (mount_setattr(2), struct mount_attr)."""
    attr = _MountAttr(attributes, 0, 0, user_namespace)
    _syscall(
        _NR_MOUNT_SETATTR, _long(descriptor), b"", _long(AT_EMPTY_PATH | flags),
        ctypes.cast(ctypes.byref(attr), ctypes.c_void_p), _long(ctypes.sizeof(attr)),
    )  # fmt: skip


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace (sethostname(2))."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))))


def prctl(option: int, argument: int = 0, third: int = 0) -> int:
    """Operate on this process (prctl(2))."""
    arguments = (ctypes.c_ulong(argument), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return _check(_libc.prctl(ctypes.c_int(option), *arguments))


def set_name(name: str) -> None:
    """Name this process for ps(1) (prctl(2), PR_SET_NAME); at most 15 bytes are kept."""
    _check(_libc.prctl(ctypes.c_int(PR_SET_NAME), ctypes.c_char_p(name.encode())))


def restore_default_signal(number: int) -> None:
    """Undo the handler the interpreter installed when it started (signal(2)); a caller's "ignore" is kept.

    SIGPIPE and SIGXFSZ are always ignored by the interpreter, so what the caller wanted is not known: default.
    """
    _libc.signal.restype = ctypes.c_void_p
    before = _libc.signal(ctypes.c_int(number), None)
    if before == _SIG_IGN and number == _SIGINT:
        _libc.signal(ctypes.c_int(number), ctypes.c_void_p(_SIG_IGN))


_SIG_IGN = 1
_SIGINT = 2


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


_LINUX_CAPABILITY_VERSION_3 = 0x20080522


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets of this process (capset(2))."""
    header = _CapHeader(_LINUX_CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)()
    _syscall(
        _native["capset"],
        ctypes.cast(ctypes.byref(header), ctypes.c_void_p),
        ctypes.cast(ctypes.byref(data), ctypes.c_void_p),
    )


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close descriptors `first` to `last` (close_range(2))."""
    _syscall(_NR_CLOSE_RANGE, _long(first), _long(last), _long(0))


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_BPF_INSTRUCTION_BYTES = 8


def setns(descriptor: int) -> None:
    """Enter an open namespace; a pid namespace is that of later children (setns(2))."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(0)))


def seccomp_listener(program: bytes) -> int:
    """Load a BPF program for this thread, and return the descriptor that tells of calls it hands over (seccomp(2)).

    Where the kernel knows how (5.19), a call that was told of waits for its answer whatever signals come: without, the
    program would see EINTR.
    """
    try:
        return seccomp_filter(program, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        return seccomp_filter(program, SECCOMP_FILTER_FLAG_NEW_LISTENER)


def seccomp_filter(program: bytes, flags: int = SECCOMP_FILTER_FLAG_TSYNC) -> int:
    """Load a BPF program (`struct sock_filter` array), by default for every thread of this process (seccomp(2)).

    Returns a descriptor if `flags` ask for a listener.
    """
    filter_ = _SockFprog(len(program) // _BPF_INSTRUCTION_BYTES, program)
    return _syscall(
        _native["seccomp"], _long(SECCOMP_SET_MODE_FILTER), _long(flags),
        ctypes.cast(ctypes.byref(filter_), ctypes.c_void_p),
    )  # fmt: skip


def landlock_abi() -> int:
    """Return the version of Landlock this kernel offers, 0 for none (landlock_create_ruleset(2))."""
    try:
        return landlock_version()
    except OSError:
        return 0


def landlock_version() -> int:
    """Return the version of Landlock; ENOSYS says that it was not built, EOPNOTSUPP that it is switched off."""
    return _syscall(_NR_LANDLOCK_CREATE_RULESET, None, _long(0), _long(LANDLOCK_CREATE_RULESET_VERSION))


class _LandlockRulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _LandlockPathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_create_ruleset(handled_fs: int, scoped: int, size: int) -> int:
    """Return the descriptor of a new ruleset; `size` says how much of the structure this kernel knows."""
    attr = _LandlockRulesetAttr(handled_fs, 0, scoped)
    pointer = ctypes.cast(ctypes.byref(attr), ctypes.c_void_p)
    return _syscall(_NR_LANDLOCK_CREATE_RULESET, pointer, _long(size), _long(0))


def landlock_add_path(ruleset: int, directory: int, allowed: int) -> None:
    """Allow `allowed` accesses below an open directory (or on an open file)."""
    attr = _LandlockPathBeneathAttr(allowed, directory)
    pointer = ctypes.cast(ctypes.byref(attr), ctypes.c_void_p)
    _syscall(_NR_LANDLOCK_ADD_RULE, _long(ruleset), _long(LANDLOCK_RULE_PATH_BENEATH), pointer, _long(0))


def landlock_restrict_self(ruleset: int) -> None:
    """Enforce a ruleset on this thread and all its children."""
    _syscall(_NR_LANDLOCK_RESTRICT_SELF, _long(ruleset), _long(0))

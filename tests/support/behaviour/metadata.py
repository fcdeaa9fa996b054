"""Cases on attributes: owners, permissions, times, extended attributes, locks, space."""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from collections.abc import Callable

from .cases import STRANGER, as_stranger, called, case, get, in_child, mode, outcome, put

_SLEEP_S = 0.012  # longer than the kernel's coarse clock takes to tick, at 100 Hz
_OMIT, _NOW = (1 << 30) - 2, (1 << 30) - 1


def changed(names: list[str], action: Callable[[], object]) -> list[str]:
    """Return which times of which files an action changes, as "name:mc"."""
    before = {name: os.lstat(name) for name in names if os.path.lexists(name)}
    time.sleep(_SLEEP_S)
    action()
    shown = []
    for name, old in before.items():
        if not os.path.lexists(name):
            shown.append(f"{name}: gone")
            continue
        new = os.lstat(name)
        assert new.st_ctime_ns >= old.st_ctime_ns
        which = "m" * (old.st_mtime_ns != new.st_mtime_ns) + "c" * (old.st_ctime_ns != new.st_ctime_ns)
        shown.append(f"{name}:{which}")
    return shown


def stamped(name: str, access: tuple[int, int], modification: tuple[int, int]) -> object:
    times = (ctypes.c_long * 4)(*access, *modification)
    return called("utimensat", -100, name.encode(), times, 0)


def appended(name: str) -> None:
    with open(name, "ab") as file:
        file.write(b"more")


@case
def times_of_files_and_folders() -> object:
    os.mkdir("d")
    for name in ("a", "b", "d/x"):
        put(name, b"1")
    os.mkdir("e")
    os.symlink("a", "s")
    seen = [".", "d", "e", "a", "b", "s"]
    actions: list[Callable[[], object]] = [
        lambda: get("a"),
        lambda: os.listdir("d"),
        lambda: put("a", b"2"),
        lambda: appended("a"),
        lambda: os.truncate("a", 2),
        lambda: os.chmod("a", 0o600),
        lambda: os.chown("a", 5, 6),
        lambda: os.setxattr("a", "user.x", b"1"),
        lambda: os.removexattr("a", "user.x"),
        lambda: os.link("a", "d/a2"),
        lambda: os.unlink("d/a2"),
        lambda: os.rename("b", "e/b"),
        lambda: os.rename("e/b", "b"),
        lambda: os.rename("d", "e/d"),
        lambda: os.rename("e/d", "d"),
        lambda: os.mkdir("d/m"),
        lambda: os.rmdir("d/m"),
        lambda: put("d/n"),
        lambda: os.symlink("q", "d/q"),
        lambda: os.mkfifo("d/p"),
        lambda: os.chmod("d", 0o700),
        lambda: os.lchown("s", 5, 6),
        lambda: os.setxattr("d", "user.x", b"1"),
        lambda: os.rename("d/n", "b"),
        lambda: os.stat("a"),
    ]
    return [changed(seen, action) for action in actions]


@case
def times_through_a_descriptor() -> object:
    put("a", b"1")
    fd = os.open("a", os.O_RDWR)
    held = [changed(["a"], lambda: os.pwrite(fd, b"2", 0)), changed(["a"], lambda: os.ftruncate(fd, 0))]
    held += [changed(["a"], lambda: os.fchmod(fd, 0o640)), changed(["a"], lambda: os.fsync(fd))]
    held += [changed(["a"], lambda: os.close(fd))]
    return held


@case
def setting_times() -> object:
    put("a", b"1")
    os.mkdir("d")
    found = []
    for name in ("a", "d"):
        for access, modification in (
            (1, 2),
            (1_700_000_000_123_456_789, 5_000_000_000_000_000_001),
            (-5, -1_500_000_000),
        ):
            os.utime(name, ns=(access, modification))
            found.append([os.stat(name).st_atime_ns, os.stat(name).st_mtime_ns])
    os.symlink("a", "s")
    os.utime("s", ns=(7, 8), follow_symlinks=False)
    return [found, os.lstat("s").st_mtime_ns, os.lstat("s").st_atime_ns]


@case
def times_that_are_set_stay() -> object:
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"text")
    os.utime(fd, ns=(1, 2_000_000_003))
    seen = [os.fstat(fd).st_mtime_ns]
    os.close(fd)
    seen.append(os.stat("a").st_mtime_ns)
    os.rename("a", "b")
    os.chmod("b", 0o600)
    fd = os.open("b", os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    return [*seen, os.stat("b").st_mtime_ns]


@case
def now_and_omit() -> object:
    put("a")
    os.utime("a", ns=(1, 2))
    results = [stamped("a", (0, _OMIT), (9, 5)), os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns]
    results += [stamped("a", (3, 4), (0, _OMIT)), os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns]
    before = time.time_ns() - 50_000_000
    results += [stamped("a", (0, _NOW), (0, _OMIT)), os.stat("a").st_atime_ns > before, os.stat("a").st_mtime_ns]
    results += [stamped("a", (3, 4), (0, _NOW)), os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns > before]
    results += [stamped("a", (0, _OMIT), (0, _OMIT)), stamped("a", (0, 1 << 31), (0, 0))]
    return [*results, stamped("x", (0, _NOW), (0, _NOW))]


@case
def what_is_written_later_is_not_older() -> object:
    names = [f"f{number}" for number in range(60)]
    for number, name in enumerate(names):
        put(name, b"x" if number % 2 else b"")
    times = [os.stat(name).st_mtime_ns for name in names]
    return [times == sorted(times)]


@case
def changing_modes() -> object:
    put("a")
    os.mkdir("d")
    found = []
    for bits in (0, 0o777, 0o7777, 0o4711, 0o2070):
        os.chmod("a", bits)
        os.chmod("d", bits)
        found.append([mode("a"), mode("d")])
    return [found, outcome(os.chmod, "x", 0), as_stranger(lambda: os.chmod("a", 0o777)), mode("a")]


@case
def changing_owners() -> object:
    put("a")
    found = []
    for uid, gid in ((1, 2), (-1, 5), (7, -1), (-1, -1)):
        os.chmod("a", 0o6755)
        os.chown("a", uid, gid)
        found.append([os.stat("a").st_uid, os.stat("a").st_gid, mode("a") if (uid, gid) != (-1, -1) else ""])
    os.chmod("a", 0o6744)
    os.chown("a", 1, 1)
    os.mkdir("d")
    os.chmod("d", 0o6777)
    os.chown("d", 1, 1)
    return [found, mode("a"), mode("d"), as_stranger(lambda: os.chown("a", STRANGER, -1))]


@case
def writing_clears_privileges() -> object:
    os.chmod(".", 0o777)
    found = []
    actions: list[Callable[[], object]] = [
        lambda: appended("a"),
        lambda: os.truncate("a", 1),
        lambda: put("a", b"x"),
        lambda: os.posix_fallocate(os.open("a", os.O_RDWR), 0, 100),
        lambda: os.pwrite(os.open("a", os.O_RDWR), b"x", 0),
        lambda: os.chown("a", -1, STRANGER),
    ]
    put("a", b"12345")
    os.chown("a", STRANGER, STRANGER)
    for action in actions:
        for bits in (0o6777, 0o2766, 0o4666):
            os.chmod("a", bits)
            found.append([as_stranger(action), mode("a")])
    os.chmod("a", 0o6777)
    appended("a")  # by the root of the namespace, which has no capability outside of it
    return [[bits for _, bits in found], mode("a")]


@case
def setgid_directories() -> object:
    os.mkdir("d")
    os.chown("d", 0, 77)
    os.chmod("d", 0o2777)

    def fill(prefix: str) -> object:
        os.umask(0o022)
        put(f"d/{prefix}f")
        os.mkdir(f"d/{prefix}d")
        os.symlink("f", f"d/{prefix}s")
        os.mkfifo(f"d/{prefix}p")
        fd = os.open("d", os.O_TMPFILE | os.O_RDWR, 0o600)
        os.close(os.open(f"d/{prefix}x", os.O_CREAT | os.O_WRONLY, 0o2775))
        put(f"d/{prefix}d/inner")
        names = [f"d/{prefix}{name}" for name in ("f", "d", "s", "p", "x", "d/inner")]
        return [[mode(name), os.lstat(name).st_uid, os.lstat(name).st_gid] for name in names] + [os.fstat(fd).st_gid]

    return [fill("a"), as_stranger(lambda: fill("b")), as_stranger(lambda: fill("c"), 77)]


@case
def an_ordinary_user_may_what_the_mode_says() -> object:
    put("secret", b"x")
    os.chmod("secret", 0o600)
    put("open", b"x")
    os.mkdir("closed", 0o700)
    put("closed/f")
    os.mkdir("own")
    os.chown("own", STRANGER, STRANGER)
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    put("sticky/f")
    calls: list[Callable[[], object]] = [
        lambda: get("secret"),
        lambda: get("open"),
        lambda: put("open", b"y"),
        lambda: get("closed/f"),
        lambda: os.listdir("closed"),
        lambda: put("new"),
        lambda: os.mkdir("new"),
        lambda: os.unlink("open"),
        lambda: put("own/f", b"mine"),
        lambda: [os.stat("own/f").st_uid, os.stat("own/f").st_gid],
        lambda: os.unlink("sticky/f"),
        lambda: os.rename("sticky/f", "sticky/g"),
        lambda: put("sticky/mine"),
        lambda: os.unlink("sticky/mine"),
        lambda: os.utime("open"),
        lambda: os.utime("open", ns=(1, 1)),
        lambda: os.link("secret", "own/secret"),
        lambda: [os.access("secret", os.R_OK), os.access("open", os.R_OK), os.access("open", os.X_OK)],
        lambda: os.setxattr("open", "user.x", b"1"),
        lambda: os.mknod("own/device", 0o020666, os.makedev(1, 3)),
        lambda: os.truncate("open", 0),
    ]
    return [as_stranger(call) for call in calls]


@case
def extended_attributes() -> object:
    put("a")
    os.mkdir("d")
    os.symlink("a", "s")
    os.setxattr("a", "user.one", b"1")
    os.setxattr("a", "user.empty", b"")
    os.setxattr("d", "user.dir", bytes(1000))
    results = [
        outcome(os.setxattr, "a", "user.one", b"2", os.XATTR_CREATE),
        outcome(os.setxattr, "a", "user.two", b"2", os.XATTR_REPLACE),
        outcome(os.setxattr, "a", "user.one", b"3", os.XATTR_REPLACE),
        outcome(os.getxattr, "a", "user.none"),
        outcome(os.removexattr, "a", "user.none"),
        outcome(os.setxattr, "a", "odd.name", b""),
        outcome(os.setxattr, "a", "user.", b""),
        outcome(os.setxattr, "s", "user.link", b"", follow_symlinks=False),
        outcome(os.setxattr, "a", "trusted.x", b""),
        outcome(os.setxattr, "a", "security.x", b"y"),
        outcome(os.getxattr, "a", "security.x"),
        outcome(os.setxattr, "a", "user." + "n" * 250, b"long"),
        outcome(os.setxattr, "a", "user." + "n" * 251, b"long"),
        outcome(os.setxattr, "a", "user.big", bytes(65_537)),
        outcome(os.getxattr, "a", "user.one"),
        outcome(os.getxattr, "a", "user.empty"),
        outcome(os.getxattr, "a", "trusted.x"),
        called("getxattr", b"a", b"user.one", ctypes.create_string_buffer(1), 0),
        called("getxattr", b"d", b"user.dir", ctypes.create_string_buffer(10), 10),
        called("listxattr", b"d", ctypes.create_string_buffer(3), 3),
        called("listxattr", b"d", None, 0),
    ]
    os.removexattr("a", "user.empty")
    return [results, sorted(os.listxattr("a")), os.listxattr("d"), os.listxattr("s", follow_symlinks=False)]


@case
def attributes_follow_the_inode() -> object:
    put("a")
    os.setxattr("a", "user.x", b"1")
    os.link("a", "b")
    os.rename("a", "c")
    put("a")
    return [os.getxattr("b", "user.x"), os.getxattr("c", "user.x"), os.listxattr("a")]


@case
def file_capabilities() -> object:
    put("a", b"x")
    v2 = (0x02000000).to_bytes(4, "little") + bytes(16)
    results = [
        outcome(os.setxattr, "a", "security.capability", v2),
        len(outcome(os.getxattr, "a", "security.capability")),
    ]
    appended("a")
    return [*results, os.listxattr("a"), as_stranger(lambda: os.setxattr("a", "security.capability", v2))]


@case
def flock_between_processes() -> object:
    put("a")
    fd = os.open("a", os.O_RDWR)

    def attempt(kind: int) -> object:
        return in_child(lambda: outcome(fcntl.flock, os.open("a", os.O_RDWR), kind | fcntl.LOCK_NB))

    fcntl.flock(fd, fcntl.LOCK_SH)
    seen = [attempt(fcntl.LOCK_SH), attempt(fcntl.LOCK_EX)]
    fcntl.flock(fd, fcntl.LOCK_EX)
    seen += [attempt(fcntl.LOCK_SH), in_child(lambda: outcome(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB))]
    os.close(fd)
    return [*seen, attempt(fcntl.LOCK_EX)]


@case
def record_locks_between_processes() -> object:
    put("a", bytes(100))
    fd = os.open("a", os.O_RDWR)
    wait = fcntl.LOCK_EX | fcntl.LOCK_NB
    fcntl.lockf(fd, wait, 10, 20)

    def attempt(length: int, start: int, kind: int = wait) -> object:
        return in_child(lambda: outcome(fcntl.lockf, os.open("a", os.O_RDWR), kind, length, start))

    seen = [attempt(10, 0), attempt(10, 20), attempt(1, 29), attempt(10, 30), attempt(0, 0), attempt(0, 30)]
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 20)
    seen += [attempt(10, 20), attempt(10, 20, fcntl.LOCK_SH | fcntl.LOCK_NB)]
    os.close(os.open("a", os.O_RDWR))  # closing any descriptor of the file loses the locks
    os.close(os.open("a", os.O_RDONLY))
    return [*seen, attempt(10, 20)]


@case
def a_lock_is_waited_for() -> object:
    put("a")
    fd = os.open("a", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        fcntl.lockf(os.open("a", os.O_RDWR), fcntl.LOCK_EX)
        os.write(writer, b"got it")
        os._exit(0)
    time.sleep(0.05)
    os.write(writer, b"released, ")
    fcntl.lockf(fd, fcntl.LOCK_UN)
    os.waitpid(child, 0)
    return [os.read(reader, 100)]


@case
def space() -> object:
    found = os.statvfs(".")
    return [found.f_bsize, found.f_frsize, found.f_namemax, found.f_bfree <= found.f_blocks]

"""Cases on names: files, directories, links, renaming, listing."""

from __future__ import annotations

import os
import stat
from typing import Any

from .cases import called, case, get, mode, outcome, put

NOREPLACE, EXCHANGE = 1, 2


def renamed(old: str, new: str, flags: int) -> object:
    return called("renameat2", -100, old.encode(), -100, new.encode(), flags)


@case
def create_and_open() -> object:
    put("a", b"x")
    return [
        outcome(os.open, "a", os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        outcome(os.open, "missing", os.O_RDONLY),
        outcome(os.open, "missing/a", os.O_CREAT | os.O_WRONLY),
        outcome(os.open, "a/b", os.O_RDONLY),
        outcome(os.open, "a/", os.O_RDONLY),
        outcome(os.open, ".", os.O_WRONLY),
        outcome(os.open, "a", os.O_DIRECTORY),
        outcome(os.mkdir, "a"),
        outcome(os.stat, ""),
        sorted(os.listdir()),
    ]


@case
def names_of_any_bytes() -> object:
    names = [b"\xff\xfe", b"new\nline", b"tab\t", b"n" * 255, "ünïcode".encode(), b" ", b"..."]
    for name in names:
        put(name, name)
    return [sorted(os.listdir(b".")) == sorted(names), [get(name) == name for name in names]]


@case
def names_that_are_too_long() -> object:
    put("a")
    os.mkdir("d")
    long = "n" * 256
    calls: list[tuple[Any, ...]] = [
        (os.stat, long),
        (os.open, long, os.O_CREAT | os.O_WRONLY),
        (os.mkdir, long),
        (os.symlink, "a", long),
        (os.link, "a", long),
        (os.rename, "a", long),
        (os.rename, long, "b"),
        (os.unlink, long),
        (os.rmdir, long),
        (os.mkfifo, long),
        (os.stat, "m" * 1100),
        (os.stat, "d/" * 2048),
    ]
    return [outcome(*call) for call in calls]


@case
def creating_with_any_mode() -> object:
    shown = []
    for bits in (0, 0o444, 0o777, 0o4755, 0o2755, 0o1777):
        fd = os.open(f"f{bits:o}", os.O_CREAT | os.O_EXCL | os.O_RDWR, bits)
        shown.append([os.write(fd, b"x"), mode(fd)])
        os.close(fd)
    os.umask(0o077)
    os.mkdir("d", 0o1777)
    put("g")
    os.mkfifo("p", 0o666)
    os.umask(0)
    os.mkdir("e", 0o2777)
    put("h")
    return [shown, [mode(name) for name in "dgpeh"]]


@case
def directories_count_their_links() -> object:
    seen = [os.stat(".").st_nlink]
    os.makedirs("a/b")
    os.mkdir("c")
    put("f")
    seen += [os.stat(name).st_nlink for name in (".", "a", "a/b", "a/b/..")]
    os.rename("a/b", "c/b")
    seen += [os.stat(name).st_nlink for name in (".", "a", "c", "c/b")]
    os.rmdir("c/b")
    os.rmdir("a")
    return [*seen, os.stat(".").st_nlink, os.stat("c").st_nlink]


@case
def removing_the_wrong_kind() -> object:
    os.makedirs("d/e")
    put("f")
    calls: list[tuple[Any, ...]] = [
        (os.rmdir, "d"),
        (os.rmdir, "f"),
        (os.unlink, "d"),
        (os.rmdir, "."),
        (os.rmdir, "d/.."),
        (os.rmdir, "x"),
    ]
    return [outcome(*call) for call in calls] + [outcome(os.unlink, "x"), outcome(os.unlink, "f/g")]


@case
def hard_links() -> object:
    put("a", b"one")
    os.mkdir("d")
    os.symlink("a", "s")
    os.link("a", "b")
    os.link("a", "d/c")
    os.link("s", "t", follow_symlinks=False)
    same = os.path.samefile("a", "b") and os.path.samefile("a", "d/c")
    links = [os.stat("a").st_nlink, os.stat("d/c").st_nlink, os.lstat("t").st_nlink]
    put("b", b"two")
    os.unlink("a")
    wrong = [outcome(os.link, *pair) for pair in (("d", "e"), ("b", "d"), ("b", "d/c"), ("x", "y"), ("b", "x/y"))]
    return [same, links, get("d/c"), os.stat("b").st_nlink, os.readlink("t"), wrong]


@case
def symbolic_links() -> object:
    os.symlink("nowhere", "dangling")
    os.symlink("x" * 4095, "long")
    os.symlink("loop", "loop")
    os.mkdir("d")
    put("d/f", b"f")
    os.symlink("d", "e")
    return [
        os.readlink("dangling"),
        len(os.readlink("long")),
        [os.lstat(name).st_size for name in ("dangling", "long", "e")],
        mode("e"),
        outcome(os.stat, "dangling"),
        outcome(os.stat, "loop"),
        outcome(os.open, "e", os.O_RDONLY | os.O_NOFOLLOW),
        outcome(os.symlink, "a", "d"),
        outcome(os.symlink, "", "empty"),
        outcome(os.readlink, "d"),
        outcome(os.rmdir, "e"),
        get("e/f"),
    ]


@case
def a_file_lives_as_long_as_it_is_open() -> object:
    put("a", b"old")
    fd = os.open("a", os.O_RDWR)
    os.unlink("a")
    put("a", b"new")
    os.pwrite(fd, b"!", 3)
    found = [os.pread(fd, 10, 0), os.fstat(fd).st_nlink, get("a"), get(f"/proc/self/fd/{fd}")]
    again = outcome(os.link, f"/proc/self/fd/{fd}", "b", src_dir_fd=fd)
    os.ftruncate(fd, 1)
    os.fchmod(fd, 0o600)
    found += [os.pread(fd, 10, 0), mode(fd), again, outcome(os.setxattr, fd, "user.a", b"1"), os.listxattr(fd)]
    os.close(fd)
    return found


@case
def a_directory_lives_as_long_as_it_is_open() -> object:
    here = os.getcwd()
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY)
    os.rmdir("d")
    made = outcome(os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    found = [made, outcome(os.mkdir, "x", dir_fd=fd), os.listdir(fd), os.fstat(fd).st_nlink]
    os.chdir(fd)
    found.append(outcome(os.getcwd))
    os.chdir(here)
    os.close(fd)
    os.mkdir("d")
    return [*found, os.listdir("d")]


@case
def renaming() -> object:
    os.makedirs("a/b")
    os.makedirs("full/x")
    os.mkdir("empty")
    put("f", b"f")
    put("g", b"g")
    os.link("f", "f2")
    pairs = [
        "g d",
        "a full",
        "f empty",
        "a f",
        "a a/b/c",
        "a/b a/b/c",
        "x y",
        "f x/y",
        "f f2",
        "f f",
        "a/b empty",
        "a/. z",
    ]
    results = [outcome(os.rename, *pair.split()) for pair in pairs]
    return [*results, sorted(os.listdir()), sorted(os.listdir("a")), os.stat("d").st_nlink, os.listdir("empty")]


@case
def renaming_over_an_open_file() -> object:
    put("a", b"a")
    put("b", b"b")
    old = os.open("b", os.O_RDONLY)
    new = os.open("a", os.O_RDONLY)
    os.rename("a", "b")
    found = [os.read(old, 9), os.read(new, 9), get("b"), os.fstat(old).st_nlink, os.fstat(new).st_nlink]
    os.close(old)
    os.close(new)
    return [*found, os.listdir()]


@case
def renaming_with_flags() -> object:
    put("a", b"a")
    put("b", b"b")
    os.makedirs("d/e")
    results = [renamed("a", "b", NOREPLACE), renamed("a", "c", NOREPLACE), renamed("b", "c", EXCHANGE)]
    results += [renamed("b", "x", EXCHANGE), renamed("x", "b", EXCHANGE), renamed("b", "d/e", EXCHANGE)]
    results += [renamed("b", "c", NOREPLACE | EXCHANGE), renamed("d", "d/e", EXCHANGE), renamed("b", "c", 64)]
    seen = [get("c"), get("d/e"), os.listdir("b"), [os.stat(name).st_nlink for name in (".", "b", "d")]]
    return [results, seen, os.path.samefile("b/..", ".")]


@case
def a_moved_directory_has_a_new_parent() -> object:
    os.makedirs("a/b/c")
    os.mkdir("d")
    fd = os.open("a/b/c", os.O_RDONLY)
    os.rename("a/b", "d/b")
    up = os.stat("../..", dir_fd=fd).st_ino == os.stat("d").st_ino
    listed = {entry.name: entry.inode() for entry in os.scandir("d")}
    os.close(fd)
    return [up, listed["b"] == os.stat("d/b").st_ino, os.listdir("a"), os.path.samefile("d/b/..", "d")]


@case
def unnamed_files() -> object:
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"text")
    found = [os.fstat(fd).st_nlink, mode(fd), os.listdir()]
    os.link(f"/proc/self/fd/{fd}", "a", src_dir_fd=fd)
    found += [os.fstat(fd).st_nlink, get("a"), outcome(os.link, f"/proc/self/fd/{fd}", "a", src_dir_fd=fd)]
    never = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    found.append(outcome(os.link, f"/proc/self/fd/{never}", "b", src_dir_fd=never))
    os.close(fd)
    os.close(never)
    return [*found, os.listdir(), mode("a"), outcome(os.open, ".", os.O_TMPFILE | os.O_RDONLY)]


@case
def kinds_in_a_listing() -> object:
    put("f")
    os.mkdir("d")
    os.symlink("f", "s")
    os.mkfifo("p")
    with os.scandir() as entries:
        found = {
            e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries
        }
    with os.scandir() as entries:
        same = all(entry.inode() == os.lstat(entry.name).st_ino for entry in entries)
    return [dict(sorted(found.items())), same, stat.S_ISFIFO(os.stat("p").st_mode)]


@case
def a_listing_survives_changes() -> object:
    for number in range(2000):
        put(f"{number}")
    seen = set()
    with os.scandir() as entries:
        for count, entry in enumerate(entries):
            assert entry.name not in seen
            seen.add(entry.name)
            os.unlink(entry.name)
            if count % 100 == 0:
                put(f"new{count}")
    return [{name for name in seen if not name.startswith("new")} == {f"{n}" for n in range(2000)}]


@case
def rewinding_a_listing_shows_what_is_new() -> object:
    put("a")
    fd = os.open(".", os.O_RDONLY)
    first = os.listdir(fd)
    put("b")
    os.unlink("a")
    second = os.listdir(fd)
    os.rename("b", "c")
    third = os.listdir(fd)
    os.close(fd)
    return [first, second, third]


@case
def missing_names_appear() -> object:
    seen = [outcome(os.stat, "a"), outcome(os.stat, "d/x")]
    put("a")
    os.mkdir("d")
    seen += [os.path.exists("a"), outcome(os.stat, "d/x")]
    os.rename("a", "d/x")
    seen += [os.path.exists("a"), os.path.exists("d/x")]
    os.link("d/x", "a")
    os.symlink("a", "s")
    return [*seen, os.path.exists("a"), os.path.exists("s")]

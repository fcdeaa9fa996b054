"""Play a history of operations on two file systems side by side, and say where they part.

Reads histories from standard input, one a line: a JSON list of operations `[name, argument …]`. Prints for each a line:
null, or what differed. Files are named by paths of a small pool, open ones by the number of a slot.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import stat
import sys
from typing import Any

from .cases import as_json, called, outcome

SLOTS = 4
SIZES = (0, 1, 5, 4095, 4096, 4097, 20_000, 65_535, 65_536, 65_537, 150_000, 200_001)


class Player:
    """One file system and what is open on it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._open: list[int] = [-1] * SLOTS

    def play(self, operation: list[Any]) -> object:
        """Carry out an operation and return what can be seen of it."""
        name, *words = operation
        try:
            return as_json(outcome(getattr(self, f"do_{name}"), *words))
        except ValueError:  # an empty slot, for those functions that look before they ask the kernel
            return "ValueError"

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path)

    def finish(self) -> object:
        """Close everything, and return all that can be seen, from the caches and again from below."""
        contents = [outcome(os.pread, fd, 1 << 22, 0) if self._readable(fd) else b"" for fd in self._open]
        seen = self._seen(dropped=False)
        for slot in range(SLOTS):
            self.do_close(slot)
        again = self._seen(dropped=True)
        return as_json([contents, seen, again])

    @staticmethod
    def _readable(fd: int) -> bool:
        return fd >= 0 and not stat.S_ISDIR(os.fstat(fd).st_mode)

    def _seen(self, *, dropped: bool) -> dict[str, object]:
        found: dict[str, object] = {".": self._look(self._root)}
        for top, folders, files in os.walk(self._root):
            for name in sorted(folders + files):
                path = os.path.join(top, name)
                found[os.path.relpath(path, self._root)] = [*self._look(path), self._content(path, dropped=dropped)]
        return dict(sorted(found.items()))

    @staticmethod
    def _look(path: str) -> list[object]:
        found = os.lstat(path)
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        set_before = found.st_mtime_ns if found.st_mtime_ns < 1_000_000_000_000_000 else "now"
        names = sorted(os.listxattr(path, follow_symlinks=False))
        return [oct(found.st_mode), found.st_nlink, size, found.st_uid, found.st_gid, set_before, names]

    @staticmethod
    def _content(path: str, *, dropped: bool) -> object:
        kind = os.lstat(path).st_mode
        if stat.S_ISLNK(kind):
            return os.readlink(path)
        if not stat.S_ISREG(kind):
            return ""
        fd = os.open(path, os.O_RDONLY)
        if dropped:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with open(fd, "rb") as file:
            return file.read()

    def do_open(self, slot: int, path: str, flags: int) -> None:
        self.do_close(slot)
        self._open[slot] = os.open(self._path(path), flags, 0o644)

    def do_unnamed(self, slot: int, path: str) -> None:
        self.do_open(slot, path, os.O_TMPFILE | os.O_RDWR)

    def do_close(self, slot: int) -> None:
        fd, self._open[slot] = self._open[slot], -1
        if fd >= 0:
            os.close(fd)

    def do_read(self, slot: int, offset: int, length: int) -> object:
        return os.pread(self._open[slot], length, offset)

    def do_write(self, slot: int, offset: int, length: int, seed: int) -> object:
        piece = bytes((seed + number) & 0xFF for number in range(251))
        return os.pwrite(self._open[slot], piece * (length // 251 + 1), offset)

    def do_map(self, slot: int, offset: int, length: int, seed: int) -> object:
        size = os.fstat(self._open[slot]).st_size
        if not size:
            return None
        with mmap.mmap(self._open[slot], size) as shared:
            start, end = min(offset, size), min(offset + length, size)
            before = shared[start:end]
            shared[start:end] = bytes([seed]) * (end - start)
        os.utime(self._open[slot], ns=(1, 1))  # tmpfs alone does not count this as a modification
        return before

    def do_resize(self, slot: int, size: int) -> None:
        os.ftruncate(self._open[slot], size)

    def do_truncate(self, path: str, size: int) -> None:
        os.truncate(self._path(path), size)

    def do_sync(self, slot: int) -> None:
        os.fsync(self._open[slot])
        os.posix_fadvise(self._open[slot], 0, 0, os.POSIX_FADV_DONTNEED)

    def do_allocate(self, slot: int, mode: int, offset: int, length: int) -> object:
        return called("fallocate", self._open[slot], mode, ctypes.c_long(offset), ctypes.c_long(length))

    def do_copy(self, slot: int, to: int, offset: int, to_offset: int, length: int) -> object:
        return os.copy_file_range(self._open[slot], self._open[to], length, offset, to_offset)

    def do_holes(self, slot: int, offset: int) -> object:
        """Where data and holes are differs by file system, but a hole must read as zeros."""
        fd = self._open[slot]
        if not self._readable(fd):
            return "no file"
        size = os.fstat(fd).st_size
        data = outcome(os.lseek, fd, offset, os.SEEK_DATA)
        end = data if isinstance(data, int) else size
        if data == "ENXIO" and offset >= size:
            return "behind the end"
        return [any(os.pread(fd, max(end - offset, 0), offset)), offset <= os.lseek(fd, offset, os.SEEK_HOLE) <= size]

    def do_mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._path(path), mode)

    def do_rmdir(self, path: str) -> None:
        os.rmdir(self._path(path))

    def do_unlink(self, path: str) -> None:
        os.unlink(self._path(path))

    def do_rename(self, path: str, to: str, flags: int) -> object:
        return called("renameat2", -100, os.fsencode(self._path(path)), -100, os.fsencode(self._path(to)), flags)

    def do_link(self, path: str, to: str) -> None:
        os.link(self._path(path), self._path(to), follow_symlinks=False)

    def do_publish(self, slot: int, to: str) -> None:
        fd = self._open[slot]
        os.link(f"/proc/self/fd/{fd}", self._path(to), src_dir_fd=max(fd, 0))

    def do_symlink(self, target: str, path: str) -> None:
        os.symlink(target, self._path(path))

    def do_mkfifo(self, path: str) -> None:
        os.mkfifo(self._path(path))

    def do_chmod(self, path: str, mode: int) -> None:
        os.chmod(self._path(path), mode)

    def do_chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self._path(path), uid, gid, follow_symlinks=False)

    def do_stamp(self, path: str, when: int) -> None:
        os.utime(self._path(path), ns=(when, when), follow_symlinks=False)

    def do_set(self, path: str, name: str, length: int, flags: int) -> None:
        os.setxattr(self._path(path), f"user.{name}", b"v" * length, flags, follow_symlinks=False)

    def do_get(self, path: str, name: str) -> object:
        return os.getxattr(self._path(path), f"user.{name}", follow_symlinks=False)

    def do_remove(self, path: str, name: str) -> None:
        os.removexattr(self._path(path), f"user.{name}", follow_symlinks=False)

    def do_list(self, path: str) -> object:
        return sorted(os.listdir(self._path(path)))

    def do_stat(self, path: str) -> object:
        return self._look(self._path(path))


def compare(roots: list[str], history: list[list[Any]]) -> object:
    """Return what differed, or None."""
    players = [Player(root) for root in roots]
    for number, operation in enumerate(history):
        results = [player.play(operation) for player in players]
        if results[0] != results[1]:
            return {"step": number, "operation": operation, "results": results}
    ends = [player.finish() for player in players]
    return None if ends[0] == ends[1] else {"step": "end", "results": ends}


def main(roots: list[str]) -> None:
    """Play what comes in."""
    os.umask(0o022)
    for number, line in enumerate(sys.stdin):
        places = [os.path.join(root, f"history{number}") for root in roots]
        for place in places:
            os.mkdir(place)
        print(json.dumps(compare(places, json.loads(line))), flush=True)
        for place in places:
            shutil.rmtree(place)


if __name__ == "__main__":
    main(sys.argv[1:])

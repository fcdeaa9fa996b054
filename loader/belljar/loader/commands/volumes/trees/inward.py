"""Copy from the host into a volume: permissions, times, links, holes and `user.` attributes with it.

Links are copied, never followed. Devices and sockets are left out, and so are set-user-id and set-group-id bits.
Nothing is committed here.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from belljar.fs.keeping import Changes
from belljar.loader.errors import LoaderError

from .paths import CHUNK_BYTES, lookup

if TYPE_CHECKING:
    from belljar.fs.keeping import Progress, WritableTree

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PERMISSIONS = 0o1777
_USER = "user."
_STORED_BYTES = 64 * 1024  # the volume's own chunks
_ZEROS = bytes(_STORED_BYTES)


class Inward:
    """One copy; counts what it did.

    Args:
        tree: of the volume.
        owner: user and group id of what is made.
        replace: whether files that are there are replaced, and folders filled.
        itself: (device, inode) of the container, which cannot go into itself.
        progress: is told what is copied.
    """

    def __init__(
        self,
        tree: WritableTree,
        *,
        owner: tuple[int, int],
        replace: bool,
        itself: tuple[int, int],
        progress: Progress | None,
    ) -> None:
        self._tree = tree
        self._owner = owner
        self._replace = replace
        self._itself = itself
        self._progress = progress
        self._made: dict[tuple[int, int], int] = {}
        self.copied = 0
        self.copied_bytes = 0
        self.left_out: list[str] = []

    def put(self, source: str, parent: int, name: bytes) -> None:
        """Copy a file or tree of the host into a folder of the volume.

        Raises:
            LoaderError: something of that name is there, or the container is in the tree.
            OSError: it cannot be read, or the volume is full.
        """
        folders: list[tuple[int, os.stat_result]] = []
        pending = [(source, parent, name)]
        while pending:
            path, folder, called = pending.pop()
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode):
                ino = self._folder(path, folder, called)
                folders.append((ino, found))
                names = sorted(os.listdir(path), reverse=True)
                pending += [(os.path.join(path, below), ino, os.fsencode(below)) for below in names]
            else:
                self._one(path, found, folder, called)
        for ino, found in reversed(folders):
            self._finish(ino, found)

    def _folder(self, path: str, parent: int, name: bytes) -> int:
        there = lookup(self._tree, parent, name)
        if there is not None and stat.S_ISDIR(there.mode) and self._replace:
            ino = there.ino
        else:
            self._make_room(path, parent, name)
            ino = self._tree.make(parent, name, stat.S_IFDIR | 0o700, *self._owner).ino
        self._attributes(path, ino)
        self.copied += 1
        return ino

    def _make_room(self, path: str, parent: int, name: bytes) -> None:
        there = lookup(self._tree, parent, name)
        if there is None:
            return
        if not self._replace or stat.S_ISDIR(there.mode):
            hint = None if self._replace else "--replace replaces files and fills folders"
            raise LoaderError(f"{path}: {os.fsdecode(name)} is already in the volume", hint=hint)
        self._tree.unlink(parent, name)
        if there.nlink == 1:
            self._tree.forget(there.ino)

    def _one(self, path: str, found: os.stat_result, parent: int, name: bytes) -> None:
        identity = (found.st_dev, found.st_ino)
        if identity == self._itself:
            raise LoaderError(f"{path}: the volume cannot go into itself")
        mode = found.st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISFIFO(mode)):
            self.left_out.append(path)
            return
        self._make_room(path, parent, name)
        self.copied += 1
        if identity in self._made:
            self._tree.link(self._made[identity], parent, name)
            return
        target = os.fsencode(os.readlink(path)) if stat.S_ISLNK(mode) else b""
        permissions = mode & _PERMISSIONS if target else 0o600
        ino = self._tree.make(parent, name, stat.S_IFMT(mode) | permissions, *self._owner, target=target).ino
        if stat.S_ISREG(mode):
            self._content(path, ino)
            self._attributes(path, ino)
        self._finish(ino, found)
        if found.st_nlink > 1:
            self._made[identity] = ino

    def _content(self, path: str, ino: int) -> None:
        with open(os.open(path, _READ), "rb", buffering=0) as file:
            opened = os.fstat(file.fileno())
            if not stat.S_ISREG(opened.st_mode):
                raise LoaderError(f"{path}: became something else while it was read")
            if self._progress is not None:
                self._progress.expect(opened.st_size)
            offset = _next_data(file.fileno(), 0)
            while offset is not None:
                os.lseek(file.fileno(), offset, os.SEEK_SET)
                content = file.read(CHUNK_BYTES)
                if not content:
                    break
                self._write(ino, offset, content)
                self.copied_bytes += len(content)
                if self._progress is not None:
                    self._progress.advance(len(content))
                offset = _next_data(file.fileno(), offset + len(content))
            self._tree.set_attributes(ino, Changes(size=os.fstat(file.fileno()).st_size))

    def _write(self, ino: int, offset: int, content: bytes) -> None:
        """Write what is not zero; a volume stores no zeros where nobody writes them."""
        for start in range(0, len(content), _STORED_BYTES):
            part = content[start : start + _STORED_BYTES]
            if part != _ZEROS[: len(part)]:
                self._tree.write(ino, offset + start, part)

    def _finish(self, ino: int, found: os.stat_result) -> None:
        times = Changes(atime_ns=found.st_atime_ns, mtime_ns=found.st_mtime_ns)
        if not stat.S_ISLNK(found.st_mode):
            times.mode = found.st_mode & _PERMISSIONS
        self._tree.set_attributes(ino, times)

    def _attributes(self, path: str, ino: int) -> None:
        if not hasattr(os, "listxattr"):
            return
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EPERM):
                return
            raise
        for name in names:
            if name.startswith(_USER):
                content = os.getxattr(path, name, follow_symlinks=False)
                self._tree.set_xattr(ino, os.fsencode(name), content, 0)


def _next_data(descriptor: int, offset: int) -> int | None:
    """Return where the next data of a host file are, or None behind the last."""
    if not hasattr(os, "SEEK_DATA"):
        return offset
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        return None if error.errno == errno.ENXIO else offset

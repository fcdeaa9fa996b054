"""Copy out of a volume to the host: permissions, times, links, holes and `user.` attributes with it.

Whoever wrote the volume is not trusted with the host: everything is made new and nothing opened that was there, so no
link of the volume is ever gone through, and no name leads elsewhere. Files belong to who copies; set-user-id and
set-group-id bits, devices and sockets stay behind.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from belljar.loader.errors import LoaderError

from .paths import CHUNK_BYTES, data_ranges

if TYPE_CHECKING:
    from belljar.fs.keeping import Attributes, Progress, WritableTree

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_PERMISSIONS = 0o1777
_USER = b"user."


class Outward:
    """One copy; counts what it did.

    Args:
        tree: of the volume.
        progress: is told what is copied.
    """

    def __init__(self, tree: WritableTree, progress: Progress | None) -> None:
        self._tree = tree
        self._progress = progress
        self._made: dict[int, str] = {}
        self.copied = 0
        self.copied_bytes = 0
        self.left_out: list[str] = []

    def take(self, found: Attributes, target: str) -> None:
        """Copy what an inode is to a place where nothing is yet, with everything below.

        Raises:
            LoaderError: a name cannot be used on this system.
            OSError: it cannot be written.
        """
        folders: list[tuple[Attributes, str]] = []
        pending = [(found, target)]
        while pending:
            attributes, place = pending.pop()
            if stat.S_ISDIR(attributes.mode):
                os.mkdir(place, 0o700)
                folders.append((attributes, place))
                pending += self._below(attributes, place)
                self.copied += 1
            else:
                self._one(attributes, place)
        for attributes, place in reversed(folders):  # times and permissions last, deepest first
            self._finish(attributes, place)

    def _below(self, folder: Attributes, place: str) -> list[tuple[Attributes, str]]:
        entries = sorted(self._tree.entries(folder.ino, 0), key=lambda entry: entry[1], reverse=True)
        return [(self._tree.attributes(ino), os.path.join(place, _safe(name))) for _, name, ino, _ in entries]

    def _one(self, found: Attributes, place: str) -> None:
        earlier = self._made.get(found.ino)
        if earlier is not None:
            os.link(earlier, place, follow_symlinks=False)
            self.copied += 1
            return
        if stat.S_ISREG(found.mode):
            self._file(found, place)
        elif stat.S_ISLNK(found.mode):
            os.symlink(os.fsdecode(self._tree.target(found.ino)), place)
        elif stat.S_ISFIFO(found.mode) and hasattr(os, "mkfifo"):
            os.mkfifo(place, 0o600)
        else:
            self.left_out.append(place)
            return
        self._finish(found, place)
        self.copied += 1
        if found.nlink > 1:
            self._made[found.ino] = place

    def _file(self, found: Attributes, place: str) -> None:
        descriptor = os.open(place, _NEW_FILE, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            if self._progress is not None:
                self._progress.expect(found.size)
            file.truncate(found.size)
            for start, length in data_ranges(self._tree, found.ino, found.size):
                file.seek(start)
                for offset in range(start, start + length, CHUNK_BYTES):
                    self._chunk(found, file.fileno(), offset, min(CHUNK_BYTES, start + length - offset))

    def _chunk(self, found: Attributes, descriptor: int, offset: int, length: int) -> None:
        rest = memoryview(self._tree.read(found.ino, offset, length))
        self.copied_bytes += len(rest)
        if self._progress is not None:
            self._progress.advance(len(rest))
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def _finish(self, found: Attributes, place: str) -> None:
        link = stat.S_ISLNK(found.mode)
        if not link:
            self._attributes(found, place)
            os.chmod(place, found.mode & _PERMISSIONS)
        if not link or os.utime in os.supports_follow_symlinks:
            os.utime(place, ns=(found.atime_ns, found.mtime_ns), follow_symlinks=not link)

    def _attributes(self, found: Attributes, place: str) -> None:
        for name in self._tree.xattrs(found.ino):
            if not name.startswith(_USER) or not hasattr(os, "setxattr"):
                self.left_out.append(f"{place}: attribute {os.fsdecode(name)}")
                continue
            try:
                os.setxattr(place, name, self._tree.xattr(found.ino, name), follow_symlinks=False)
            except OSError as error:
                self.left_out.append(f"{place}: attribute {os.fsdecode(name)}: {error.strerror}")


def _safe(name: bytes) -> str:
    """Return a name as this system writes it.

    Raises:
        LoaderError: here it would not be one name.
    """
    text = os.fsdecode(name)
    forbidden = os.sep + (os.altsep or "") + "\0" + (":" if os.name == "nt" else "")
    if text in ("", ".", "..") or set(forbidden) & set(text):
        raise LoaderError(f"{text!r}: a name in the volume that cannot be used on this system")
    return text

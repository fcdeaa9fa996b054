"""Walk a host directory and say what an index of it will hold.

In come a source and a selection; out go the paths with their host stamps, the directories that were listed, and what
was left out. Nothing is read but directories and links; links are recorded, never followed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

import pathspec

from belljar.fs.errors import SourceError

from . import layout
from .beneath import FOLDER, NAME, open_beneath

Stamp = tuple[int, int, int, int, int]
"""(device, inode, size, mtime_ns, ctime_ns): equal stamps mean an unchanged file, see `cache.py` for the exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which paths below a source belong to the tree.

    Attributes:
        include: patterns of `.gitignore` syntax, of which a path must match one; None means everything.
        exclude: patterns of the same syntax; they win over `include`, and excluded directories are not entered.
        exact: paths relative to the source that are taken as they are, without any walk.
    """

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    exact: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One path that was walked past: its kind (`layout.KIND_*`), stat, and link target."""

    path: bytes
    kind: int
    stamp: Stamp
    mode: int
    nlink: int
    target: bytes = b""


@dataclass(slots=True)
class Walk:
    """What a walk found.

    Attributes:
        seen: files, directories and links of the tree.
        listed: stamps of the directories whose entries decided what is in the tree.
        left_out: sockets, fifos and devices: they have no content to measure.
    """

    seen: list[Seen] = field(default_factory=list[Seen])
    listed: list[tuple[bytes, Stamp]] = field(default_factory=list[tuple[bytes, Stamp]])
    left_out: list[bytes] = field(default_factory=list[bytes])


def stamp(status: os.stat_result) -> Stamp:
    """Return what identifies the content of a host file without reading it."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def walk(source: bytes, selection: Selection) -> Walk:
    """Find what belongs to the tree below `source`, which may also be a single file.

    Raises:
        SourceError: the source is missing, or something in it cannot be read.
    """
    found = Walk()
    try:
        status = os.stat(source)
        if not stat.S_ISDIR(status.st_mode):
            _add(found, b"", status, b"")
            return found
        root = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(source, error) from error
    try:
        if selection.exact is not None:
            _walk_exact(found, source, root, selection.exact)
        else:
            _walk_directory(found, source, root, _Filter(selection))
    finally:
        os.close(root)
    return found


class _Filter:
    def __init__(self, selection: Selection) -> None:
        compiled = pathspec.GitIgnoreSpec.from_lines
        self._include = None if selection.include is None else compiled(selection.include)
        self._exclude = compiled(selection.exclude) if selection.exclude else None

    def prunes(self, path: bytes) -> bool:
        return self._exclude is not None and self._exclude.match_file(os.fsdecode(path) + "/")

    def takes(self, path: bytes, *, directory: bool) -> bool:
        shown = os.fsdecode(path) + ("/" if directory else "")
        if self._exclude is not None and self._exclude.match_file(shown):
            return False
        return self._include is None or self._include.match_file(shown)


def selects(selection: Selection, path: bytes) -> bool:
    """Say whether a file at `path` below the source would belong to the tree, whether it is there or not."""
    if selection.exact is not None:
        return path in selection.exact
    wanted = _Filter(selection)
    folders = path.split(b"/")[:-1]
    above = [b"/".join(folders[: count + 1]) for count in range(len(folders))]
    return wanted.takes(path, directory=False) and not any(map(wanted.prunes, above))


def _walk_directory(found: Walk, source: bytes, root: int, wanted: _Filter) -> None:
    directories: dict[bytes, Seen] = {}
    needed: set[bytes] = set()
    pending = [b""]
    while pending:
        path = pending.pop()
        status, entries = _list(source, root, path)
        directories[path] = _directory(path, status)
        found.listed.append((path, stamp(status)))
        if wanted.takes(path, directory=True):
            _need(needed, path)
        for name, entry, target in entries:
            child = os.path.join(path, name)
            if stat.S_ISDIR(entry.st_mode):
                if not wanted.prunes(child):
                    pending.append(child)
            elif wanted.takes(child, directory=False):
                _add(found, child, entry, target)
                _need(needed, path)
    found.seen.extend(seen for path, seen in directories.items() if path in needed or not path)


def _list(source: bytes, root: int, path: bytes) -> tuple[os.stat_result, list[tuple[bytes, os.stat_result, bytes]]]:
    """Return the stat of a directory, and (name, stat, link target) of its entries."""
    host = os.path.join(source, path)
    entries: list[tuple[bytes, os.stat_result, bytes]] = []
    try:
        directory = open_beneath(root, path, FOLDER)
        try:
            status = os.fstat(directory)
            for text in os.listdir(directory):
                name = os.fsencode(text)
                host = os.path.join(source, path, name)
                entries.append((name, *_look(directory, name)))
        finally:
            os.close(directory)
    except OSError as error:
        raise unreadable(host, error, listed=True) from error
    return status, entries


def _look(directory: int, name: bytes) -> tuple[os.stat_result, bytes]:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return status, os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else b""


def _need(needed: set[bytes], path: bytes) -> None:
    """Mark a directory and its parents as part of the tree."""
    while path not in needed:
        needed.add(path)
        path = os.path.dirname(path)


def _walk_exact(found: Walk, source: bytes, root: int, paths: tuple[bytes, ...]) -> None:
    directories: set[bytes] = {b""}
    for path in sorted(set(paths)):
        status, target = _look_beneath(source, root, path)
        if stat.S_ISDIR(status.st_mode):
            directories.add(path)
        else:
            _add(found, path, status, target)
        parent = os.path.dirname(path)
        while parent not in directories:
            directories.add(parent)
            parent = os.path.dirname(parent)
    found.seen.extend(_directory(path, _look_beneath(source, root, path)[0]) for path in sorted(directories))


def _look_beneath(source: bytes, root: int, path: bytes) -> tuple[os.stat_result, bytes]:
    try:
        place = open_beneath(root, path, NAME)
        try:
            status = os.fstat(place)
            return status, os.readlink(b"", dir_fd=place) if stat.S_ISLNK(status.st_mode) else b""
        finally:
            os.close(place)
    except OSError as error:
        raise unreadable(os.path.join(source, path), error) from error


def _add(found: Walk, path: bytes, status: os.stat_result, target: bytes) -> None:
    if not stat.S_ISLNK(status.st_mode) and not stat.S_ISREG(status.st_mode):
        found.left_out.append(path)
        return
    found.seen.append(
        Seen(
            path=path,
            kind=layout.KIND_SYMLINK if stat.S_ISLNK(status.st_mode) else layout.KIND_FILE,
            stamp=stamp(status),
            mode=status.st_mode,
            nlink=status.st_nlink,
            target=target,
        )
    )


def _directory(path: bytes, status: os.stat_result) -> Seen:
    return Seen(path=path, kind=layout.KIND_DIRECTORY, stamp=stamp(status), mode=status.st_mode, nlink=status.st_nlink)


def unreadable(path: bytes, error: OSError, *, listed: bool = False) -> SourceError:
    """Return what to tell a person about something that cannot be measured.

    Args:
        path: on the host.
        error: what the kernel said.
        listed: it was there a moment ago.
    """
    shown = os.fsdecode(path)
    if isinstance(error, FileNotFoundError) and not listed:
        return SourceError(f"{shown}: no such file or directory", hint="check the source of the mount")
    if isinstance(error, FileNotFoundError):
        return SourceError(
            f"{shown}: went away while it was measured", hint="exclude it, or stop the program that removes files there"
        )
    return SourceError(
        f"{shown}: cannot be measured: {error.strerror}",
        hint="exclude it from the mount, or make it readable for the user who runs belljar",
    )

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
    except OSError as error:
        raise _unreadable(source, error) from error
    if not stat.S_ISDIR(status.st_mode):
        _add_file(found, b"", source, status)
    elif selection.exact is not None:
        _walk_exact(found, source, selection.exact)
    else:
        _walk_directory(found, source, status, _Filter(selection))
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


def _walk_directory(found: Walk, source: bytes, status: os.stat_result, wanted: _Filter) -> None:
    directories: dict[bytes, Seen] = {}
    needed: set[bytes] = set()
    pending = [(b"", status)]
    while pending:
        path, status = pending.pop()
        directories[path] = _directory(path, status)
        found.listed.append((path, stamp(status)))
        if wanted.takes(path, directory=True):
            _need(needed, path)
        for entry in _entries(os.path.join(source, path)):
            child = os.path.join(path, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if not wanted.prunes(child):
                    pending.append((child, _status(entry)))
            elif wanted.takes(child, directory=False):
                _add_file(found, child, entry.path, _status(entry))
                _need(needed, path)
    found.seen.extend(seen for path, seen in directories.items() if path in needed or not path)


def _need(needed: set[bytes], path: bytes) -> None:
    """Mark a directory and its parents as part of the tree."""
    while path not in needed:
        needed.add(path)
        path = os.path.dirname(path)


def _walk_exact(found: Walk, source: bytes, paths: tuple[bytes, ...]) -> None:
    directories: set[bytes] = {b""}
    for path in sorted(set(paths)):
        host = os.path.join(source, path)
        try:
            status = os.lstat(host)
        except OSError as error:
            raise _unreadable(host, error) from error
        if stat.S_ISDIR(status.st_mode):
            directories.add(path)
        else:
            _add_file(found, path, host, status)
        parent = os.path.dirname(path)
        while parent not in directories:
            directories.add(parent)
            parent = os.path.dirname(parent)
    found.seen.extend(_directory(path, os.stat(os.path.join(source, path))) for path in sorted(directories))


def _entries(directory: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(directory, error) from error


def _status(entry: os.DirEntry[bytes]) -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        raise _unreadable(entry.path, error) from error


def _add_file(found: Walk, path: bytes, host: bytes, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        kind, target = layout.KIND_SYMLINK, os.readlink(host)
    elif stat.S_ISREG(status.st_mode):
        kind, target = layout.KIND_FILE, b""
    else:
        found.left_out.append(path)
        return
    found.seen.append(
        Seen(
            path=path, kind=kind, stamp=stamp(status), mode=status.st_mode, nlink=status.st_nlink, target=target
        )
    )  # fmt: skip


def _directory(path: bytes, status: os.stat_result) -> Seen:
    return Seen(path=path, kind=layout.KIND_DIRECTORY, stamp=stamp(status), mode=status.st_mode, nlink=status.st_nlink)


def _unreadable(path: bytes, error: OSError) -> SourceError:
    shown = os.fsdecode(path)
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{shown}: no such file or directory", hint="check the source of the mount")
    return SourceError(
        f"{shown}: cannot be measured: {error.strerror}",
        hint="exclude it from the mount, or make it readable for the user who runs belljar",
    )

"""Paths within a volume: from the root, slashes between names; links are not followed, `..` is refused."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from belljar.loader.errors import LoaderError

if TYPE_CHECKING:
    from belljar.fs.keeping import Attributes, WritableTree

ROOT_INO = 1
CHUNK_BYTES = 1024 * 1024
SEEK_DATA, SEEK_HOLE = 3, 4  # Linux's numbers, which the tree speaks on every system


def names_of(path: str) -> list[bytes]:
    """Return the names a path consists of.

    Raises:
        LoaderError: it leads upwards.
    """
    names = [name for name in os.fsencode(path).split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise LoaderError(f"{path}: a path in a volume cannot hold ..")
    return names


def find(tree: WritableTree, path: str) -> Attributes:
    """Return what a path names; a link at its end is the link itself.

    Raises:
        LoaderError: there is no such thing, or the way leads over a link.
    """
    found = tree.attributes(ROOT_INO)
    for name in names_of(path):
        if stat.S_ISLNK(found.mode):
            target = os.fsdecode(tree.target(found.ino))
            raise LoaderError(f"{path}: leads over a symbolic link", hint=f"name the path behind it: {target}")
        if not stat.S_ISDIR(found.mode):
            raise LoaderError(f"{path}: leads through something that is no folder")
        child = lookup(tree, found.ino, name)
        if child is None:
            raise LoaderError(f"{path}: not in the volume", hint="belljar volume ls lists what is")
        found = child
    return found


def lookup(tree: WritableTree, parent: int, name: bytes) -> Attributes | None:
    """Return what a folder calls `name`, or None."""
    try:
        return tree.lookup(parent, name)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def data_ranges(tree: WritableTree, ino: int, size: int) -> list[tuple[int, int]]:
    """Return (offset, length) of what is not a hole in a file."""
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = tree.seek(ino, at, SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        at = min(tree.seek(ino, start, SEEK_HOLE), size)
        ranges.append((start, at - start))
    return ranges

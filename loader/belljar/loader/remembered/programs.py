"""Remember what programs need, and the indexes of it: the same interpreter is brought into one enclave after another.

In come names of programs; out comes what an earlier `measure` found for them, if the folders it looked into are as they
were. Files changed in place are not noticed here: they are found out when they are served, and then all this is
forgotten (`record.forget`). For `belljar run` only; `measure` and `check` look at every file.
"""

from __future__ import annotations

import os
import time
from binascii import crc32
from typing import TYPE_CHECKING, Any

from belljar.fs.measuring import BuiltIndex, MeasuredTree, is_racy, stamp
from belljar.loader.derive.needs import Needs
from belljar.loader.version import VERSION

from . import cache

if TYPE_CHECKING:
    from collections.abc import Iterable

    from belljar.fs.measuring import Stamp

_FORMAT = f"{VERSION} programs 2"
_SURROUNDINGS = ("PATH", "HOME", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE")


class Remembered:
    """What is known of a set of programs.

    Attributes:
        needs: what they need.
        trees: guest path -> measured tree; its index is in the cache folder.
    """

    def __init__(self, needs: Needs, trees: dict[str, MeasuredTree]) -> None:
        self.needs = needs
        self.trees = trees


def load(folder: str, programs: list[str]) -> Remembered | None:
    """Return what is known of `programs`, or None if something it depends on has changed."""
    known: Any = cache.fetch(_path(folder, programs))
    try:
        if known is None or known["format"] != _FORMAT or not _is_unchanged(known["stamps"], known["made_ns"]):
            return None
        needs = Needs()
        needs.files, needs.inputs = set(known["files"]), set(known["inputs"])
        needs.folders, needs.programs = known["folders"], known["programs"]
        needs.left_out = set(known["left_out"])
        trees = {path: _tree(fields) for path, fields in known["trees"].items()}
    except OSError:  # something it depends on has gone
        return None
    complete = all(os.path.exists(cache.index_path(folder, tree.index.digest)) for tree in trees.values())
    return Remembered(needs, trees) if complete else None


def save(folder: str, programs: list[str], needs: Needs, trees: dict[str, tuple[str, MeasuredTree]]) -> None:
    """Keep what was found.

    Args:
        folder: the cache folder.
        programs: as in the manifest.
        needs: what they need.
        trees: guest path -> (host folder, what was measured there).
    """
    stamps: dict[str, Stamp] = {}
    for source, tree in trees.values():
        stamps.update((os.path.join(source, os.fsdecode(path)), listed) for path, listed in tree.listed)
    try:
        for path in (*needs.files, *needs.inputs):
            stamps.setdefault(path, stamp(os.lstat(path)))
        known = {
            "format": _FORMAT,
            "made_ns": time.time_ns(),
            "stamps": [*stamps.items()],
            "files": [*needs.files],
            "inputs": [*needs.inputs],
            "folders": needs.folders,
            "left_out": [*needs.left_out],
            "programs": needs.programs,
            "trees": {path: _fields(tree) for path, (_, tree) in trees.items()},
        }
        cache.store(_path(folder, programs), known)
    except OSError:
        pass


def _path(folder: str, programs: list[str]) -> str:
    surroundings = [os.environ.get(name) for name in _SURROUNDINGS]
    key = repr((programs, surroundings)).encode(errors="surrogateescape")
    return os.path.join(folder, f"{cache.PROGRAMS}{crc32(key):08x}{crc32(key[::-1]):08x}")


def _is_unchanged(stamps: Iterable[tuple[str, Stamp]], made_ns: int) -> bool:
    return all(stamp(os.lstat(path)) == known and not is_racy(known, made_ns) for path, known in stamps)


def _fields(tree: MeasuredTree) -> tuple[object, ...]:
    return (tree.index.digest, tree.index.entries, tree.files, tree.listed, tree.left_out, tree.size_bytes)


def _tree(fields: Any) -> MeasuredTree:
    digest, entries, files, listed, left_out, size_bytes = fields
    index = BuiltIndex(content=b"", digest=digest, entries=entries)
    return MeasuredTree(index=index, files=files, listed=listed, left_out=left_out, size_bytes=size_bytes)

"""The paths of inodes, found from their numbers: for messages, so a pass over all names is not too slow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.layout import ENTRY, KIND_ENTRY, ROOT_INO
from belljar.fs.volume.offline.walk import walk

if TYPE_CHECKING:
    from belljar.fs.volume.store import Store


def paths_of(store: Store, root: tuple[bytes, int], wanted: set[int]) -> dict[int, str]:
    """Return the path of each wanted inode that has one: one pass over the names for each level of directories."""
    names: dict[int, tuple[int, bytes]] = {}
    missing = set(wanted) - {ROOT_INO}
    while missing:
        for key, value in walk(store, root, _every, _nothing):
            thing, kind = layout.KEY_HEAD.unpack_from(key)
            if kind == KIND_ENTRY and thing != layout.OBJECT_VOLUME:
                ino = ENTRY.unpack_from(value)[0]
                if ino in missing:
                    names.setdefault(ino, (thing, value[ENTRY.size :]))
        found = {names[ino][0] for ino in missing if ino in names}
        missing = {ino for ino in found if ino not in names and ino != ROOT_INO}
    return {ino: path for ino in wanted if (path := _path(ino, names))}


def _path(ino: int, names: dict[int, tuple[int, bytes]]) -> str:
    parts: list[bytes] = []
    while ino != ROOT_INO:
        if ino not in names or len(parts) > len(names):
            return ""
        ino, name = names[ino]
        parts.append(name)
    return "/" + os.fsdecode(b"/".join(reversed(parts)))


def _every(_pointer: bytes, _low: bytes, _level: int) -> bool:
    return True


def _nothing(_low: bytes, _error: object) -> None:
    return None

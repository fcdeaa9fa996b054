"""Snapshots: a name for the root of a commit, which keeps every block of it.

A block that the live tree releases is freed at once when it was born after the newest snapshot. Otherwise it stays: in
linear history whatever the live tree had at the time of its newest snapshot is in that snapshot. A rollback breaks the
line; from then on the snapshots beside the line are asked one by one (`_holds`): a stored node or chunk is in a tree
exactly when the way to its lowest key at its level meets its pointer. Deleting a snapshot walks what of it no other
tree has (whole subtrees are skipped where pointers are equal) and frees it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.btree import Tree
from belljar.fs.volume.layout import KIND_SNAPSHOT, OBJECT_VOLUME, POINTER, head_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.fs.volume.ground import Live
    from belljar.fs.volume.node import Node

_CACHED = 256  # nodes of each snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A named commit. `lineage` says that the live tree descends from it with nothing between but later ones."""

    name: str
    generation: int
    pointer: bytes
    level: int
    next_ino: int
    inodes: int
    used: int
    time_ns: int
    lineage: bool = True


class Snapshots:
    """The snapshots of a mounted volume. The caller holds the lock and has committed before each change."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._all: dict[str, Snapshot] = {}
        self._trees: dict[str, Tree] = {}
        low, high = head_key(OBJECT_VOLUME, KIND_SNAPSHOT), head_key(OBJECT_VOLUME, KIND_SNAPSHOT + 1)
        for key, value in live.tree.items(low, high):
            found = _decode(key[layout.KEY_HEAD.size :].decode(), value)
            self._all[found.name] = found

    def all(self) -> list[Snapshot]:
        """Return every snapshot, oldest first."""
        return sorted(self._all.values(), key=lambda snapshot: snapshot.generation)

    def named(self, name: str) -> Snapshot:
        """Return a snapshot. Raises ENOENT."""
        if name not in self._all:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._all[name]

    def tree(self, snapshot: Snapshot) -> Tree:
        """Return the tree of a snapshot, to read in."""
        found = self._trees.get(snapshot.name)
        if found is None:
            store = self.live.store
            found = Tree(store.load(snapshot.pointer, snapshot.level), store.load, _never)
            self._trees[snapshot.name] = found
        found.trim(_CACHED)
        return found

    def keep(self, snapshot: Snapshot) -> None:
        """Note a snapshot of the last commit. Raises EEXIST, EINVAL."""
        name = snapshot.name.encode()
        if snapshot.name in self._all:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), snapshot.name)
        if not 0 < len(name) <= layout.MAX_NAME or not snapshot.name.isprintable() or "/" in snapshot.name:
            raise OSError(
                errno.EINVAL, "a snapshot's name is 1 to 255 bytes of printable text without /", snapshot.name
            )
        self._note(snapshot)

    def delete(self, name: str) -> None:
        """Delete a snapshot and free what only it has. Raises ENOENT, EIO, VolumeCorrupt."""
        snapshot = self.named(name)
        others = [self.tree(other) for other in self._all.values() if other.name != name]
        lost = list(self._only_in(snapshot.pointer, snapshot.level, [*others, self.live.tree]))
        self.live.tree.delete(_key(name))
        del self._all[name]
        self._trees.pop(name, None)
        for block, blocks in lost:
            self.live.space.free(block, blocks, at_once=False)

    def adopt(self, name: str) -> None:
        """Say that the live tree is from now on this snapshot's: every other one is beside its line."""
        for other in self.all():
            self._note(replace(other, lineage=other.name == name))

    def kept(self, pointer: bytes, key: bytes, level: int) -> bool:
        """Say whether a snapshot needs a block that the live tree releases. Raises EIO, VolumeCorrupt."""
        born = POINTER.unpack(pointer)[2]
        older = [snapshot for snapshot in self._all.values() if snapshot.generation >= born]
        if any(snapshot.lineage for snapshot in older):
            return True
        return any(_holds(self.tree(snapshot), pointer, key, level) for snapshot in older)

    def lost_by_leaving(self, pointer: bytes, level: int) -> list[tuple[int, int]]:
        """Return (block, blocks) of what a tree has and no snapshot: what is lost when the live tree is replaced."""
        return list(self._only_in(pointer, level, [self.tree(snapshot) for snapshot in self._all.values()]))

    def _only_in(self, pointer: bytes, level: int, others: list[Tree]) -> Iterator[tuple[int, int]]:
        """Yield (block, blocks) of what a tree has and none of the others."""
        rest: list[tuple[bytes, bytes, int]] = [(pointer, b"", level)]
        load = self.live.store.load
        while rest:
            pointer, low, level = rest.pop()
            node = load(pointer, level)
            key = node.keys[0] if node.keys else low
            if any(_holds(tree, pointer, key, level) for tree in others):
                continue
            yield POINTER.unpack(pointer)[:2]
            if level:
                below = [child for child in node.children if isinstance(child, bytes)]
                rest += [(child, low, level - 1) for child, low in zip(below, node.keys, strict=True)]
            else:
                yield from _chunks_only_here(node, others)
            for tree in others:
                tree.trim(_CACHED)

    def _note(self, snapshot: Snapshot) -> None:
        value = layout.SNAPSHOT.pack(
            snapshot.generation, snapshot.pointer, snapshot.level, snapshot.next_ino, snapshot.inodes, snapshot.used,
            snapshot.time_ns, snapshot.lineage,
        )  # fmt: skip
        self.live.tree.put(_key(snapshot.name), value)
        self._all[snapshot.name] = snapshot


def _chunks_only_here(leaf: Node, others: list[Tree]) -> Iterator[tuple[int, int]]:
    for key, value in zip(leaf.keys, leaf.values, strict=True):
        if is_extent(key) and not any(_holds(tree, value, key, -1) for tree in others):
            yield POINTER.unpack(value)[:2]


def is_extent(key: bytes) -> bool:
    """Say whether the value of a key is a pointer to a chunk."""
    thing, kind = layout.KEY_HEAD.unpack_from(key)
    return bool(kind == layout.KIND_EXTENT and thing != OBJECT_VOLUME)


def _holds(tree: Tree, pointer: bytes, key: bytes, level: int) -> bool:
    """Say whether a tree has what a pointer points to, which is at `key` (and at `level`; -1 for a chunk)."""
    if level < 0:
        return tree.get(key) == pointer
    found = tree.node_at(key, level)
    return (found if isinstance(found, bytes) else found.pointer if found is not None else b"") == pointer


def _key(name: str) -> bytes:
    return head_key(OBJECT_VOLUME, KIND_SNAPSHOT, name.encode())


def _decode(name: str, value: bytes) -> Snapshot:
    generation, pointer, level, next_ino, inodes, used, time_ns, lineage = layout.SNAPSHOT.unpack(value)
    return Snapshot(
        name=name, generation=generation, pointer=pointer, level=level, next_ino=next_ino, inodes=inodes, used=used,
        time_ns=time_ns, lineage=bool(lineage),
    )  # fmt: skip


def _never(_pointer: bytes, _key: bytes, _level: int) -> None:
    return None

"""Save what is intact of a damaged volume into a new one, and say what was lost.

The damaged volume is only read. A file of which every byte verifies is copied as it is. Of a damaged one the intact
chunks are copied under its name with `.damaged` behind it, with holes where chunks were lost: nobody takes it for the
whole. What has lost its name because a directory was damaged is put into `lost+found`, by inode number. IEEE 2952 7.4
c.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from stat import S_IFDIR, S_ISDIR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.volume.layout import BLOCK_BYTES, CHUNK_BITS, CHUNK_BYTES, ENTRY, KEY_HEAD, ROOT_INO
from belljar.fs.volume.offline.walk import walk
from belljar.fs.volume.posix.inode import Inode, decode
from belljar.fs.volume.root import records
from belljar.fs.volume.sealing import Sealer
from belljar.fs.volume.store import Store
from belljar.fs.writable.tree import Changes

if TYPE_CHECKING:
    from belljar.fs.volume.btree import Item
    from belljar.fs.volume.container import Container
    from belljar.fs.writable.tree import WritableTree

Progress = Callable[[int, int], None]
_LOST_AND_FOUND = b"lost+found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What came of it: how many inodes were copied whole, and what was lost, by path."""

    copied: int
    lost: tuple[str, ...]


def salvage_volume(
    container: Container,
    target: WritableTree,
    *,
    volume_id: bytes,
    key: bytes,
    progress: Progress | None = None,
) -> Salvaged:
    """Copy what is intact of the newest root of a damaged volume into an empty tree.

    Args:
        container: of the damaged volume; it is only read, and its freshness is not asked for.
        target: the tree of a new volume, which the caller commits.
        volume_id: of the damaged volume.
        key: of the damaged volume.
        progress: told (bytes read, bytes there were), of stored content.

    Raises:
        VolumeRefused: no root record verifies.
        OSError: the container cannot be read, or the target has no room.
    """
    sealer = Sealer(volume_id, key, os.urandom)
    record, _ = records(container, sealer)[0]
    work = _Salvage(Store(container, sealer, record.generation + 1), target, (record.pointer, record.level))
    return work.run(progress or (lambda _done, _total: None), record.used * BLOCK_BYTES)


class _Salvage:
    def __init__(self, store: Store, target: WritableTree, root: tuple[bytes, int]) -> None:
        self.store = store
        self.target = target
        self.root = root
        self.names: dict[int, list[tuple[int, bytes]]] = {}  # inode -> (directory, name)
        self.directories: dict[int, Inode] = {}
        self.made: dict[int, int] = {ROOT_INO: ROOT_INO}
        self.lost: list[str] = []
        self.copied = 0
        self.read_bytes = 0

    def run(self, progress: Progress, total: int) -> Salvaged:
        """Read names first, then directories from the root downward, then everything else."""
        for key, value in self._items(self._region):
            ino, kind = KEY_HEAD.unpack_from(key)
            if kind == layout.KIND_ENTRY:
                self.names.setdefault(ENTRY.unpack_from(value)[0], []).append((ino, value[ENTRY.size :]))
            elif kind == layout.KIND_INODE and S_ISDIR((inode := decode(ino, value)).mode) and inode.nlink:
                self.directories[ino] = inode  # one without links was removed, and waits for its last user
        for ino in self.directories:
            self._directory(ino)
        for inode, items in self._inodes():
            self._copy(inode, items)
            progress(self.read_bytes, total)
        for ino, names in self.names.items():
            if ino not in self.made:
                self.lost += [f"{self._path(*name)}: the inode is lost" for name in names]
        for ino, inode in self.directories.items():
            self._finish(inode, self.made[ino])
        return Salvaged(copied=self.copied, lost=tuple(self.lost))

    def _items(self, fault: Callable[[bytes, VolumeCorrupt], None]) -> Iterator[Item]:
        for key, value in walk(self.store, self.root, lambda _pointer, _low, _level: True, fault):
            if KEY_HEAD.unpack_from(key)[0] != layout.OBJECT_VOLUME:
                yield key, value

    def _region(self, low: bytes, error: VolumeCorrupt) -> None:
        ino = KEY_HEAD.unpack_from(low)[0] if len(low) >= KEY_HEAD.size else 0
        self.lost.append(f"{error.where}, with items from inode {ino} on: {error.reason}")

    def _inodes(self) -> Iterator[tuple[Inode, list[Item]]]:
        """Yield each inode that is no directory, with its items."""
        inode: Inode | None = None
        items: list[Item] = []
        for key, value in self._items(lambda _low, _error: None):
            ino, kind = KEY_HEAD.unpack_from(key)
            if inode is not None and ino != inode.ino:
                yield inode, items
                inode, items = None, []
            if kind == layout.KIND_INODE and ino not in self.directories:
                inode = decode(ino, value)
                if S_ISDIR(inode.mode):
                    inode = None
            elif inode is not None or ino in self.directories:
                items.append((key, value))
                if inode is None:
                    self._xattr(self.made[ino], items.pop())
        if inode is not None:
            yield inode, items

    def _directory(self, ino: int) -> int:
        """Make a directory, and those above it first; return its inode in the target."""
        chain: list[int] = []
        while ino and ino not in self.made and ino not in chain:
            chain.append(ino)
            ino = self.names[ino][0][0] if self.names.get(ino) else 0
        above = self.made.get(ino) or self._lost_and_found()
        for child in reversed(chain):
            named = self.names.get(child)
            name = named[0][1] if named else b"#%d" % child
            above = self.target.make(above, name, S_IFDIR | 0o700, 0, 0).ino
            self.made[child] = above
            self.copied += 1
        return above

    def _lost_and_found(self) -> int:
        if 0 not in self.made:
            name = _LOST_AND_FOUND
            while any(name == found for names in self.names.values() for at, found in names if at == ROOT_INO):
                name += b"~"
            self.made[0] = self.target.make(ROOT_INO, name, S_IFDIR | 0o700, 0, 0).ino
        return self.made[0]

    def _copy(self, inode: Inode, items: list[Item]) -> None:
        """Make an inode that is no directory, with its content, its names and its attributes."""
        names = self.names.get(inode.ino) or [(0, b"#%d" % inode.ino)]
        target = next((value for key, value in items if KEY_HEAD.unpack_from(key)[1] == layout.KIND_TARGET), b"")
        if S_ISLNK(inode.mode) and not target:
            self.lost.append(f"{self._path(*names[0])}: where it points is lost")
            return
        if not inode.nlink:
            return  # an orphan: it was deleted
        fresh = self.target.make_unnamed(inode.mode, inode.uid, inode.gid) if S_ISREG(inode.mode) else None
        wrong = self._content(fresh.ino, inode, items) if fresh is not None else []
        suffix = b".damaged" if wrong else b""
        for directory, name in names:
            above = self.made.get(directory) or self._lost_and_found()
            if fresh is None:
                fresh = self.target.make(above, name, inode.mode, inode.uid, inode.gid, rdev=inode.rdev, target=target)
            else:
                self.target.link(fresh.ino, above, name[: layout.MAX_NAME - len(suffix)] + suffix)
        if fresh is not None:
            self.made[inode.ino] = fresh.ino
            for item in items:
                self._xattr(fresh.ino, item)
            self._finish(inode, fresh.ino)
        self.copied += not wrong
        self.lost += [f"{self._path(*names[0])}: {what}" for what in wrong]

    def _content(self, ino: int, inode: Inode, items: list[Item]) -> list[str]:
        """Copy what verifies of a file's content, and return what does not."""
        wrong: list[str] = []
        blocks = 0
        for key, value in items:
            kind = KEY_HEAD.unpack_from(key)[1]
            if kind == layout.KIND_INLINE:
                self.target.write(ino, 0, value[: inode.size])
            elif kind == layout.KIND_EXTENT:
                chunk = layout.KEY_NUMBER.unpack(key)[2]
                stored = layout.POINTER.unpack(value)[1]
                blocks += stored
                self.read_bytes += stored * BLOCK_BYTES
                try:
                    content = self.store.read_chunk(value, inode.ino, chunk)
                except VolumeCorrupt as error:
                    wrong.append(f"bytes {chunk * CHUNK_BYTES} to {(chunk + 1) * CHUNK_BYTES - 1}: {error.reason}")
                else:
                    start = chunk << CHUNK_BITS
                    self.target.write(ino, start, content[: max(0, inode.size - start)])
        if blocks != inode.blocks and not wrong:
            wrong.append(f"{inode.blocks - blocks} blocks of its content are lost")
        if inode.flags & layout.FLAG_INLINE and not any(
            KEY_HEAD.unpack_from(key)[1] == layout.KIND_INLINE for key, _ in items
        ):
            wrong.append("its content in the tree is lost")
        self.target.set_attributes(ino, Changes(size=inode.size))
        return wrong

    def _xattr(self, ino: int, item: Item) -> None:
        if KEY_HEAD.unpack_from(item[0])[1] == layout.KIND_XATTR:
            self.target.set_xattr(ino, item[0][KEY_HEAD.size :], item[1], 0)

    def _finish(self, inode: Inode, ino: int) -> None:
        self.target.set_attributes(
            ino,
            Changes(
                mode=inode.mode & 0o7777, uid=inode.uid, gid=inode.gid, atime_ns=inode.atime_ns,
                mtime_ns=inode.mtime_ns, ctime_ns=inode.ctime_ns,
            ),
        )  # fmt: skip

    def _path(self, directory: int, name: bytes) -> str:
        parts = [name]
        seen: set[int] = set()
        while directory not in (ROOT_INO, 0) and directory not in seen and self.names.get(directory):
            seen.add(directory)
            directory, above = self.names[directory][0]
            parts.append(above)
        return "/" + os.fsdecode(b"/".join(reversed(parts)))

"""Compose the guest's `/`: several hashed sources, the directories that carry other mounts, and generated files.

In come sources with the guest paths they are mounted at, and what else must exist; out come nodes. A node id below
2^32 is one of ours (a skeleton directory, generated file or link); above, it is entry `id & 0xffffffff` of source
`(id >> 32) - 1`. Skeleton nodes hide what a source has at the same path; where they hide a directory of a source,
both are merged.
"""

from __future__ import annotations

import os
from stat import S_IFDIR, S_IFLNK, S_IFREG, S_ISDIR, S_ISLNK

from belljar.fs.errors import FsError

from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .content import Source
    from .index import Index, Record

_OURS = 1 << 32
_FILE_MODE = S_IFREG | 0o444
_PROGRAM_MODE = S_IFREG | 0o555
_DIRECTORY_MODE = S_IFDIR | 0o555
_LINK_MODE = S_IFLNK | 0o777


class TreeConflict(FsError):
    """Two mounts cannot be composed: a path runs through something that is not a directory."""


class Skeleton:
    """A node that no source provides: a directory, or a generated file or link.

    Attributes:
        mode: file type and permission bits.
        content: bytes of a file, target of a link, empty for a directory.
        children: names that hide those of `base`.
        base: the (source number, entry) of a directory that shows through, if any.
        listing: both together, sorted, once somebody has asked.
    """

    __slots__ = ("base", "children", "content", "listing", "mode")

    def __init__(self, mode: int, content: bytes = b"", base: tuple[int, int] | None = None) -> None:
        self.mode = mode
        self.content = content
        self.children: dict[bytes, int] = {}
        self.base = base
        self.listing: list[tuple[bytes, int]] | None = None


class Tree:
    """The nodes of a guest's root file system.

    Args:
        sources: (guest path, source) of every hashed mount; the order does not matter.
        directories: guest paths that must exist as directories: where other file systems are mounted.
        files: guest path -> content of generated files, and of files that carry other mounts.
        links: guest path -> target of generated symbolic links.

    Raises:
        TreeConflict: a path cannot be reached.
    """

    def __init__(
        self,
        sources: list[tuple[str, Source]],
        *,
        directories: list[str],
        files: dict[str, bytes],
        links: dict[str, str],
    ) -> None:
        self.sources = [source for _, source in sources]
        self._mounted_at = [path for path, _ in sources]
        self._parents: dict[int, tuple[int, bytes]] = {}  # of skeleton nodes: (parent, name)
        self._skeleton: list[Skeleton] = [Skeleton(_DIRECTORY_MODE)] * 2  # node 0 is never used, node 1 is the root
        for path, number in sorted((path, number) for number, (path, _) in enumerate(sources)):
            self._attach(path, number)
        for path in sorted(directories):
            self._directory(path)
        for path, content in files.items():
            self._place(path, Skeleton(_FILE_MODE, content))
        for path, target in links.items():
            self._place(path, Skeleton(_LINK_MODE, target.encode()))

    def _attach(self, path: str, number: int) -> None:
        if self.sources[number].index.record(0)[2] != layout.KIND_DIRECTORY:
            parent, name = self._parent(path)
            self._skeleton[parent].children[name] = node_of(number, 0)
        elif path == "/":
            self._skeleton[1] = Skeleton(_DIRECTORY_MODE, base=(number, 0))
        else:
            self._place(path, Skeleton(_DIRECTORY_MODE, base=(number, 0)))

    def _place(self, path: str, node: Skeleton) -> None:
        parent, name = self._parent(path)
        self._adopt(parent, name, node)

    def _adopt(self, parent: int, name: bytes, node: Skeleton) -> int:
        self._skeleton.append(node)
        number = len(self._skeleton) - 1
        self._skeleton[parent].children[name] = number
        self._parents[number] = (parent, name)
        return number

    def _parent(self, path: str) -> tuple[int, bytes]:
        above, _, name = path.rpartition("/")
        return self._directory(above, wanted=path), name.encode()

    def _directory(self, path: str, *, wanted: str | None = None) -> int:
        """Return the skeleton node of a directory, made now if a source or nobody provides it."""
        node = 1
        for part in path.split("/"):
            if part:
                node = self._step(node, part.encode(), wanted or path)
        return node

    def _step(self, node: int, name: bytes, path: str) -> int:
        found = self.child(node, name)
        if found is None:
            base = None
        elif found < _OURS:
            if not S_ISDIR(self._skeleton[found].mode):
                raise TreeConflict(f"{path}: {name.decode(errors='replace')} is not a directory in the guest")
            return found
        else:
            base = entry_of(found)
            if self.sources[base[0]].index.record(base[1])[2] != layout.KIND_DIRECTORY:
                raise TreeConflict(
                    f"{path}: {name.decode(errors='replace')} is a link or file in the hashed tree, not a directory"
                )
        return self._adopt(node, name, Skeleton(_DIRECTORY_MODE, base=base))

    def skeleton(self, node: int) -> Skeleton | None:
        """Return the node if it is one of ours."""
        return self._skeleton[node] if node < _OURS else None

    def record(self, node: int) -> tuple[Source, int, Record]:
        """Return (source, entry number, entry) of a node that a source provides."""
        number, entry = entry_of(node)
        source = self.sources[number]
        return source, entry, source.index.record(entry)

    def place(self, node: int) -> tuple[int, int]:
        """Return (source number, entry) of a node that a source provides."""
        return entry_of(node)

    def path(self, node: int) -> bytes:
        """Return the guest path of a node."""
        if node < _OURS:
            return self._own_path(node)
        number, entry = entry_of(node)
        return os.path.join(os.fsencode(self._mounted_at[number]), self.sources[number].index.path(entry))

    def _own_path(self, node: int) -> bytes:
        parts: list[bytes] = []
        while node != 1:
            node, name = self._parents[node]
            parts.append(name)
        return b"/" + b"/".join(reversed(parts))

    def target(self, node: int) -> bytes | None:
        """Return where a symbolic link points; None if the node is no link."""
        if node < _OURS:
            skeleton = self._skeleton[node]
            return skeleton.content if S_ISLNK(skeleton.mode) else None
        source, _, record = self.record(node)
        return source.index.target(record) if record[2] == layout.KIND_SYMLINK else None

    def child(self, directory: int, name: bytes) -> int | None:
        """Return the node called `name` in a directory, or None."""
        if directory < _OURS:
            skeleton = self._skeleton[directory]
            known = skeleton.children.get(name)
            if known is not None or skeleton.base is None:
                return known
            number, entry = skeleton.base
        else:
            number, entry = entry_of(directory)
        found = self.sources[number].index.child(entry, name)
        return None if found is None else node_of(number, found)

    def children(self, directory: int, skip: int, limit: int) -> list[tuple[bytes, int]]:
        """Return (name, node) of what is in a directory, sorted by name: at most `limit` behind the first `skip`."""
        if directory >= _OURS:
            return self._entries(entry_of(directory), skip, limit)
        skeleton = self._skeleton[directory]
        if skeleton.listing is None:
            below = [] if skeleton.base is None else self._entries(skeleton.base, 0, layout.MAX_ENTRIES)
            skeleton.listing = sorted({**dict(below), **skeleton.children}.items())
        return skeleton.listing[skip : skip + limit]

    def _entries(self, base: tuple[int, int], skip: int, limit: int) -> list[tuple[bytes, int]]:
        number, entry = base
        index = self.sources[number].index
        found = index.children(entry, index.record(entry), skip, limit)
        return [(name, node_of(number, child)) for name, child in found]

    def attributes(self, node: int) -> tuple[int, int, int, int, int]:
        """Return (inode, mode, size, mtime in ns, nlink); the inode is that of the first of several hard links."""
        if node < _OURS:
            skeleton = self._skeleton[node]
            mtime_ns = self._base_time(skeleton.base)
            return node, skeleton.mode, len(skeleton.content), mtime_ns, 1
        number, entry = entry_of(node)
        index = self.sources[number].index
        return _attributes(number, entry, index, index.record(entry), index.times(entry))

    def listing(self, directory: int, skip: int, limit: int) -> list[tuple[bytes, tuple[int, int, int, int, int]]]:
        """Return (name, attributes) of what `children` returns."""
        found = self.children(directory, skip, limit)
        if directory < _OURS or not found:
            return [(name, self.attributes(node)) for name, node in found]
        number, first = entry_of(found[0][1])
        index = self.sources[number].index
        rows = index.rows(first, len(found))
        return [
            (name, _attributes(number, first + i, index, record, times))
            for i, ((name, _), (record, times)) in enumerate(zip(found, rows, strict=True))
        ]

    def _base_time(self, base: tuple[int, int] | None) -> int:
        return 0 if base is None else self.sources[base[0]].index.times(base[1])[0]


def _attributes(
    number: int, entry: int, index: Index, record: Record, times: tuple[int, int, int]
) -> tuple[int, int, int, int, int]:
    mtime_ns, inode, nlink = times
    if inode != entry and not _is_same_file(index.record(inode), record):
        inode, nlink = entry, 1  # times are not measured: they may join only what is equal by measurement
    kind, size = record[2], record[4]
    if kind == layout.KIND_DIRECTORY:
        return node_of(number, entry), _DIRECTORY_MODE, 0, mtime_ns, 1
    if kind == layout.KIND_SYMLINK:
        return node_of(number, entry), _LINK_MODE, size, mtime_ns, 1
    mode = _PROGRAM_MODE if record[3] & layout.FLAG_EXECUTABLE else _FILE_MODE
    return node_of(number, inode), mode, size, mtime_ns, nlink


def node_of(source: int, entry: int) -> int:
    """Return the node id of entry number `entry` of source number `source`."""
    return (source + 1) << 32 | entry


def entry_of(node: int) -> tuple[int, int]:
    """Return (source number, entry number) of a node id above 2^32."""
    return (node >> 32) - 1, node & 0xFFFFFFFF


def _is_same_file(one: Record, other: Record) -> bool:
    """Say whether two entries have the same kind, mode, size and content: the same chunks of the index."""
    return one[2:6] == other[2:6]

"""Remember what a guest used of its tree, so that the next run of the same measurement can ask for it first.

In come names that were looked up and chunks that were read, in the order of their first use; out comes a `Warmup`,
plain values that can be kept on disk. It is a hint: a wrong one costs time, nothing else.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tree import Tree

    Warmup = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, int, int, tuple[int, ...]], ...]]
    """(guest paths to look up, folders to list, files to read: (guest path, source number, entry, chunk numbers))"""

_MAX_NAMES = 20_000
_MAX_CHUNKS = 512  # 32 MiB: verified ahead, they are kept in memory until the kernel has taken them


class Usage:
    """What the kernel asked for. Several threads may add."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, bytes], None] = {}
        self._folders: dict[int, None] = {}
        self._chunks: dict[tuple[int, int], None] = {}

    def looked_up(self, directory: int, name: bytes) -> None:
        """Note a LOOKUP, whether it found something or not."""
        if len(self._names) < _MAX_NAMES:
            self._names[directory, name] = None

    def listed(self, directory: int) -> None:
        """Note that a directory was listed."""
        if len(self._folders) < _MAX_NAMES:
            self._folders[directory] = None

    def read(self, node: int, first: int, last: int) -> None:
        """Note that chunks `first` to `last` of a node were read."""
        for chunk in range(first, last + 1):
            if len(self._chunks) < _MAX_CHUNKS:
                self._chunks[node, chunk] = None

    def missing(self, tree: Tree) -> list[str]:
        """Return the guest paths that were looked for in a directory of the tree, and are not there."""
        names = [(directory, name) for directory, name in list(self._names) if tree.child(directory, name) is None]
        return [os.fsdecode(os.path.join(tree.path(directory), name)) for directory, name in names]

    def warmup(self, tree: Tree) -> Warmup:
        """Return what to ask for next time."""
        paths = [os.fsdecode(os.path.join(tree.path(directory), name)) for directory, name in list(self._names)]
        chunks: dict[int, list[int]] = {}
        for node, chunk in list(self._chunks):
            chunks.setdefault(node, []).append(chunk)
        files = [(os.fsdecode(tree.path(node)), *tree.place(node), tuple(numbers)) for node, numbers in chunks.items()]
        folders = [os.fsdecode(tree.path(directory)) for directory in list(self._folders)]
        return tuple(paths), tuple(folders), tuple(files)

"""The Merkle tree over the blocks of a container: walked in order while one node per level is in memory.

`Cursor` reads a tree that is stored; `Builder` makes one from digests as they come and says which nodes are new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import layout
from .layout import FAN_OUT, ZERO, Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .layout import Backup
    from .repository import Repository


class Cursor:
    """Digests of a stored tree by level and index; level 0 are the blocks. Cheap when the indexes rise."""

    def __init__(self, repository: Repository, backup: Backup) -> None:
        self._repository = repository
        self._root = backup.root
        self._counts = [layout.block_count(backup.container_bytes)]
        for _ in range(layout.levels(self._counts[0])):
            self._counts.append(-(-self._counts[-1] // FAN_OUT))
        self._kept: dict[int, tuple[int, Digest, list[Digest]]] = {}

    def digest(self, level: int, index: int) -> Digest | None:
        """Return the digest at a place, or None outside of the tree.

        Raises:
            BackupRefused: a node on the way is missing or damaged.
        """
        if level >= len(self._counts) or index >= self._counts[level]:
            return None
        if level == len(self._counts) - 1:
            return self._root
        above, place = divmod(index, FAN_OUT)
        return self._node(level + 1, above)[place]

    def _node(self, level: int, index: int) -> list[Digest]:
        kept = self._kept.get(level)
        if kept is not None and kept[0] == index:
            return kept[2]
        digest = self.digest(level, index) or ZERO
        count = min(FAN_OUT, self._counts[level - 1] - index * FAN_OUT)
        if kept is not None and kept[1] == digest == ZERO and len(kept[2]) == count:
            digests = kept[2]  # a container of holes: one list serves them all
        else:
            digests = self._repository.read_node(digest, level, count)
        self._kept[level] = (index, digest, digests)
        return digests


class Builder:
    """Makes the nodes over digests that come in order.

    Args:
        blocks: how many will come.
        store: called with level, index, digest and content of each node, but for those of zeros.
    """

    def __init__(self, blocks: int, store: Callable[[int, int, Digest, bytes], None]) -> None:
        self._store = store
        self._open: list[list[Digest]] = [[] for _ in range(layout.levels(blocks))]
        self._done = [0] * len(self._open)

    def add(self, digest: Digest) -> None:
        """Take the digest of the next block."""
        self._add(0, digest)

    def _add(self, level: int, digest: Digest) -> None:
        self._open[level].append(digest)
        if len(self._open[level]) == FAN_OUT and level + 1 < len(self._open):
            self._add(level + 1, self._close(level))

    def _close(self, level: int) -> Digest:
        digests, self._open[level] = self._open[level], []
        index = self._done[level]
        self._done[level] += 1
        if all(digest == ZERO for digest in digests):
            return ZERO
        content = layout.encode_node(level + 1, digests)
        digest = layout.node_digest(content)
        self._store(level + 1, index, digest, content)
        return digest

    def root(self) -> Digest:
        """Return the digest of the topmost node, once all digests have come."""
        for level in range(len(self._open) - 1):
            if self._open[level]:
                self._add(level + 1, self._close(level))
        return self._close(len(self._open) - 1)

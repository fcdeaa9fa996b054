"""What can stand beneath a mount of ours: the tree in memory, and the tree of an encrypted volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from belljar.fs.volumes import format_volume, open_volume

from .memory_tree import MemoryTree
from .volumes import KEY, VOLUME_ID, MemoryAnchor, MemoryContainer

if TYPE_CHECKING:
    from belljar.fs.writable.tree import WritableTree


def volume_tree() -> WritableTree:
    """Return the tree of a new encrypted volume in memory."""
    container, anchor = MemoryContainer(), MemoryAnchor()
    format_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor)
    return open_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor, writable=True).tree


TREES: dict[str, Callable[[], WritableTree]] = {"memory": MemoryTree, "volume": volume_tree}
DIFFERENT: dict[str, dict[str, object]] = {"volume": {"a_reservation_is_counted": [0, 0, False]}}
"""By design: every write goes to new blocks, so a reservation would be of no use (docs/formats/volume.md)."""

"""Door of the encrypted volume: make, open, check and salvage one, and what is below and beside it.

Whoever serves a volume needs `open_volume`; importing this door costs `cryptography` (about 45 ms) and nothing
offline: the checking and salvaging rooms are imported when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.fs.volume.anchor import Anchor, Anchored
from belljar.fs.volume.container import Container, FileContainer
from belljar.fs.volume.ground import Limits
from belljar.fs.volume.snapshots import Snapshot
from belljar.fs.volume.volume import Surroundings, Usage, Volume, format_volume, newest_root, open_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.volume.offline.check import Report
    from belljar.fs.volume.offline.salvage import Salvaged
    from belljar.fs.writable.tree import WritableTree

__all__ = [
    "Anchor",
    "Anchored",
    "Container",
    "FileContainer",
    "Limits",
    "Snapshot",
    "Surroundings",
    "Usage",
    "Volume",
    "check_volume",
    "format_volume",
    "newest_root",
    "open_volume",
    "salvage_volume",
]


def check_volume(
    container: Container,
    *,
    volume_id: bytes,
    key: bytes,
    anchor: Anchor | None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Verify everything a volume refers to; see `belljar.fs.volume.offline.check`."""
    from belljar.fs.volume.offline.check import check_volume as check

    return check(container, volume_id=volume_id, key=key, anchor=anchor, progress=progress)


def salvage_volume(
    container: Container,
    target: WritableTree,
    *,
    volume_id: bytes,
    key: bytes,
    progress: Callable[[int, int], None] | None = None,
) -> Salvaged:
    """Copy what is intact into an empty tree; see `belljar.fs.volume.offline.salvage`."""
    from belljar.fs.volume.offline.salvage import salvage_volume as salvage

    return salvage(container, target, volume_id=volume_id, key=key, progress=progress)

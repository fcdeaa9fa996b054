"""Open, commit and close a volume (signatures first; the rooms below follow)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from belljar.fs.volume.anchor import Anchor, Anchored
from belljar.fs.volume.container import Container

if TYPE_CHECKING:
    from belljar.fs.writable.tree import WritableTree


class Volume:
    tree: WritableTree

    def commit(self) -> Anchored: ...
    def tick(self) -> None:
        """Background work, called by the owner about every 5 s: commits what is dirty, gives room back."""

    def snapshot(self, name: str) -> None: ...
    def snapshots(self) -> list[tuple[str, int, int]]:
        """(name, generation, time_ns), oldest first"""

    def snapshot_tree(self, name: str) -> WritableTree: ...
    def delete_snapshot(self, name: str) -> None: ...
    def rollback(self, name: str) -> None: ...
    def stat(self) -> object: ...
    def close(self) -> None:
        """Commit and stop; the container stays open, it is the caller's."""


def format_volume(container: Container, *, volume_id: bytes, key: bytes, anchor: Anchor) -> None:
    """Write an empty tree, generation 1 and anchor it. Bytes 0..131071 are not touched."""


def open_volume(
    container: Container,
    *,
    volume_id: bytes,
    key: bytes,
    anchor: Anchor,
    writable: bool,
    quota_bytes: int | None = None,
) -> Volume: ...


def newest_root(container: Container, *, volume_id: bytes, key: bytes) -> Anchored:
    """The newest valid root record without asking an anchor: for an owner who anchors anew on purpose (restore)."""


def check_volume(
    container: Container, *, volume_id: bytes, key: bytes, anchor: Anchor | None, progress: Callable[[int, int], None]
) -> object: ...


def salvage_volume(
    container: Container, target: Volume, *, volume_id: bytes, key: bytes, progress: Callable[[int, int], None]
) -> list[str]: ...

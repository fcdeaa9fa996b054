"""Which root counts: the newest one that the anchor allows and whose commit is whole.

A commit waits for the disk once, after content, nodes and its root record are written: a crash before may leave any of
these there and any other not. So a root that was not anchored yet counts only if everything its commit wrote verifies;
else the one before does, which nothing of that commit has overwritten. Whoever was told that a commit is durable was
told after its sync, so a crash alone takes nothing that was promised (but see docs/formats/volume-anchor.md for who
damages it in the moment of a power failure). What older commits wrote was durable before this one began, and is not
looked at. IEEE 2952 7.4 c, 7.5 e.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume.layout import KEY_NUMBER, POINTER
from belljar.fs.volume.root import RootRecord, records, verify_freshness
from belljar.fs.volume.snapshots import is_extent
from belljar.fs.volume.store import Store

if TYPE_CHECKING:
    from belljar.fs.volume.anchor import Anchored
    from belljar.fs.volume.container import Container
    from belljar.fs.volume.sealing import Sealer


def allowed_root(container: Container, sealer: Sealer, expected: Anchored | None) -> tuple[RootRecord, Anchored, bool]:
    """Return the root to mount, what an anchor holds of it, and whether that is still to be anchored.

    Args:
        container: of the volume.
        sealer: with its key.
        expected: what its anchor knows.

    Raises:
        VolumeRefused: no slot holds a record that verifies, or none that the anchor allows.
        VolumeCorrupt: the only record that the anchor allows belongs to a commit that is not whole.
        OSError: the container cannot be read.
    """
    found = records(container, sealer)
    record, anchored = found[0]
    if not verify_freshness(record, anchored, expected):
        return record, anchored, False
    try:
        verify_whole(container, sealer, record)
    except (VolumeCorrupt, OSError):  # a sector that a power failure left half written cannot even be read
        if found[-1][1] != expected:
            raise
        return *found[-1], False
    return record, anchored, True


def newest_root(container: Container, sealer: Sealer) -> tuple[RootRecord, Anchored]:
    """Return the newest root whose commit is whole, or the newest if none is; nothing says that it is fresh.

    Raises:
        VolumeRefused: no slot holds a record that verifies.
        OSError: the container cannot be read.
    """
    found = records(container, sealer)
    for record, anchored in found:
        try:
            verify_whole(container, sealer, record)
        except VolumeCorrupt:
            continue
        return record, anchored
    return found[0]


def verify_whole(container: Container, sealer: Sealer, record: RootRecord) -> None:
    """Return if everything that one commit wrote is there: read it, and nothing older.

    Raises:
        VolumeCorrupt: with the first part that does not verify.
        OSError: the container cannot be read.
    """
    store = Store(container, sealer, record.generation)
    rest = [(record.pointer, record.level)]
    while rest:
        pointer, level = rest.pop()
        if not _is_born_in(record, pointer):
            continue
        node = store.load(pointer, level)
        if level:
            rest += [(child, level - 1) for child in node.children if isinstance(child, bytes)]
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if is_extent(key) and _is_born_in(record, value):
                ino, _, chunk = KEY_NUMBER.unpack(key)
                store.read_chunk(value, ino, chunk)


def _is_born_in(record: RootRecord, pointer: bytes) -> bool:
    return bool(POINTER.unpack(pointer)[2] == record.generation)

"""One commit: everything dirty goes to new places, is made durable, and one root record makes it the volume.

The order is what crash safety rests on: content and nodes, then the root record in the slot of its generation, sync,
then the anchor. A crash before the sync may leave the record there and what it refers to not: `recovery.py` notices,
and the root before counts. Room that the commit before used is free only after the sync. Bitmaps are values of the
same tree: writing nodes takes blocks, which changes bitmaps, which may dirty nodes; so places are given until nothing
changes any more. An ENOSPC or EIO of a write leaves everything dirty in memory, to be tried again. After a failed sync
nobody knows what is durable: the volume takes no more changes (`failed`), and the last commit stays readable. IEEE
2952 7.4 c.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.anchor import Anchor, Anchored
from belljar.fs.volume.ground import Live, bitmap_key
from belljar.fs.volume.layout import BLOCK_BYTES
from belljar.fs.volume.root import RootRecord, encode, take_back

if TYPE_CHECKING:
    from belljar.fs.volume.node import Node

_BATCH_BYTES = 1 << 20


class Commits:
    """The commits of one mount. `record` and `anchored` are of the last durable one."""

    def __init__(self, live: Live, record: RootRecord, anchored: Anchored, anchor: Anchor) -> None:
        self.live = live
        self.record = record
        self.anchored = anchored
        self._anchor = anchor
        self._pending = False

    def commit(self) -> Anchored:
        """Make the tree as it is now durable and anchored.

        Raises:
            OSError: ENOSPC, EIO; everything is still in memory.
            VolumeCorrupt: a node that had to be read does not verify.
        """
        live = self.live
        live.check_usable()
        self._advance()
        if live.is_dirty():
            nodes: list[Node] = []
            try:
                self._place(nodes)
                self._write(nodes)
                self._write_root(self._next_record())
            except BaseException:
                _unplace(live, nodes)
                raise
            self._settle(nodes)
            self._advance()
        return self.anchored

    def anchor_now(self) -> None:
        """Anchor the last commit: a crash fell between it and its anchor. Raises OSError."""
        self._make_durable(self.record)  # whoever wrote it may have been killed before
        self._pending = True
        self._advance()

    def _advance(self) -> None:
        """Anchor the last commit, unless that is done. No later root may be written before."""
        if self._pending:
            self._anchor.advance(self.live.store.sealer.volume_id, self.anchored)
            self._pending = False

    def _place(self, nodes: list[Node]) -> None:
        """Give every dirty node a place, until no bitmap makes another one dirty."""
        live, space = self.live, self.live.space
        stored: set[int] = set()
        changed = True
        while changed:
            changed = False
            nodes[:] = live.tree.dirty_nodes()
            live.drain()
            for node in nodes:
                blocks = -(-node.size // BLOCK_BYTES)
                if node.room != blocks:
                    if node.room:
                        space.free(node.place, node.room, at_once=True)
                        node.room = 0
                    node.place = space.allocate(blocks)
                    node.room = blocks
                    changed = True
            for group in space.dirty - stored:
                live.tree.put(bitmap_key(group), space.bitmap(group))
                stored.add(group)
                changed = True
        for group in stored:  # same length in a dirty leaf: nothing moves any more
            live.tree.put(bitmap_key(group), space.bitmap(group))

    def _write(self, nodes: list[Node]) -> None:
        """Seal nodes, children first, and write neighbours in one go."""
        store, container = self.live.store, self.live.store.container
        batch, start, end = bytearray(), 0, 0
        for node in nodes:
            sealed = store.seal_node(node)
            if node.place != end or len(batch) >= _BATCH_BYTES:
                if batch:
                    container.pwrite(batch, start * BLOCK_BYTES)
                batch, start = bytearray(), node.place
            batch += sealed
            end = node.place + node.room
        if batch:
            container.pwrite(batch, start * BLOCK_BYTES)

    def _next_record(self) -> RootRecord:
        live = self.live
        root = live.tree.root
        return RootRecord(
            generation=self.record.generation + 1,
            previous=self.anchored.digest,
            pointer=root.fresh,
            level=root.level,
            next_ino=live.next_ino,
            inodes=live.inodes,
            used=live.space.used,
            end=live.space.top(),
            time_ns=live.now(),
        )

    def _write_root(self, record: RootRecord) -> None:
        container = self.live.store.container
        content = encode(record, self.live.store.sealer)
        self._anchor.settle(self.live.store.sealer.volume_id)  # else two roots could be ahead of it after a crash
        container.pwrite(content, layout.ROOT_OFFSETS[record.generation % 2])
        self._make_durable(record)
        self.record = record
        self.anchored = Anchored(record.generation, hashlib.sha256(content).digest())
        self._pending = True

    def _make_durable(self, record: RootRecord) -> None:
        container = self.live.store.container
        try:
            container.sync()
        except OSError as error:
            self.live.failed = f"the container could not be made durable ({error.strerror or error})"
            with suppress(OSError):
                take_back(container, record.generation)
            raise

    def _settle(self, nodes: list[Node]) -> None:
        """The commit is durable: nodes are clean, and what only the last one used is free."""
        live = self.live
        for node in nodes:
            node.pointer, node.fresh, node.room = node.fresh, b"", 0
        live.tree.dirty = 0
        live.space.settle()
        live.store.generation = self.record.generation + 1
        live.forget_credit()


def _unplace(live: Live, nodes: list[Node]) -> None:
    """A commit failed: take back the places it gave."""
    for node in nodes:
        if node.room:
            live.space.free(node.place, node.room, at_once=True)
            node.room = 0
        node.fresh = b""

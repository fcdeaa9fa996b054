"""What POSIX stands on: a tree, a store, room, and a lock; for the live volume and, read-only, for a snapshot.

`Ground` alone is read-only. `Live` is the one mounted volume that may be written: it admits operations (is there room?
is too much dirty?), hands out blocks, and takes back what the tree needs no more. Who changes something asks `admit`
first: commits and flushes happen only there, between two operations, so every commit is a state that the caller has
seen.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume.btree import Tree
from belljar.fs.volume.layout import (
    BLOCK_BYTES,
    BLOCKS_PER_NODE,
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    KIND_BITMAP,
    OBJECT_VOLUME,
    POINTER,
    number_key,
)
from belljar.fs.volume.space import Space
from belljar.fs.volume.store import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from belljar.fs.volume.store import Store

_CREDIT = 4096  # blocks that are admitted between two looks at how much room there is
_SPARE = 64  # blocks that stay free for taking things away


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one mount may hold: in the container (`quota_bytes`), in memory (the rest)."""

    quota_bytes: int | None = None
    dirty_bytes: int = 32 << 20
    dirty_nodes: int = 1024
    cached_nodes: int = 768


class Ground:
    """A tree that can be read."""

    writable = False

    def __init__(self, store: Store, tree: Tree, lock: threading.RLock) -> None:
        self.store = store
        self.tree = tree
        self.lock = lock
        self.limits = Limits()
        self.blocks_used = 0
        self.dirty_bytes = 0
        self.next_ino = 0
        self.inodes = 0

    def admit(self, blocks: int) -> None:
        """Admit an operation that may need so many blocks; 0 for one that takes away. Raises EROFS."""
        raise OSError(errno.EROFS, f"{os.strerror(errno.EROFS)} ({blocks} blocks)")

    def bound_memory(self) -> None:
        """Keep the memory of a reader bounded."""
        if self.tree.loaded > self.limits.cached_nodes + self.tree.dirty:
            self.tree.trim(self.limits.cached_nodes + self.tree.dirty)

    def now(self) -> int:
        """Return the time in nanoseconds; only what can be written asks."""
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def write_chunk(self, ino: int, chunk: int, content: bytes | bytearray | memoryview) -> bytes:
        """Store a chunk and return its pointer. Raises EROFS."""
        raise OSError(errno.EROFS, f"{os.strerror(errno.EROFS)} (inode {ino}, chunk {chunk}, {len(content)} bytes)")

    def write_chunks(self, ino: int, first: int, content: memoryview) -> list[bytes]:
        """Store whole chunks, `first` and those after it, and return their pointers. Raises EROFS."""
        raise OSError(errno.EROFS, f"{os.strerror(errno.EROFS)} (inode {ino}, chunk {first}, {len(content)} bytes)")

    def release(self, pointer: bytes, key: bytes, level: int) -> None:
        """Take back what a pointer points to. Raises EROFS."""
        raise OSError(errno.EROFS, f"{os.strerror(errno.EROFS)} ({len(pointer)} {len(key)} {level})")

    def make_durable(self) -> None:
        """Make durable what was changed; of what cannot be written nothing was."""

    def used(self) -> int:
        """Return the blocks in use."""
        return self.blocks_used

    def room(self) -> int:
        """Return the blocks that are free."""
        return 0


class Live(Ground):
    """The mounted volume. `kept` says whether a snapshot needs what the live tree releases."""

    writable = True

    def __init__(
        self,
        store: Store,
        root: bytes,
        level: int,
        space: tuple[int, int],
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(store, Tree(store.load(root, level), store.load, self.release), threading.RLock())
        self.space = Space(self._bitmap, *space)
        self.limits = limits
        self._clock = clock
        self.failed = ""
        self.kept: Callable[[bytes, bytes, int], bool] = _never
        self.commit: Callable[[], object] = _nothing
        self.flush_content: Callable[[], object] = _nothing
        self._freed: list[tuple[bytes, bytes, int]] = []
        self._credit = 0

    def admit(self, blocks: int) -> None:
        """Admit an operation; before it, flush or commit when too much is dirty.

        Raises:
            OSError: ENOSPC or EDQUOT without room; EIO after the container failed; what a flush or a commit raises.
        """
        self.check_usable()
        try:
            if self.dirty_bytes > self.limits.dirty_bytes:
                self.flush_content()
            if self.tree.dirty > self.limits.dirty_nodes:
                self.commit()
        except OSError as error:
            if blocks or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # what takes away goes on: it is how room is made
        self.bound_memory()
        if blocks:
            self._credit -= blocks
            if self._credit < 0:
                self._renew_credit(blocks)

    def now(self) -> int:
        """Return the time in nanoseconds."""
        return self._clock()

    def make_durable(self) -> None:
        """Commit."""
        self.commit()

    def check_usable(self) -> None:
        """Raise EIO when the container failed before: what it holds beyond the last commit is unknown."""
        if self.failed:
            raise OSError(errno.EIO, f"{self.failed}; the last commit is safe, mount the volume again")

    def _renew_credit(self, blocks: int) -> None:
        """Look how much room there is; commit when it is short, since estimates are generous."""
        self._credit = 0
        room = self.room()
        if room < blocks + _CREDIT:
            self.commit()
            room = self.room()
            if room < blocks:
                code = errno.ENOSPC if self._host_room() < blocks else errno.EDQUOT
                raise OSError(code, os.strerror(code))
        self._credit = max(0, min(room - blocks, _CREDIT))

    def used(self) -> int:
        """Return the blocks in use, what is dirty counted at its most."""
        self.drain()
        return self.space.used + self.tree.dirty * BLOCKS_PER_NODE + self.dirty_bytes // BLOCK_BYTES

    def room(self) -> int:
        """Return the blocks that are free under the quota and on the host."""
        host = self._host_room()
        if self.limits.quota_bytes is None:
            return host
        return max(0, min(host, self.limits.quota_bytes // BLOCK_BYTES - self.used() - _SPARE))

    def _host_room(self) -> int:
        dirty = self.tree.dirty * BLOCKS_PER_NODE + self.dirty_bytes // BLOCK_BYTES
        return max(0, self.store.container.available() // BLOCK_BYTES - dirty - _SPARE)

    def forget_credit(self) -> None:
        """Look again how much room there is: a commit changed it."""
        self._credit = 0

    def write_chunk(self, ino: int, chunk: int, content: bytes | bytearray | memoryview) -> bytes:
        """Store a chunk in free blocks and return its pointer. Raises OSError; then nothing is taken."""
        blocks = len(content) // BLOCK_BYTES
        block = self.space.allocate(blocks)
        try:
            return self.store.write_chunk(block, ino, chunk, content)
        except OSError:
            self.space.free(block, blocks, at_once=True)
            raise

    def write_chunks(self, ino: int, first: int, content: memoryview) -> list[bytes]:
        """Store whole chunks, neighbours in one go. Raises OSError, VolumeCorrupt; then nothing is taken."""
        taken: list[int] = []
        pointers: list[bytes] = []
        try:
            while len(taken) < len(content) // CHUNK_BYTES:
                taken.append(self.space.allocate(CHUNK_BLOCKS))
            for start, stop in _neighbours(taken):
                piece = content[start * CHUNK_BYTES : stop * CHUNK_BYTES]
                pointers += self.store.write_chunks(taken[start], ino, first + start, piece)
        except (OSError, VolumeCorrupt):
            for block in taken:
                self.space.free(block, CHUNK_BLOCKS, at_once=True)
            raise
        return pointers

    def release(self, pointer: bytes, key: bytes, level: int) -> None:
        """Take back what a pointer points to; `drain` looks at it later: a change of the tree never fails here."""
        self._freed.append((pointer, key, level))

    def drain(self) -> None:
        """Free what was released, unless a snapshot needs it. Raises EIO, VolumeCorrupt; can be called again."""
        freed = self._freed
        while freed:
            pointer, key, level = freed[-1]
            block, blocks, born = POINTER.unpack(pointer)[:3]
            at_once = born == self.store.generation
            if at_once or not self.kept(pointer, key, level):
                self.space.free(block, blocks, at_once=at_once)
            freed.pop()

    def is_dirty(self) -> bool:
        """Say whether the tree differs from the last commit."""
        return bool(self._freed) or not self.tree.root.pointer

    def _bitmap(self, group: int) -> bytes | None:
        return self.tree.get(bitmap_key(group))


def _neighbours(blocks: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of chunks that lie one behind the other, as many as are written in one go."""
    start = 0
    for at in range(1, len(blocks) + 1):
        if at in (len(blocks), start + AT_ONCE) or blocks[at] != blocks[at - 1] + CHUNK_BLOCKS:
            yield start, at
            start = at


def bitmap_key(group: int) -> bytes:
    """Return the key of a group's bitmap."""
    return number_key(OBJECT_VOLUME, KIND_BITMAP, group)


def _never(_pointer: bytes, _key: bytes, _level: int) -> bool:
    return False


def _nothing() -> None:
    return None

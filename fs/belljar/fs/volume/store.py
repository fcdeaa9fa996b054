"""Sealed bytes in the container: nodes and chunks, by pointer.

A pointer pins what it points to: where it lies, its length, generation, key epoch, nonce and 16-byte tag. Nothing that
was read is believed before its tag was verified with the associated data it must have; what does not verify raises
`VolumeCorrupt` and is never returned, not even in part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.volume.layout import BLOCK_BYTES, CHUNK_BYTES, POINTER, TAG_BYTES
from belljar.fs.volume.node import Node, decode
from belljar.fs.volume.sealing import NODES, InvalidTag, Sealer

if TYPE_CHECKING:
    from belljar.fs.volume.container import Container

AT_ONCE = 16
"""Chunks that are sealed and written in one go."""


class Store:
    """Reads and writes what pointers point to. `generation` is that of the next commit, in which all is born."""

    def __init__(self, container: Container, sealer: Sealer, generation: int) -> None:
        self.container = container
        self.sealer = sealer
        self.generation = generation
        self._sealing: memoryview | None = None  # kept once it is there: new memory would cost as much as sealing

    def load(self, pointer: bytes, level: int) -> Node:
        """Return the node behind a pointer. Raises OSError, VolumeCorrupt."""
        block, blocks, generation, epoch, counter, tag = POINTER.unpack(pointer)
        where = f"node of level {level} in blocks {block} to {block + blocks - 1}"
        sealed = self._read(block, blocks, where) + tag
        context = self.sealer.node_context(level, generation)
        try:
            node = decode(self.sealer.open(sealed, NODES, (epoch, counter), context), pointer)
        except InvalidTag:
            raise VolumeCorrupt(where, f"does not verify as it was written in generation {generation}") from None
        except ValueError as error:
            raise VolumeCorrupt(where, str(error)) from None
        if node.level != level:
            raise VolumeCorrupt(where, f"says it is of level {node.level}")
        return node

    def read_chunk(self, pointer: bytes, ino: int, chunk: int) -> bytes:
        """Return the content of a chunk, filled up with zeros to whole blocks. Raises OSError, VolumeCorrupt."""
        block, blocks, generation, epoch, counter, tag = POINTER.unpack(pointer)
        sealed = self.container.pread(blocks * BLOCK_BYTES, block * BLOCK_BYTES) + tag
        context = self.sealer.chunk_context(ino, chunk, generation)
        try:
            return self.sealer.open(sealed, ino, (epoch, counter), context)
        except InvalidTag:
            raise _damaged(ino, chunk, block, blocks * BLOCK_BYTES, generation) from None

    def write_chunk(self, block: int, ino: int, chunk: int, content: bytes | bytearray | memoryview) -> bytes:
        """Write a chunk of whole blocks to its place and return its pointer. Raises OSError."""
        context = self.sealer.chunk_context(ino, chunk, self.generation)
        nonce = self.sealer.next_nonce()
        sealed = self.sealer.seal(content, ino, nonce, context)
        self.container.pwrite(memoryview(sealed)[:-TAG_BYTES], block * BLOCK_BYTES)
        return POINTER.pack(block, len(content) // BLOCK_BYTES, self.generation, *nonce, sealed[-TAG_BYTES:])

    def read_chunks(self, pointers: list[bytes], ino: int, first: int, room: memoryview) -> None:
        """Put whole chunks that lie one behind the other, `first` and those after it, into `room`.

        Raises:
            OSError, VolumeCorrupt: then nobody may look at what is in `room`.
        """
        start = POINTER.unpack(pointers[0])[0]
        found = memoryview(self.container.pread(len(pointers) * CHUNK_BYTES, start * BLOCK_BYTES))
        for number, pointer in enumerate(pointers):
            block, _, generation, epoch, counter, tag = POINTER.unpack(pointer)
            at = number * CHUNK_BYTES
            chunk = first + number
            context = self.sealer.chunk_context(ino, chunk, generation)
            sealed = b"".join((found[at : at + CHUNK_BYTES], tag))
            if len(sealed) != CHUNK_BYTES + TAG_BYTES:
                raise _damaged(ino, chunk, block, CHUNK_BYTES, generation)
            try:
                self.sealer.open_into(sealed, ino, (epoch, counter), context, room[at : at + CHUNK_BYTES])
            except InvalidTag:
                raise _damaged(ino, chunk, block, CHUNK_BYTES, generation) from None

    def write_chunks(self, block: int, ino: int, first: int, content: memoryview) -> list[bytes]:
        """Write up to 16 whole chunks, `first` and those after it, to one place in one go; return their pointers.

        Each tag is overwritten by the next chunk, so that the ciphertext lies in one piece. The caller holds the lock
        of the volume. Raises OSError.
        """
        pointers: list[bytes] = []
        if self._sealing is None:
            self._sealing = memoryview(bytearray(AT_ONCE * CHUNK_BYTES + TAG_BYTES))
        sealed = self._sealing
        for at in range(0, len(content), CHUNK_BYTES):
            end = at + CHUNK_BYTES
            nonce = self.sealer.next_nonce()
            context = self.sealer.chunk_context(ino, first + len(pointers), self.generation)
            self.sealer.seal_into(content[at:end], ino, nonce, context, sealed[at : end + TAG_BYTES])
            tag = bytes(sealed[end : end + TAG_BYTES])
            place = block + at // BLOCK_BYTES
            pointers.append(POINTER.pack(place, layout.CHUNK_BLOCKS, self.generation, *nonce, tag))
        self.container.pwrite(sealed[: len(content)], block * BLOCK_BYTES)
        return pointers

    def seal_node(self, node: Node) -> bytes:
        """Seal a node whose place is known, give it its fresh pointer and return what to write there."""
        nonce = self.sealer.next_nonce()
        context = self.sealer.node_context(node.level, self.generation)
        sealed = self.sealer.seal(node.encode(), NODES, nonce, context)
        node.fresh = POINTER.pack(node.place, node.room, self.generation, *nonce, sealed[-TAG_BYTES:])
        return sealed[:-TAG_BYTES]

    def _read(self, block: int, blocks: int, where: str) -> bytes:
        found = self.container.pread(blocks * BLOCK_BYTES, block * BLOCK_BYTES)
        if len(found) != blocks * BLOCK_BYTES:
            raise VolumeCorrupt(where, f"got {len(found)} bytes, expected {blocks * BLOCK_BYTES}: the container is cut")
        return found


def _damaged(ino: int, chunk: int, block: int, size: int, generation: int) -> VolumeCorrupt:
    start = chunk * CHUNK_BYTES
    return VolumeCorrupt(
        f"inode {ino}, bytes {start} to {start + size - 1} (container block {block})",
        f"does not verify as it was written in generation {generation}",
    )

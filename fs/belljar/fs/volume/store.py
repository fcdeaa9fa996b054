"""Sealed bytes in the container: nodes and chunks, by pointer.

A pointer pins what it points to: where it lies, its length, generation, key epoch, nonce and 16-byte tag. Nothing that
was read is believed before its tag was verified with the associated data it must have; what does not verify raises
`VolumeCorrupt` and is never returned, not even in part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.volume.layout import BLOCK_BYTES, POINTER, TAG_BYTES
from belljar.fs.volume.node import Node, decode
from belljar.fs.volume.sealing import NODES, InvalidTag, Sealer

if TYPE_CHECKING:
    from belljar.fs.volume.container import Container


class Store:
    """Reads and writes what pointers point to. `generation` is that of the next commit, in which all is born."""

    def __init__(self, container: Container, sealer: Sealer, generation: int) -> None:
        self.container = container
        self.sealer = sealer
        self.generation = generation

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
            start = chunk * layout.CHUNK_BYTES
            raise VolumeCorrupt(
                f"inode {ino}, bytes {start} to {start + blocks * BLOCK_BYTES - 1} (container block {block})",
                f"does not verify as it was written in generation {generation}",
            ) from None

    def write_chunk(self, block: int, ino: int, chunk: int, content: bytes | bytearray | memoryview) -> bytes:
        """Write a chunk of whole blocks to its place and return its pointer. Raises OSError."""
        context = self.sealer.chunk_context(ino, chunk, self.generation)
        nonce = self.sealer.next_nonce()
        sealed = self.sealer.seal(content, ino, nonce, context)
        self.container.pwrite(memoryview(sealed)[:-TAG_BYTES], block * BLOCK_BYTES)
        return POINTER.pack(block, len(content) // BLOCK_BYTES, self.generation, *nonce, sealed[-TAG_BYTES:])

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

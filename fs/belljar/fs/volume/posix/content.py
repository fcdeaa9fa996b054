"""The content of regular files: chunks of 64 KiB, or a beginning of up to 2 KiB in the tree.

Writes are kept in memory (`Inode.chunks`) and sealed when they are flushed: before a commit, or when too much is
dirty. What was never written is a hole and takes no room; a chunk shorter than its place ends in zeros. Every chunk is
whole when it is sealed, so a reader verifies at most 64 KiB to return a byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.volume.layout import CHUNK_BITS, CHUNK_BYTES, KIND_EXTENT, KIND_INLINE, head_key, number_key

if TYPE_CHECKING:
    from belljar.fs.volume.ground import Ground
    from belljar.fs.volume.posix.inode import Inode

_MASK = CHUNK_BYTES - 1
_MAX_CACHED = 16  # chunks of 64 KiB that small reads find without decrypting again
_SCATTERED = 4  # pieces of a large read; asking for fewer costs more than it saves
_AHEAD = 16  # chunks behind a large read that will be read next
_LAST = (1 << 64) - 1


class Content:
    """Reads and changes content. The caller holds the lock, has admitted the operation, and touches the inode."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._cache: dict[bytes, bytes] = {}

    def read(self, inode: Inode, offset: int, size: int) -> bytes | bytearray:
        """Return content, shorter at the end of the file. Raises EIO, VolumeCorrupt."""
        end = min(offset + size, inode.size)
        if offset >= end:
            return b""
        first, last = offset >> CHUNK_BITS, (end - 1) >> CHUNK_BITS
        if first == last:
            return self._piece(inode, first, offset & _MASK, ((end - 1) & _MASK) + 1)
        self._expect(inode, first, last + 1 + _AHEAD)
        found = bytearray(end - offset)
        room = memoryview(found)
        whole: list[bytes] = []  # pointers of chunks that lie one behind the other, and before `chunk`
        for chunk in range(first, last + 1):
            at = (chunk << CHUNK_BITS) - offset
            pointer = self._whole_pointer(inode, chunk) if at >= 0 and at + CHUNK_BYTES <= len(found) else None
            if whole and (pointer is None or not _follows(pointer, whole[-1])):
                self._read_whole(inode, chunk, whole, room[:at])
                whole = []
            if pointer is not None:
                whole.append(pointer)
            else:
                start, stop = max(-at, 0), min(len(found) - at, CHUNK_BYTES)
                room[at + start : at + stop] = self._piece(inode, chunk, start, stop)
        if whole:
            self._read_whole(inode, last + 1, whole, room)
        return found

    def _expect(self, inode: Inode, first: int, stop: int) -> None:
        """Let the container fetch the chunks first <= chunk < stop that lie apart: one by one they would be waited for.

        What lies in one piece the host's kernel foresees by itself.
        """
        if not inode.blocks:
            return
        low, high = number_key(inode.ino, KIND_EXTENT, first), number_key(inode.ino, KIND_EXTENT, stop)
        pointers = [layout.POINTER.unpack(pointer) for _, pointer in self.ground.tree.batch(low, high)[0]]
        begin = end = 0
        runs: list[tuple[int, int]] = []
        for block, blocks, *_ in pointers:
            if block != end and end:
                runs.append((begin, end))
            begin, end = (begin, block + blocks) if block == end and end else (block, block + blocks)
        if len(runs) >= _SCATTERED:
            for start, behind in (*runs, (begin, end)):
                self.ground.store.container.expect(start * layout.BLOCK_BYTES, (behind - start) * layout.BLOCK_BYTES)

    def _whole_pointer(self, inode: Inode, chunk: int) -> bytes | None:
        """Return the pointer of a chunk that is stored as a whole and is not in memory."""
        if chunk in inode.chunks or not inode.blocks:
            return None
        pointer = self.ground.tree.get(number_key(inode.ino, KIND_EXTENT, chunk))
        if pointer is None or pointer in self._cache or layout.POINTER.unpack(pointer)[1] != layout.CHUNK_BLOCKS:
            return None
        return pointer

    def _read_whole(self, inode: Inode, behind: int, pointers: list[bytes], room: memoryview) -> None:
        """Read the chunks right before chunk `behind` to the end of `room`."""
        first = behind - len(pointers)
        self.ground.store.read_chunks(pointers, inode.ino, first, room[-(len(pointers) << CHUNK_BITS) :])

    def write(self, inode: Inode, offset: int, content: bytes | bytearray | memoryview) -> None:
        """Write all of the content. Whole chunks are sealed at once, the edges stay in memory.

        Raises:
            OSError, VolumeCorrupt: EIO, ENOSPC; then nothing is written.
        """
        end = offset + len(content)
        first, last = -(-offset >> CHUNK_BITS), end >> CHUNK_BITS
        edges = {chunk: self._editable(inode, chunk) for chunk in _edges(offset, end)}
        if first < last:
            self._seal_whole(inode, first, last, content[(first << CHUNK_BITS) - offset :])
        for chunk, edge in edges.items():
            base = chunk << CHUNK_BITS
            start, stop = max(offset - base, 0), min(end - base, CHUNK_BYTES)
            kept = len(inode.chunks.get(chunk, b""))
            if start > len(edge):
                edge.extend(bytes(start - len(edge)))
            edge[start:stop] = content[base + start - offset : base + stop - offset]
            inode.chunks[chunk] = edge
            self.ground.dirty_bytes += len(edge) - kept
        inode.size = max(inode.size, end)

    def _seal_whole(self, inode: Inode, first: int, last: int, content: bytes | bytearray | memoryview) -> None:
        """Seal the whole chunks first <= chunk < last, or none of them."""
        ino, ground = inode.ino, self.ground
        keys = [number_key(ino, KIND_EXTENT, chunk) for chunk in range(first, last)]
        pointers = ground.write_chunks(ino, first, memoryview(content)[: (last - first) << CHUNK_BITS])
        try:
            for key in keys:
                ground.tree.get(key)  # what may fail comes first: nothing has to be read to put them
        except (OSError, VolumeCorrupt):
            for key, pointer in zip(keys, pointers, strict=True):
                ground.release(pointer, key, -1)
            raise
        for chunk in range(first, last):
            ground.dirty_bytes -= len(inode.chunks.pop(chunk, b""))
        for key, pointer in zip(keys, pointers, strict=True):
            self._enter(inode, key, pointer)

    def resize(self, inode: Inode, size: int) -> None:
        """Cut or extend. Raises EIO, VolumeCorrupt; then nothing is cut that is to stay."""
        if size < inode.size:
            chunk, within = size >> CHUNK_BITS, size & _MASK
            if within:
                kept = self._chunk(inode, chunk)
                if len(kept) > within:
                    self._keep(inode, chunk, bytearray(kept[:within]))
                chunk += 1
            self._remove(inode, chunk, _LAST)
        inode.size = size

    def zero(self, inode: Inode, offset: int, end: int) -> None:
        """Make a hole where whole chunks are covered, zeros elsewhere. Raises EIO, VolumeCorrupt."""
        end = min(end, inode.size)
        if offset >= end:
            return
        first, last = -(-offset >> CHUNK_BITS), end >> CHUNK_BITS
        last = -(-end >> CHUNK_BITS) if end == inode.size else last
        edges = {chunk for at in (offset, end) if (chunk := at >> CHUNK_BITS) < first or last <= chunk}
        for chunk in edges:
            self._blank(inode, chunk, offset - (chunk << CHUNK_BITS), end - (chunk << CHUNK_BITS))
        if first < last:
            self._remove(inode, first, last)

    def next_chunk(self, inode: Inode, chunk: int) -> int | None:
        """Return the number of the first chunk at or after one that is no hole."""
        waiting = min((number for number in inode.chunks if number >= chunk), default=None)
        if chunk == 0 and inode.flags & layout.FLAG_INLINE:
            return 0
        if not inode.blocks:
            return waiting
        low = number_key(inode.ino, KIND_EXTENT, chunk)
        found = next(self.ground.tree.items(low, head_key(inode.ino, KIND_EXTENT + 1)), None)
        if found is None:
            return waiting
        stored: int = layout.KEY_NUMBER.unpack(found[0])[2]
        return stored if waiting is None else min(stored, waiting)

    def flush(self, inode: Inode) -> None:
        """Seal what was written. Raises ENOSPC, EIO, VolumeCorrupt; what is not sealed then stays in memory."""
        chunks = inode.chunks
        for chunk in sorted(chunks):
            content = chunks[chunk]
            if chunk == 0 and inode.size <= layout.MAX_INLINE and len(content) <= layout.MAX_INLINE:
                self._store_inline(inode, bytes(content))
            else:
                self._store(inode, chunk, content)
            del chunks[chunk]
            self.ground.dirty_bytes -= len(content)

    def _store_inline(self, inode: Inode, content: bytes) -> None:
        if inode.blocks:
            self._remove_stored(inode, 0, 1)
        self.ground.tree.put(head_key(inode.ino, KIND_INLINE), content)
        inode.flags |= layout.FLAG_INLINE

    def _store(self, inode: Inode, chunk: int, content: bytes | bytearray) -> None:
        short = -len(content) % layout.BLOCK_BYTES
        pointer = self.ground.write_chunk(inode.ino, chunk, content + bytes(short) if short else content)
        key = number_key(inode.ino, KIND_EXTENT, chunk)
        try:
            self._enter(inode, key, pointer)
        except (OSError, VolumeCorrupt):
            self.ground.release(pointer, key, -1)
            raise

    def _enter(self, inode: Inode, key: bytes, pointer: bytes) -> None:
        """Put the pointer of a chunk into the tree, and release what was there."""
        old = self.ground.tree.put(key, pointer)
        inode.blocks += layout.POINTER.unpack(pointer)[1]
        if old is not None:
            inode.blocks -= layout.POINTER.unpack(old)[1]
            self.ground.release(old, key, -1)
        if inode.flags & layout.FLAG_INLINE and layout.KEY_NUMBER.unpack(key)[2] == 0:
            self._remove_inline(inode)

    def _keep(self, inode: Inode, chunk: int, content: bytes | bytearray) -> None:
        """Keep the new content of a chunk in memory."""
        old = inode.chunks.get(chunk)
        inode.chunks[chunk] = content
        self.ground.dirty_bytes += len(content) - (0 if old is None else len(old))

    def _editable(self, inode: Inode, chunk: int) -> bytearray:
        """Return a chunk that may be changed: the one that is kept, or a copy of the stored one."""
        found = self._chunk(inode, chunk)
        return found if isinstance(found, bytearray) else bytearray(found)

    def _blank(self, inode: Inode, chunk: int, start: int, end: int) -> None:
        """Write zeros into a part of a chunk that is no hole."""
        old = self._chunk(inode, chunk)
        start, end = max(start, 0), min(end, len(old))
        if start < end:
            edge = bytearray(old)
            edge[start:end] = bytes(end - start)
            self._keep(inode, chunk, edge)

    def _piece(self, inode: Inode, chunk: int, start: int, end: int) -> bytes:
        content = self._chunk(inode, chunk)
        have = len(content)
        if start == 0 and end == have and type(content) is bytes:
            return content
        piece = bytes(content[start:end])
        return piece if end <= have else piece + bytes(end - start - len(piece))

    def _chunk(self, inode: Inode, chunk: int) -> bytes | bytearray:
        """Return a chunk as it is kept or stored; empty for a hole, and zeros follow what is short."""
        found = inode.chunks.get(chunk)
        if found is not None:
            return found
        if chunk == 0 and inode.flags & layout.FLAG_INLINE:
            inline = self.ground.tree.get(head_key(inode.ino, KIND_INLINE))
            if inline is None:
                raise VolumeCorrupt(f"inode {inode.ino}", "its content in the tree is missing")
            return inline
        if not inode.blocks:
            return b""
        pointer = self.ground.tree.get(number_key(inode.ino, KIND_EXTENT, chunk))
        return b"" if pointer is None else self._stored(pointer, inode, chunk)

    def _stored(self, pointer: bytes, inode: Inode, chunk: int) -> bytes:
        """Return a stored chunk, from memory where it was read lately; a pointer is as good as its content."""
        found = self._cache.get(pointer)
        if found is None:
            found = self.ground.store.read_chunk(pointer, inode.ino, chunk)
            if len(self._cache) >= _MAX_CACHED:
                del self._cache[next(iter(self._cache))]
            self._cache[pointer] = found
        start = chunk << CHUNK_BITS
        return found if start + len(found) <= inode.size else found[: max(0, inode.size - start)]

    def _remove(self, inode: Inode, first: int, last: int) -> None:
        """Make a hole of the chunks first <= chunk < last."""
        for chunk in [chunk for chunk in inode.chunks if first <= chunk < last]:
            self.ground.dirty_bytes -= len(inode.chunks.pop(chunk))
        if first == 0 and inode.flags & layout.FLAG_INLINE:
            self._remove_inline(inode)
        if inode.blocks:
            self._remove_stored(inode, first, last)

    def _remove_inline(self, inode: Inode) -> None:
        self.ground.tree.delete(head_key(inode.ino, KIND_INLINE))
        inode.flags &= ~layout.FLAG_INLINE

    def _remove_stored(self, inode: Inode, first: int, last: int) -> None:
        low, high = number_key(inode.ino, KIND_EXTENT, first), number_key(inode.ino, KIND_EXTENT, last)
        for items in self.ground.tree.take(low, high):
            for key, pointer in items:
                inode.blocks -= layout.POINTER.unpack(pointer)[1]
                self.ground.release(pointer, key, -1)


def _follows(pointer: bytes, before: bytes) -> bool:
    """Say whether a chunk lies right behind another whole one."""
    return bool(layout.POINTER.unpack(pointer)[0] == layout.POINTER.unpack(before)[0] + layout.CHUNK_BLOCKS)


def _edges(offset: int, end: int) -> set[int]:
    """Return the chunks that a range covers in part."""
    return {at >> CHUNK_BITS for at in (offset, end) if at & _MASK}

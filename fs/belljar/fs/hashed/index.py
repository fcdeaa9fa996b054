"""Read an index without reading it whole: verify the table, then each 16 KiB block when it is first needed.

In comes a descriptor of an index file and the digest that was measured; out come entries, children, digests, times.
Nothing is believed before its block has been verified, and a verified block is kept as a private copy, so a file that
changes on disk changes nothing here. 100 000 entries cost what the fifty used ones cost (design section 8).
"""

from __future__ import annotations

import hashlib
import os

from belljar.fs.errors import IndexRefused

from . import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    Record = tuple[int, int, int, int, int, int, int]
    """(name_offset, name_length, kind, flags, size, first, parent), see `layout.ENTRY`."""

_EXPECTED_HEADER = (layout.MAGIC, layout.VERSION, layout.SHA256, layout.BLOCK_BYTES, layout.CHUNK_BYTES)
_SMALL_DIRECTORY = 1024  # up to here a directory's names become a dict at first use; above, lookups search


class Index:
    """A verified view of one index file.

    Args:
        descriptor: open for reading; owned by the index from here on.
        digest: the 32 bytes that were measured.

    Raises:
        IndexRefused: malformed, truncated, of another version, or not the index that was measured.
    """

    def __init__(self, descriptor: int, digest: bytes) -> None:
        self._descriptor = descriptor
        try:
            self._open(digest)
        except BaseException:
            self.close()
            raise

    def _open(self, digest: bytes) -> None:
        header = os.pread(self._descriptor, layout.HEADER.size, 0)
        if len(header) != layout.HEADER.size:
            raise IndexRefused(f"index is truncated: got {len(header)} bytes, expected at least {layout.HEADER.size}")
        *fixed, entries, names_bytes, chunks = layout.HEADER.unpack(header)
        if tuple(fixed) != _EXPECTED_HEADER:
            raise IndexRefused(f"not an index this version reads: got header {fixed}, expected {_EXPECTED_HEADER}")
        names_at = entries * layout.ENTRY.size
        digests_at = names_at + names_bytes
        body_bytes = digests_at + chunks * 32
        blocks = -(-body_bytes // layout.BLOCK_BYTES)
        self._body_at = layout.HEADER.size + blocks * 32
        self._times_at = self._body_at + body_bytes
        expected = self._times_at + entries * layout.TIME.size
        found = os.fstat(self._descriptor).st_size
        if found != expected:
            raise IndexRefused(f"index has the wrong length: got {found} bytes, expected {expected}")
        table = os.pread(self._descriptor, blocks * 32, layout.HEADER.size)
        actual = hashlib.sha256(header + table).digest()
        if actual != digest:  # nothing secret is compared, so no constant time is owed
            raise IndexRefused(f"index is not the measured one: got sha256:{actual.hex()}, expected {digest.hex()}")
        self.entries: int = entries
        self.digest = digest
        self._names_at = names_at
        self._digests_at = digests_at
        self.chunks: int = chunks
        self._table = table
        self._body_bytes = body_bytes
        self._blocks: dict[int, bytes] = {}
        self._children: dict[int, dict[bytes, int]] = {}

    def close(self) -> None:
        """Release the descriptor; blocks already read stay usable."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def record(self, number: int) -> Record:
        """Return entry `number`, checked to point inside of the index."""
        record: Record = layout.ENTRY.unpack(self._body(number * layout.ENTRY.size, layout.ENTRY.size))
        return record

    def name(self, number: int) -> bytes:
        """Return the name of entry `number`; the root's is empty."""
        record = self.record(number)
        return self._body(self._names_at + record[0], record[1])

    def path(self, number: int) -> bytes:
        """Return the path of entry `number` below the root, without a leading slash."""
        parts: list[bytes] = []
        while number:
            record = self.record(number)
            parts.append(self._body(self._names_at + record[0], record[1]))
            if record[6] >= number:  # parents stand before their children, or this would never end
                raise IndexRefused(f"entry {number} has the parent {record[6]} behind it")
            number = record[6]
        return b"/".join(reversed(parts))

    def target(self, record: Record) -> bytes:
        """Return where a symbolic link points."""
        return self._body(self._names_at + record[5], record[4])

    def child(self, directory: int, name: bytes) -> int | None:
        """Return the number of the entry called `name` in `directory`, or None."""
        record = self.record(directory)
        if record[2] != layout.KIND_DIRECTORY:
            return None
        if record[4] > _SMALL_DIRECTORY:
            return self._search(record[5], record[5] + record[4], name)
        known = self._children.get(directory)
        if known is None:
            known = self._children[directory] = dict(self.children(directory, record))
        return known.get(name)

    def _search(self, low: int, high: int, name: bytes) -> int | None:
        while low < high:
            middle = (low + high) // 2
            found = self.name(middle)
            if found == name:
                return middle
            if found < name:
                low = middle + 1
            else:
                high = middle
        return None

    def children(
        self, directory: int, record: Record, skip: int = 0, limit: int = layout.MAX_ENTRIES
    ) -> list[tuple[bytes, int]]:
        """Return (name, number) of the entries of a directory, in order: at most `limit` behind the first `skip`."""
        if record[2] != layout.KIND_DIRECTORY:
            return []
        if record[4] and (record[5] <= directory or record[5] + record[4] > self.entries):
            raise IndexRefused(f"entry {directory} has children outside of the index")
        first, count = record[5] + skip, min(record[4] - skip, limit)
        if count <= 0:
            return []
        raw = self._body(first * layout.ENTRY.size, count * layout.ENTRY.size)
        rows = [row[:2] for row in layout.ENTRY.iter_unpack(raw)]
        base = rows[0][0]
        names = self._body(self._names_at + base, rows[-1][0] + rows[-1][1] - base)
        return [(names[at - base : at - base + length], first + i) for i, (at, length) in enumerate(rows)]

    def rows(self, first: int, count: int) -> list[tuple[Record, tuple[int, int, int]]]:
        """Return (entry, times) of `count` neighbours from `first` on: what a directory listing needs, in two reads."""
        entries = layout.ENTRY.iter_unpack(self._body(first * layout.ENTRY.size, count * layout.ENTRY.size))
        at = self._times_at + first * layout.TIME.size
        times = layout.TIME.iter_unpack(os.pread(self._descriptor, count * layout.TIME.size, at))
        return list(zip(entries, times, strict=True))

    def chunk_digest(self, record: Record, chunk: int) -> bytes:
        """Return the SHA-256 of chunk number `chunk` of a file."""
        number = record[5] + chunk
        if number >= self.chunks:
            raise IndexRefused(f"chunk {number} is outside of the index")
        return self._body(self._digests_at + number * 32, 32)

    def chunk_digests(self, record: Record) -> bytes:
        """Return the SHA-256 of every chunk of a file, one after the other."""
        count = -(-record[4] // layout.CHUNK_BYTES)
        if record[5] + count > self.chunks:
            raise IndexRefused(f"chunks {record[5]} to {record[5] + count} are outside of the index")
        return self._body(self._digests_at + record[5] * 32, count * 32) if count else b""

    def times(self, number: int) -> tuple[int, int, int]:
        """Return (mtime in ns, inode entry, nlink) of an entry: pinned for the run, but not measured."""
        at = self._times_at + number * layout.TIME.size
        mtime_ns, inode, nlink = layout.TIME.unpack(os.pread(self._descriptor, layout.TIME.size, at))
        return mtime_ns, inode, nlink

    def _body(self, at: int, length: int) -> bytes:
        """Return verified bytes of the body."""
        number, start = divmod(at, layout.BLOCK_BYTES)
        block = self._blocks.get(number) or self._load(number)
        if start + length <= layout.BLOCK_BYTES:
            part = block[start : start + length]
        else:
            last = (at + length - 1) // layout.BLOCK_BYTES
            parts = [block, *(self._blocks.get(n) or self._load(n) for n in range(number + 1, last + 1))]
            part = b"".join(parts)[start : start + length]
        if len(part) != length:
            raise IndexRefused(f"index points outside of itself: {length} bytes at {at} of {self._body_bytes}")
        return part

    def _load(self, number: int) -> bytes:
        expected = self._table[number * 32 : number * 32 + 32]
        at = number * layout.BLOCK_BYTES
        length = min(layout.BLOCK_BYTES, self._body_bytes - at)
        if not expected or length <= 0:
            raise IndexRefused(f"index points outside of itself: block {number}")
        block = os.pread(self._descriptor, length, self._body_at + at)
        if hashlib.sha256(block).digest() != expected:
            raise IndexRefused(f"block {number} of the index is not the measured one")
        self._blocks[number] = block
        return block

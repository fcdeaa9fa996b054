"""Measure a host tree: walk it, hash what is new in parallel, build its index (IEEE 2952 5.1.2 b, 7.2.3 a).

In come a source, a selection and a cache; out comes the index with its digest, and the stamps by which a later start
can tell that nothing changed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from errno import EINVAL
from functools import partial
from typing import TYPE_CHECKING, Protocol

from belljar.fs.errors import SourceError

from . import layout
from .beneath import NAME, open_beneath
from .build import BuiltIndex, Found, build_index
from .walk import Seen, Selection, Stamp, Walk, stamp, unreadable, walk

if TYPE_CHECKING:
    from .cache import DigestCache

_ATTEMPTS = 3  # a file that changes under each of three readings is being written to
_AT_ONCE = 1 << 20  # files up to here are read whole
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Progress(Protocol):
    """Told how far hashing is."""

    def expect(self, size_bytes: int) -> None:
        """So many bytes more will be hashed."""

    def advance(self, size_bytes: int) -> None:
        """So many bytes have been hashed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTree:
    """An index and how it came to be.

    Attributes:
        index: bytes and digest.
        files: (path below the source, stamp) of every measured file.
        listed: (path below the source, stamp) of every directory that was listed.
        left_out: paths that have no content to measure: sockets, fifos, devices.
        size_bytes: sum of the file sizes.
    """

    index: BuiltIndex
    files: tuple[tuple[bytes, Stamp], ...]
    listed: tuple[tuple[bytes, Stamp], ...]
    left_out: tuple[bytes, ...]
    size_bytes: int


def measure_tree(
    source: bytes, selection: Selection, cache: DigestCache, progress: Progress | None = None
) -> MeasuredTree:
    """Measure what `selection` takes of `source`.

    Raises:
        SourceError: something cannot be read, or changes while it is read.
    """
    walked = walk(source, selection)
    known, unknown = _split(walked, cache)
    if progress is not None:
        progress.expect(sum(seen.stamp[2] for seen in unknown))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        fresh = pool.map(partial(hash_file, source, progress=progress), [seen.path for seen in unknown])
        for seen, (final, digests) in zip(unknown, fresh, strict=True):
            known[seen.path] = (final, digests)
            cache.store(final, digests)
    found = [_found(seen, known) for seen in walked.seen]
    files = tuple((seen.path, known[seen.path][0]) for seen in walked.seen if seen.kind == layout.KIND_FILE)
    return MeasuredTree(
        index=build_index(found),
        files=files,
        listed=tuple(walked.listed),
        left_out=tuple(walked.left_out),
        size_bytes=sum(entry[2] for _, entry in files),
    )


def _split(walked: Walk, cache: DigestCache) -> tuple[dict[bytes, tuple[Stamp, bytes]], list[Seen]]:
    known: dict[bytes, tuple[Stamp, bytes]] = {}
    unknown: list[Seen] = []
    for seen in walked.seen:
        if seen.kind != layout.KIND_FILE:
            continue
        digests = cache.find(seen.stamp)
        if digests is None:
            unknown.append(seen)
        else:
            known[seen.path] = (seen.stamp, digests)
    return known, unknown


def _found(seen: Seen, known: dict[bytes, tuple[Stamp, bytes]]) -> Found:
    if seen.kind != layout.KIND_FILE:
        return Found(path=seen.path, kind=seen.kind, mtime_ns=seen.stamp[3], target=seen.target)
    final, digests = known[seen.path]
    return Found(
        path=seen.path,
        kind=seen.kind,
        mode=seen.mode,
        size=final[2],
        mtime_ns=final[3],
        identity=(final[0], final[1]) if seen.nlink > 1 else None,
        digests=digests,
    )


def hash_file(source: bytes, below: bytes, *, progress: Progress | None) -> tuple[Stamp, bytes]:
    """Return the stamp and the chunk digests of a file that held still while it was read.

    Raises:
        SourceError: it cannot be read, or does not hold still.
    """
    path = os.path.join(source, below) if below else source
    for _ in range(_ATTEMPTS):
        try:
            result = _hash_once(source, below, progress)
        except OSError as error:
            raise unreadable(path, error, listed=True) from error
        if result is not None:
            return result
    raise SourceError(
        f"{os.fsdecode(path)}: changes while it is measured",
        hint="stop the program that writes it, or exclude it from the mount",
    )


def _hash_once(source: bytes, path: bytes, progress: Progress | None) -> tuple[Stamp, bytes] | None:
    """Hash a file; None if it changed meanwhile. Only the source itself may be a link."""
    place = _place(source, path)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(EINVAL, "is no regular file any more")
        descriptor = os.open(f"/proc/self/fd/{place}", _READ_FLAGS)
    finally:
        os.close(place)
    try:
        before = stamp(os.fstat(descriptor))
        digests = _digests(descriptor, before[2], progress)
        return (before, digests) if stamp(os.fstat(descriptor)) == before else None
    finally:
        os.close(descriptor)


def _place(source: bytes, path: bytes) -> int:
    """Name a file, without opening it: opening a device or a fifo has effects."""
    root = os.open(source, os.O_PATH | os.O_CLOEXEC)
    if not path:
        return root
    try:
        return open_beneath(root, path, NAME)
    finally:
        os.close(root)


def _digests(descriptor: int, size: int, progress: Progress | None) -> bytes:
    digests: list[bytes] = []
    while block := _read_whole_chunks(descriptor, min(size + 1, _AT_ONCE)):
        view = memoryview(block)
        digests.extend(
            hashlib.sha256(view[at : at + layout.CHUNK_BYTES]).digest()
            for at in range(0, len(view), layout.CHUNK_BYTES)
        )
        if progress is not None:
            progress.advance(len(block))
    return b"".join(digests)


def _read_whole_chunks(descriptor: int, size: int) -> bytes:
    """Read about `size` bytes, and on to the end of a chunk unless the file ends before."""
    block = os.read(descriptor, size)
    while block and len(block) % layout.CHUNK_BYTES:
        more = os.read(descriptor, layout.CHUNK_BYTES - len(block) % layout.CHUNK_BYTES)
        if not more:
            break
        block += more
    return block

"""Compare the files of this machine with an index: which are not what was measured.

In come the entries of an index and a source; out come differences, one per path. What the source has beyond the index
is no difference: it is never served. Hashes only what the digest cache does not know. Clause: IEEE 2952 7.2.3 a.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from belljar.fs.errors import SourceError

from . import layout
from .beneath import NAME, open_beneath
from .measure import hash_file
from .walk import stamp

if TYPE_CHECKING:
    from .cache import DigestCache
    from .listing import Entry
    from .measure import Progress
    from .walk import Stamp

_EXECUTABLE_BITS = 0o111
_NAMES = {layout.KIND_FILE: "a file", layout.KIND_DIRECTORY: "a folder", layout.KIND_SYMLINK: "a link"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A path whose file is not what the index says.

    Attributes:
        path: below the source; b"" is the source itself.
        reason: what was found, to be read after the path.
    """

    path: bytes
    reason: str


def compare_tree(
    source: bytes, entries: list[Entry], cache: DigestCache, progress: Progress | None = None
) -> list[Difference]:
    """Return how a source differs from the entries of an index, in their order.

    Raises:
        SourceError: the source itself is not there.
    """
    try:
        root = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{os.fsdecode(source)}: {(error.strerror or '').lower()}") from error
    found: dict[bytes, str] = {}
    unknown: list[Entry] = []
    try:
        for entry in entries:
            reason = _look(root, entry, cache, unknown)
            if reason is not None:
                found[entry.path] = reason
    finally:
        os.close(root)
    found.update(_hash(source, unknown, cache, progress))
    return [Difference(path=entry.path, reason=found[entry.path]) for entry in entries if entry.path in found]


def _look(root: int, entry: Entry, cache: DigestCache, unknown: list[Entry]) -> str | None:
    """Return what differs without reading content; what must be read is added to `unknown`."""
    try:
        place = open_beneath(root, entry.path, NAME) if entry.path else os.dup(root)
        try:
            status = os.fstat(place)
            target = os.readlink(b"", dir_fd=place) if stat.S_ISLNK(status.st_mode) else b""
        finally:
            os.close(place)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    reason = _shape(entry, status, target)
    if reason is None and entry.kind == layout.KIND_FILE:
        digests = cache.find(stamp(status))
        if digests is None:
            unknown.append(entry)
        elif digests != entry.digests:
            return "has changed"
    return reason


def _shape(entry: Entry, status: os.stat_result, target: bytes) -> str | None:
    kinds = {stat.S_IFREG: layout.KIND_FILE, stat.S_IFDIR: layout.KIND_DIRECTORY, stat.S_IFLNK: layout.KIND_SYMLINK}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind != entry.kind:
        return f"was {_NAMES[entry.kind]}, is {_NAMES.get(kind or 0, 'something else')}"
    if kind == layout.KIND_SYMLINK and target != entry.target:
        return f"is a link to {_shown(target)}, was one to {_shown(entry.target)}"
    if kind == layout.KIND_FILE:
        if status.st_size != entry.size:
            return "has changed"
        if bool(status.st_mode & _EXECUTABLE_BITS) != entry.executable:
            return "is not executable any more" if entry.executable else "is executable, was not"
    return None


def _shown(target: bytes) -> str:
    return target.decode(errors="backslashreplace")


def _hash(source: bytes, unknown: list[Entry], cache: DigestCache, progress: Progress | None) -> dict[bytes, str]:
    """Return what is wrong with the content of files that the cache does not know."""
    if progress is not None:
        progress.expect(sum(entry.size for entry in unknown))
    found: dict[bytes, str] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        hashed = pool.map(partial(_hash_one, source, progress), [entry.path for entry in unknown])
        for entry, result in zip(unknown, hashed, strict=True):
            if isinstance(result, SourceError):
                found[entry.path] = f"cannot be compared: {result}"
                continue
            cache.store(*result)
            if result[1] != entry.digests:
                found[entry.path] = "has changed"
    return found


def _hash_one(source: bytes, progress: Progress | None, path: bytes) -> tuple[Stamp, bytes] | SourceError:
    try:
        return hash_file(source, path, progress=progress)
    except SourceError as error:
        return error

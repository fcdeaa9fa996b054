"""Read an index whole: every path it names, checked as a stranger's index must be.

In comes an `Index`; out come its entries as plain values. The reader that serves (`index.py`) looks at one entry at a
time and believes the rest of an index whose digest was measured here; an index that came in a file from elsewhere is
read through once, before it is served: names that lead out of the tree, entries in no order, chunks and inodes that do
not exist are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from belljar.fs.errors import IndexRefused

from . import layout

if TYPE_CHECKING:
    from .index import Index, Record

_KINDS = (layout.KIND_FILE, layout.KIND_DIRECTORY, layout.KIND_SYMLINK)
_AT_ONCE = 1024  # entries per read


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of an index.

    Attributes:
        path: components below the root, joined by slashes; b"" is the root itself.
        kind: `layout.KIND_*`.
        executable: whether a file may be executed.
        size: bytes of a file; 0 otherwise.
        target: where a symbolic link points.
        digests: the chunk digests of a file, one after the other.
    """

    path: bytes
    kind: int
    executable: bool
    size: int
    target: bytes
    digests: bytes


def list_entries(index: Index) -> list[Entry]:
    """Return every entry of an index, in its order.

    Raises:
        IndexRefused: the index is not one that `build.py` could have written.
    """
    entries: list[Entry] = []
    expected_child = 1
    for first in range(0, index.entries, _AT_ONCE):
        count = min(_AT_ONCE, index.entries - first)
        for number, (record, times) in enumerate(index.rows(first, count), first):
            entry = _entry(index, number, record, entries)
            if record[2] == layout.KIND_DIRECTORY:
                if record[4] and record[5] != expected_child:
                    raise IndexRefused(f"entry {number} has its children at {record[5]}, expected {expected_child}")
                expected_child += record[4]
            if times[1] >= index.entries:
                raise IndexRefused(f"entry {number} has the inode {times[1]}, expected one of {index.entries} entries")
            entries.append(entry)
    if not entries or expected_child != index.entries:
        raise IndexRefused(f"directories have {expected_child - 1} children, expected {index.entries - 1}")
    _check_order(index)
    return entries


def _entry(index: Index, number: int, record: Record, before: list[Entry]) -> Entry:
    name, kind, size = index.name(number), record[2], record[4]
    if kind not in _KINDS or record[3] & ~layout.FLAG_EXECUTABLE:
        raise IndexRefused(f"entry {number} has the kind {kind} and flags {record[3]}, expected others")
    if kind != layout.KIND_FILE and record[3]:
        raise IndexRefused(f"entry {number} is executable, but no file")
    if number == 0:
        if name or record[6]:
            raise IndexRefused("the root of the index has a name or a parent")
        path = b""
    else:
        path = _below(index, number, record, before) + name
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > layout.MAX_NAME_BYTES:
            raise IndexRefused(f"entry {number} has the name {name!r}, which no file can have")
    target = b""
    if kind == layout.KIND_SYMLINK:
        if not 0 < size <= layout.MAX_TARGET_BYTES:
            raise IndexRefused(f"entry {number} is a link to {size} bytes, expected 1 to {layout.MAX_TARGET_BYTES}")
        target = index.target(record)
    is_file = kind == layout.KIND_FILE
    return Entry(
        path=path,
        kind=kind,
        executable=bool(record[3]),
        size=size if is_file else 0,
        target=target,
        digests=index.chunk_digests(record) if is_file else b"",
    )


def _below(index: Index, number: int, record: Record, before: list[Entry]) -> bytes:
    """Return the path of the parent, with a slash; the parent must be a directory that has this child."""
    parent = record[6]
    if parent >= number or before[parent].kind != layout.KIND_DIRECTORY:
        raise IndexRefused(f"entry {number} has the parent {parent}, expected a directory before it")
    above = index.record(parent)
    if not above[5] <= number < above[5] + above[4]:
        raise IndexRefused(f"entry {number} is not among the children of its parent {parent}")
    return before[parent].path + b"/" if parent else b""


def _check_order(index: Index) -> None:
    """Refuse names out of order or twice: a search would miss what a listing shows."""
    for number in range(index.entries):
        record = index.record(number)
        names = [name for name, _ in index.children(number, record)]
        if any(one >= other for one, other in pairwise(names)):
            raise IndexRefused(f"the children of entry {number} are not sorted")

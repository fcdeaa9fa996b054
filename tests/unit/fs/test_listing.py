"""Read an index whole, as a stranger's must be read; and compare files with it."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.errors import IndexRefused, SourceError
from belljar.fs.hashed import layout
from belljar.fs.hashed.build import Found, build_index
from belljar.fs.hashed.cache import DigestCache
from belljar.fs.hashed.compare import Difference, compare_tree
from belljar.fs.hashed.index import Index
from belljar.fs.hashed.listing import Entry, list_entries
from belljar.fs.hashed.walk import Selection, selects
from support.trees import make_tree, measured

TREE: dict[str, bytes | str | None] = {"bin/run": b"x" * 70_000, "empty": b"", "link": "bin/run", "note": b"a note"}


def entries_of(content: bytes, digest: bytes) -> list[Entry]:
    descriptor = os.memfd_create("index")
    os.write(descriptor, content)
    index = Index(descriptor, digest)
    try:
        return list_entries(index)
    finally:
        index.close()


def listed(tree: Path) -> list[Entry]:
    built = measured(tree).index
    return entries_of(built.content, built.digest)


def test_everything_is_listed(tmp_path: Path) -> None:
    make_tree(tmp_path, TREE)
    (tmp_path / "bin/run").chmod(0o755)
    found = {entry.path: entry for entry in listed(tmp_path)}
    assert [*found] == [b"", b"bin", b"empty", b"link", b"note", b"bin/run"]
    assert (found[b"bin/run"].executable, found[b"bin/run"].size) == (True, 70_000)
    chunks = hashlib.sha256(b"x" * 65536).digest() + hashlib.sha256(b"x" * 4464).digest()
    assert found[b"bin/run"].digests == chunks
    assert found[b"link"].target == b"bin/run"
    assert (found[b"empty"].size, found[b"empty"].digests) == (0, b"")


def test_a_single_file_is_a_tree(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (only,) = listed(tmp_path / "file")
    assert (only.path, only.kind, only.size) == (b"", layout.KIND_FILE, 7)


names = st.binary(min_size=1, max_size=8).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 47})


@settings(deadline=None)  # others use this machine, too
@given(st.dictionaries(names, st.dictionaries(names, st.integers(0, 3), max_size=4), max_size=4))
def test_whatever_is_built_can_be_listed(tree: dict[bytes, dict[bytes, int]]) -> None:
    digest = hashlib.sha256(b"x").digest()
    found = [Found(path=name, kind=layout.KIND_DIRECTORY) for name in tree]
    found += [
        Found(
            path=name + b"/" + child, kind=layout.KIND_FILE, size=chunks * layout.CHUNK_BYTES, digests=digest * chunks
        )
        for name, children in tree.items()
        for child, chunks in children.items()
    ]
    built = build_index(found)
    assert {entry.path for entry in entries_of(built.content, built.digest)} == {b"", *(item.path for item in found)}


def hostile(change: Callable[[list[list[int]], bytearray, list[list[int]]], None]) -> bytes:
    """Return an index with one change, digests made to fit: `change` gets its entries, names and times.

    0 root, 1 a/, 2 b (file), 3 c (link to x), 4 a/d (file)
    """
    chunk = hashlib.sha256(b"x").digest()
    found = [
        Found(path=b"a/d", kind=layout.KIND_FILE, size=1, digests=chunk),
        Found(path=b"b", kind=layout.KIND_FILE, size=1, digests=chunk),
        Found(path=b"c", kind=layout.KIND_SYMLINK, target=b"x"),
    ]
    content = build_index(found).content
    body = content[80:]
    entries = [list(row) for row in layout.ENTRY.iter_unpack(body[: 5 * 24])]
    text = bytearray(body[120:125])
    times = [list(row) for row in layout.TIME.iter_unpack(body[157:])]
    change(entries, text, times)
    body = b"".join(layout.ENTRY.pack(*row) for row in entries) + text + chunk
    header = struct.pack("<8sHHIIIQQ8x", b"BELLJIDX", 1, 1, 16384, 65536, len(entries), len(text), 1)
    return header + hashlib.sha256(body).digest() + body + b"".join(layout.TIME.pack(*row) for row in times)


def entry(number: int, field: int, value: int) -> Callable[[list[list[int]], bytearray, list[list[int]]], None]:
    def change(entries: list[list[int]], _text: bytearray, _times: list[list[int]]) -> None:
        entries[number][field] = value

    return change


def text(at: int, value: bytes) -> Callable[[list[list[int]], bytearray, list[list[int]]], None]:
    def change(_entries: list[list[int]], names: bytearray, _times: list[list[int]]) -> None:
        names[at] = value[0]

    return change


def test_the_hostile_index_without_a_change_is_a_good_one() -> None:
    content = hostile(lambda *_: None)
    assert len(entries_of(content, hashlib.sha256(content[:80]).digest())) == 5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (text(0, b"/"), "the name b'/'"),
        (text(0, b"."), r"the name b'\.'"),
        (text(0, b"\0"), "which no file can have"),
        (entry(1, 1, 0), "the name b''"),
        (text(0, b"z"), "not sorted"),
        (text(1, b"a"), "not sorted"),
        (entry(0, 1, 1), "the root of the index has a name"),
        (entry(2, 2, 4), "has the kind 4"),
        (entry(2, 3, 2), "has the kind 1 and flags 2"),
        (entry(1, 3, 1), "executable, but no file"),
        (entry(3, 4, 0), "a link to 0 bytes"),
        (entry(3, 5, 99), "points outside of itself"),
        (entry(4, 6, 2), "expected a directory before it"),
        (entry(4, 6, 4), "expected a directory before it"),
        (entry(4, 6, 0), "not among the children"),
        (entry(1, 5, 2), "has its children at 2, expected 4"),
        (entry(1, 4, 0), "not among the children|directories have"),
        (entry(0, 4, 4), "children"),
        (entry(2, 4, 1 << 40), "outside of the index"),
        (entry(2, 5, 7), "outside of the index"),
        (lambda _entries, _names, times: times[2].__setitem__(1, 5), "has the inode 5"),
    ],
)
def test_a_hostile_index_is_refused(
    change: Callable[[list[list[int]], bytearray, list[list[int]]], None], why: str
) -> None:
    content = hostile(change)
    with pytest.raises(IndexRefused, match=why):
        entries_of(content, hashlib.sha256(content[:80]).digest())


def compared(tree: Path, entries: list[Entry]) -> list[Difference]:
    with DigestCache(None) as cache:
        return compare_tree(os.fsencode(tree), entries, cache)


def test_unchanged_files_do_not_differ_and_more_files_do_not_matter(tmp_path: Path) -> None:
    entries = listed(make_tree(tmp_path, TREE))
    (tmp_path / "more").write_text("more")
    assert compared(tmp_path, entries) == []


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("note", lambda path: path.write_bytes(b"a nose"), "has changed"),
        ("note", lambda path: path.write_bytes(b"longer note"), "has changed"),
        ("note", lambda path: path.unlink(), "is missing"),
        ("note", lambda path: path.chmod(0o755), "is executable, was not"),
        (
            "note",
            lambda path: os.mkfifo(path.rename(path.with_name("gone")).with_name("note")),
            "was a file, is something else",
        ),
        ("note", lambda path: (path.unlink(), path.mkdir()), "was a file, is a folder"),
        ("link", lambda path: (path.unlink(), path.symlink_to("note")), "is a link to note, was one to bin/run"),
        ("bin", lambda path: path.rename(path.with_name("gone")), "is missing"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, name: str, change: Callable[[Path], object], reason: str) -> None:
    entries = listed(make_tree(tmp_path, TREE))
    change(tmp_path / name)
    found = {difference.path.decode(): difference.reason for difference in compared(tmp_path, entries)}
    assert found.pop(name) == reason
    assert found == ({"bin/run": "is missing"} if name == "bin" else {})


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    entries = listed(make_tree(tmp_path / "tree", TREE))
    with pytest.raises(SourceError, match="no such file or directory"):
        compared(tmp_path / "absent", entries)


@pytest.mark.parametrize(
    ("selection", "path", "taken"),
    [
        (Selection(), b"a/b", True),
        (Selection(include=("*.py",)), b"a/b.py", True),
        (Selection(include=("*.py",)), b"a/b", False),
        (Selection(exclude=("a/",)), b"a/b", False),
        (Selection(exclude=("*.bell",)), b"app.bell", False),
        (Selection(exact=(b"a",)), b"a", True),
        (Selection(exact=(b"a",)), b"b", False),
    ],
)
def test_whether_a_file_would_be_taken(selection: Selection, path: bytes, *, taken: bool) -> None:
    assert selects(selection, path) is taken

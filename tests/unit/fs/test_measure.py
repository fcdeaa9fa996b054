"""Measuring a host tree: what is in it, what is not, and that the place does not matter."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from belljar.fs.errors import SourceError
from belljar.fs.hashed import layout
from belljar.fs.hashed.cache import RACY_NS, DigestCache, is_racy
from belljar.fs.hashed.measure import measure_tree
from belljar.fs.hashed.walk import Selection, stamp, walk
from support.trees import make_tree, measured
from support.users import as_ordinary_user

TREE: dict[str, bytes | str | None] = {
    "a.py": b"print(1)\n",
    "empty": b"",
    "lib/big": bytes(range(256)) * 1024,
    "lib/link": "../a.py",
    "lib/deep/er/x": b"x",
    "void": None,
}


def paths(root: Path, selection: Selection | None = None) -> set[str]:
    return {os.fsdecode(seen.path) for seen in walk(os.fsencode(root), selection or Selection()).seen}


def test_everything_is_found(tmp_path: Path) -> None:
    root = make_tree(tmp_path, TREE)
    assert paths(root) == {
        "", "a.py", "empty", "lib", "lib/big", "lib/link", "lib/deep", "lib/deep/er", "lib/deep/er/x", "void",
    }  # fmt: skip


def test_the_same_content_elsewhere_is_the_same(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "here", TREE)
    shutil.copytree(root, tmp_path / "there" / "further", symlinks=True, copy_function=shutil.copyfile)
    assert measured(root).index.digest == measured(tmp_path / "there" / "further").index.digest


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "new", "removed"])
def test_every_change_changes_the_digest(tmp_path: Path, change: str) -> None:
    root = make_tree(tmp_path, TREE)
    before = measured(root).index.digest
    if change == "content":
        (root / "a.py").write_bytes(b"print(2)\n")
    elif change == "name":
        (root / "a.py").rename(root / "b.py")
    elif change == "mode":
        (root / "a.py").chmod(0o755)
    elif change == "link":
        (root / "lib/link").unlink()
        (root / "lib/link").symlink_to("../empty")
    elif change == "new":
        (root / "void" / "new").touch()
    else:
        (root / "empty").unlink()
    assert measured(root).index.digest != before


def test_digests_are_those_of_the_chunks(tmp_path: Path) -> None:
    content = os.urandom(2 * layout.CHUNK_BYTES + 17)
    root = make_tree(tmp_path, {"f": content})
    built = measured(root).index.content
    for at in range(0, len(content), layout.CHUNK_BYTES):
        assert hashlib.sha256(content[at : at + layout.CHUNK_BYTES]).digest() in built


def test_include_takes_only_what_matches_and_what_leads_there(tmp_path: Path) -> None:
    root = make_tree(tmp_path, TREE)
    assert paths(root, Selection(include=("*.py", "lib/deep/**"))) == {
        "", "a.py", "lib", "lib/deep", "lib/deep/er", "lib/deep/er/x",
    }  # fmt: skip


def test_exclude_wins_and_is_not_entered(tmp_path: Path) -> None:
    root = make_tree(tmp_path, TREE)
    (root / "lib/deep").chmod(0)  # entering it would fail, unless we are root
    try:
        assert paths(root, Selection(exclude=("lib/deep/", "*.py"))) == {
            "",
            "empty",
            "lib",
            "lib/big",
            "lib/link",
            "void",
        }
    finally:
        (root / "lib/deep").chmod(0o755)


def test_exact_paths_are_taken_without_a_walk(tmp_path: Path) -> None:
    root = make_tree(tmp_path, TREE)
    found = walk(os.fsencode(root), Selection(exact=(b"lib/link", b"a.py")))
    assert {os.fsdecode(seen.path) for seen in found.seen} == {"", "a.py", "lib", "lib/link"}
    assert not found.listed


def test_a_single_file_is_a_tree(tmp_path: Path) -> None:
    root = make_tree(tmp_path, TREE)
    tree = measured(root / "a.py")
    assert tree.index.entries == 1
    assert tree.size_bytes == 9


def test_sockets_fifos_and_devices_are_left_out_and_named(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a": b""})
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        tree = measured(tmp_path)
    assert set(tree.left_out) == {b"fifo", b"socket"}
    assert tree.index.entries == 2


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).write_bytes(b"")
    assert measured(tmp_path).index.entries == 2


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{tmp_path}/none: no such file or directory") as raised:
        measured(tmp_path / "none")
    assert raised.value.hint is not None


def test_an_unreadable_file_is_named() -> None:
    with as_ordinary_user(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root / "tree", {"a": b"x"})
        (root / "tree/a").chmod(0)
        with pytest.raises(SourceError, match="a: cannot be measured: Permission denied"):
            measured(root / "tree")


def test_a_file_that_became_a_fifo_does_not_block(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a": b"x"})
    walked = walk(os.fsencode(tmp_path), Selection())
    assert len(walked.seen) == 2
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    from belljar.fs.hashed.measure import hash_file

    with pytest.raises(SourceError, match="no regular file any more"):
        hash_file(os.fsencode(tmp_path), b"a", progress=None)


class Counting:
    """Counts what is hashed."""

    def __init__(self) -> None:
        self.expected = 0
        self.done = 0

    def expect(self, size_bytes: int) -> None:
        self.expected += size_bytes

    def advance(self, size_bytes: int) -> None:
        self.done += size_bytes


def hashed_bytes(root: Path, cache: Path) -> int:
    progress = Counting()
    with DigestCache(str(cache)) as digests:
        measure_tree(os.fsencode(root), Selection(), digests, progress)
    assert progress.done == progress.expected
    return progress.done


def age(root: Path) -> None:
    """Wait until the files are no longer too young to be remembered."""
    youngest = max(os.lstat(path).st_ctime_ns for path in [root, *root.rglob("*")])
    while is_racy((0, 0, 0, 0, youngest), time.time_ns()):
        time.sleep(0.05)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree", {"a": b"x" * 1000, "b": b"y" * 500})
    age(root)
    cache = tmp_path / "digests"
    assert hashed_bytes(root, cache) == 1500
    assert hashed_bytes(root, cache) == 0
    (root / "b").write_bytes(b"z" * 500)
    assert hashed_bytes(root, cache) == 500


def test_a_file_that_could_change_unnoticed_is_not_remembered(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree", {"a": b"x" * 1000})
    cache = tmp_path / "digests"
    assert hashed_bytes(root, cache) == 1000
    assert hashed_bytes(root, cache) == 1000, "younger than two seconds: a change could leave the same timestamps"


def test_racy_is_what_is_younger_than_the_coarsest_clock() -> None:
    assert is_racy((0, 0, 0, 0, 10 * RACY_NS), 11 * RACY_NS)
    assert not is_racy((0, 0, 0, 0, 10 * RACY_NS), 11 * RACY_NS + 1)


@pytest.mark.parametrize("damage", ["garbage", "folder", "other"])
def test_a_damaged_cache_only_costs_time(tmp_path: Path, damage: str) -> None:
    root = make_tree(tmp_path / "tree", {"a": b"x" * 1000})
    age(root)
    cache = tmp_path / "digests"
    if damage == "garbage":
        cache.write_bytes(b"not a database" * 100)
    elif damage == "folder":
        cache.mkdir()
    else:
        with sqlite3.connect(cache) as other:
            other.execute("CREATE TABLE digests (device)")
        other.close()
    assert hashed_bytes(root, cache) == 1000


def test_stamps_tell_files_apart(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a": b"x", "b": b"x"})
    assert stamp(os.stat(tmp_path / "a")) != stamp(os.stat(tmp_path / "b"))

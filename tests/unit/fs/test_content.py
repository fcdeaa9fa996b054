"""Host files that change under a running enclave: each change is found out or harmless, and none blocks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from belljar.fs.errors import IntegrityViolation
from belljar.fs.hashed import layout
from belljar.fs.hashed.content import Source
from support.trees import make_tree, opened

CONTENT = bytes(range(251)) * 800  # three chunks and a bit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", {"dir/file": CONTENT, "other": b"something else"})


@pytest.fixture
def source(root: Path, tmp_path: Path) -> Source:
    return opened(root, tmp_path / "index")


def read(source: Source, offset: int = 0, size: int = len(CONTENT)) -> bytes:
    directory = source.index.child(0, b"dir")
    assert directory is not None
    number = source.index.child(directory, b"file")
    assert number is not None
    return source.read(number, source.index.record(number), offset, size)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 10), (0, 1 << 20), (65535, 2), (65536, 65536), (200_000, 5000), (len(CONTENT) - 1, 5), (len(CONTENT), 5)],
)
def test_any_range_is_served(source: Source, offset: int, size: int) -> None:
    assert read(source, offset, size) == CONTENT[offset : offset + size]
    source.close()


CHANGES = {
    "change": "has changed since it was measured",
    "replace": "has changed since it was measured",
    "truncate": "is truncated",
    "remove": "was removed",
    "link": "not a regular file",
    "fifo": "not a regular file",
    "folder": "not a regular file",
}


def alter(path: Path, change: str) -> None:
    if change == "change":
        path.write_bytes(CONTENT[:-1] + b"!")
    elif change == "truncate":
        os.truncate(path, 100)
    else:
        path.unlink()
        if change == "replace":
            path.write_bytes(CONTENT.upper())
        elif change == "link":
            path.symlink_to("../other")
        elif change == "fifo":
            os.mkfifo(path)
        elif change == "folder":
            path.mkdir()


@pytest.mark.parametrize(("change", "message"), CHANGES.items())
def test_a_change_is_found_out(source: Source, root: Path, change: str, message: str) -> None:
    alter(root / "dir/file", change)
    started = time.monotonic()
    with pytest.raises(IntegrityViolation, match=message) as raised:
        read(source)
    assert time.monotonic() - started < 5
    assert raised.value.guest_path == "/tree/dir/file"
    assert raised.value.host_path == str(root / "dir/file")
    source.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")
def test_a_device_is_not_even_opened(source: Source, root: Path) -> None:
    (root / "dir/file").unlink()
    os.mknod(root / "dir/file", 0o020666, os.makedev(10, 0))  # no driver: opening it would fail with ENXIO
    with pytest.raises(IntegrityViolation, match="not a regular file"):
        read(source)


def test_a_folder_swapped_for_a_link_serves_no_other_content(source: Source, root: Path, tmp_path: Path) -> None:
    make_tree(tmp_path / "elsewhere", {"file": CONTENT.lower()[::-1]})
    (root / "dir").rename(root / "was")
    (root / "dir").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityViolation):
        read(source)


def test_the_source_itself_swapped_changes_nothing(source: Source, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "moved")
    make_tree(root, {"dir/file": b"other"})
    assert read(source) == CONTENT


def test_what_grew_is_served_as_measured(source: Source, root: Path) -> None:
    with (root / "dir/file").open("ab") as file:
        file.write(b"more")
    assert read(source, 0, 1 << 20) == CONTENT


def test_the_same_content_in_a_new_file_is_the_same(source: Source, root: Path) -> None:
    (root / "dir/file").unlink()
    (root / "dir/file").write_bytes(CONTENT)
    assert read(source) == CONTENT


def test_what_is_read_again_is_verified_again(source: Source, root: Path) -> None:
    assert read(source, 0, layout.CHUNK_BYTES) == CONTENT[: layout.CHUNK_BYTES]
    with (root / "dir/file").open("r+b") as file:
        file.write(b"\xff" * 10)
    with pytest.raises(IntegrityViolation):
        read(source, 0, layout.CHUNK_BYTES)


def test_many_files_need_few_descriptors(tmp_path: Path) -> None:
    names = [f"f{n:04}" for n in range(300)]
    root = make_tree(tmp_path / "tree", {name: name.encode() for name in names})
    source = opened(root, tmp_path / "index")
    before = len(os.listdir("/proc/self/fd"))
    for name in names:
        number = source.index.child(0, name.encode())
        assert number is not None
        assert source.read(number, source.index.record(number), 0, 10) == name.encode()
    assert len(os.listdir("/proc/self/fd")) - before <= 64
    source.close()
    assert len(os.listdir("/proc/self/fd")) <= before

"""Copies out of a volume that somebody hostile has written: nothing is made outside of the target."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG
from typing import cast

import pytest

from belljar.fs.keeping import Attributes, WritableTree
from belljar.loader.commands.volumes.trees.outward import Outward
from belljar.loader.commands.volumes.trees.paths import names_of
from belljar.loader.errors import LoaderError


class Hostile:
    """A tree that says whatever it likes: names with slashes, the same name twice."""

    def __init__(self, entries: list[tuple[bytes, int]], kinds: dict[int, tuple[int, bytes]]) -> None:
        self._entries = entries
        self._kinds = kinds

    def attributes(self, ino: int) -> Attributes:
        mode, content = self._kinds.get(ino, (S_IFDIR | 0o755, b""))
        return Attributes(ino, mode, 1, 0, 0, 0, len(content), 0, 0, 0, 0)

    def entries(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        assert after == 0
        if ino == 1:
            yield from ((number, name, child, 0) for number, (name, child) in enumerate(self._entries, 1))
        if ino == 9:
            yield (1, b"passwd", 3, 0)

    def target(self, ino: int) -> bytes:
        return self._kinds[ino][1]

    def seek(self, ino: int, offset: int, whence: int) -> int:
        return offset if whence == 3 else len(self._kinds[ino][1])

    def read(self, ino: int, offset: int, size: int) -> bytes:
        return self._kinds[ino][1][offset : offset + size]

    def xattrs(self, ino: int) -> list[bytes]:
        return [b"security.capability"] if ino == 3 else []


def copied(entries: list[tuple[bytes, int]], outside: Path, target: Path) -> Outward:
    kinds = {3: (S_IFREG | 0o6777, b"evil"), 4: (S_IFLNK | 0o777, os.fsencode(outside)), 5: (S_IFCHR | 0o666, b"")}
    copy = Outward(cast("WritableTree", Hostile(entries, kinds)), None)
    copy.take(copy._tree.attributes(1), str(target))
    return copy


@pytest.mark.parametrize("name", [b"../out", b"/etc/x", b"..", b".", b"", b"a/b", b"nul\0"])
def test_a_name_that_leads_elsewhere_is_refused(name: bytes, tmp_path: Path) -> None:
    with pytest.raises(LoaderError, match="a name in the volume that cannot be used on this system"):
        copied([(name, 3)], tmp_path, tmp_path / "target")
    assert os.listdir(tmp_path) == ["target"]
    assert os.listdir(tmp_path / "target") == []


@pytest.mark.parametrize("entries", [[(b"d", 4), (b"d", 9)], [(b"d", 9), (b"d", 4)], [(b"f", 4), (b"f", 3)]])
def test_a_link_of_the_volume_is_never_gone_through(entries: list[tuple[bytes, int]], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(FileExistsError):
        copied(entries, outside, tmp_path / "target")
    assert os.listdir(outside) == []


def test_what_is_dangerous_stays_behind(tmp_path: Path) -> None:
    copy = copied([(b"program", 3), (b"null", 5), (b"link", 4)], tmp_path / "outside", tmp_path / "target")
    assert (tmp_path / "target/program").stat().st_mode & 0o7777 == 0o777
    assert os.readlink(tmp_path / "target/link") == str(tmp_path / "outside")
    assert sorted(copy.left_out) == [
        f"{tmp_path}/target/null",
        f"{tmp_path}/target/program: attribute security.capability",
    ]


def test_paths_do_not_lead_upwards() -> None:
    assert names_of("//a/./b/") == [b"a", b"b"]
    with pytest.raises(LoaderError, match=r"cannot hold \.\."):
        names_of("a/../b")

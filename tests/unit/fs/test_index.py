"""The index: what is built can be read, same content gives the same bytes, and no flipped bit goes unnoticed."""

from __future__ import annotations

import hashlib
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belljar.fs.errors import IndexRefused, SourceError
from belljar.fs.hashed import layout
from belljar.fs.hashed.build import BuiltIndex, Found, build_index
from belljar.fs.hashed.index import Index

NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
FILES = st.builds(
    lambda size, mode, mtime: (size, mode, mtime),
    st.integers(0, 3 * layout.CHUNK_BYTES),
    st.sampled_from([0o644, 0o600, 0o755]),
    st.integers(-(10**18), 4 * 10**18),
)
TREES = st.recursive(
    FILES | st.binary(min_size=1, max_size=30).map(lambda target: ("link", target)),
    lambda children: st.dictionaries(NAMES, children, max_size=6),
    max_leaves=30,
)


def opened(built: BuiltIndex, digest: bytes | None = None) -> Index:
    with tempfile.TemporaryFile() as file:
        file.write(built.content)
        file.flush()
        return Index(os.dup(file.fileno()), digest or built.digest)


def chunk_digests(size: int, seed: bytes) -> bytes:
    chunks = -(-size // layout.CHUNK_BYTES)
    return b"".join(hashlib.sha256(seed + bytes([i])).digest() for i in range(chunks))


def flatten(tree: object, path: bytes = b"") -> list[Found]:
    if isinstance(tree, dict):
        found = [Found(path=path, kind=layout.KIND_DIRECTORY, mtime_ns=len(path))]
        for name, child in tree.items():
            found += flatten(child, os.path.join(path, name) if path else name)
        return found
    assert isinstance(tree, tuple)
    if tree[0] == "link":
        return [Found(path=path, kind=layout.KIND_SYMLINK, target=tree[1])]
    size, mode, mtime = tree
    digests = chunk_digests(size, path)
    return [Found(path=path, kind=layout.KIND_FILE, size=size, mode=mode, mtime_ns=mtime, digests=digests)]


def walk(index: Index, number: int = 0, path: bytes = b"") -> dict[bytes, tuple[int, int]]:
    record = index.record(number)
    seen = {path: (record[2], number)}
    if record[2] == layout.KIND_DIRECTORY:
        for name, child in index.children(number, record):
            assert index.child(number, name) == child
            assert index.name(child) == name
            seen |= walk(index, child, os.path.join(path, name) if path else name)
    return seen


@given(st.dictionaries(NAMES, TREES, max_size=8))
def test_everything_built_is_found_again(tree: dict[bytes, object]) -> None:
    found = flatten(tree)
    index = opened(build_index(found))
    seen = walk(index)
    assert set(seen) == {item.path for item in found}
    for item in found:
        kind, number = seen[item.path]
        record = index.record(number)
        assert kind == item.kind
        assert index.path(number) == item.path
        assert index.times(number)[0] == item.mtime_ns
        if kind == layout.KIND_SYMLINK:
            assert index.target(record) == item.target
        if kind == layout.KIND_FILE:
            assert record[4] == item.size
            assert bool(record[3] & layout.FLAG_EXECUTABLE) == bool(item.mode & 0o111)
            chunks = len(item.digests) // 32
            assert b"".join(index.chunk_digest(record, n) for n in range(chunks)) == item.digests
    index.close()


@given(st.dictionaries(NAMES, TREES, max_size=8), st.randoms())
def test_same_content_same_digest_in_whatever_order_it_was_found(tree: dict[bytes, object], random: object) -> None:
    found = flatten(tree)
    shuffled = found.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random
    assert build_index(found).content == build_index(shuffled).content


def test_times_are_not_measured() -> None:
    one = build_index([Found(path=b"a", kind=layout.KIND_FILE, mtime_ns=1)])
    other = build_index([Found(path=b"a", kind=layout.KIND_FILE, mtime_ns=2)])
    assert one.digest == other.digest
    assert one.content != other.content


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Found(path=b"a", kind=1, size=1, digests=bytes(32)), Found(path=b"b", kind=1, size=1, digests=bytes(32))),
        (Found(path=b"a", kind=1, size=1, digests=bytes(32)), Found(path=b"a", kind=1, size=2, digests=bytes(32))),
        (Found(path=b"a", kind=1, mode=0o644), Found(path=b"a", kind=1, mode=0o755)),
        (Found(path=b"a", kind=1, size=1, digests=bytes(32)), Found(path=b"a", kind=1, size=1, digests=b"x" * 32)),
        (Found(path=b"a", kind=3, target=b"x"), Found(path=b"a", kind=3, target=b"y")),
        (Found(path=b"a", kind=1), Found(path=b"a", kind=2)),
    ],
)
def test_every_measured_property_changes_the_digest(one: Found, other: Found) -> None:
    assert build_index([one]).digest != build_index([other]).digest


def test_modes_are_only_executable_or_not() -> None:
    modes = (0o600, 0o640, 0o644, 0o666)
    assert len({build_index([Found(path=b"a", kind=1, mode=mode)]).digest for mode in modes}) == 1


def sample() -> BuiltIndex:
    found = [Found(path=b"d/%03d" % n, kind=1, size=n, digests=chunk_digests(n, b"%d" % n)) for n in range(1200)]
    return build_index([*found, Found(path=b"link", kind=3, target=b"d/001")])


def read_all(index: Index) -> None:
    for kind, number in walk(index).values():
        record = index.record(number)
        if kind == layout.KIND_FILE:
            for chunk in range(-(-record[4] // layout.CHUNK_BYTES)):
                index.chunk_digest(record, chunk)


@given(st.data())
def test_every_flipped_bit_of_the_measured_part_is_noticed(data: st.DataObject) -> None:
    built = SAMPLE
    times_at = len(built.content) - built.entries * layout.TIME.size
    at = data.draw(st.integers(0, times_at - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(built.content)
    damaged[at] ^= 1 << bit
    with pytest.raises(IndexRefused):
        read_all(opened(BuiltIndex(content=bytes(damaged), digest=built.digest, entries=built.entries)))


@given(st.integers(0, 10_000))
def test_every_truncation_is_noticed(keep: int) -> None:
    built = SAMPLE
    with pytest.raises(IndexRefused, match=r"truncated|wrong length"):
        opened(BuiltIndex(content=built.content[:keep], digest=built.digest, entries=built.entries))


def test_another_index_is_refused() -> None:
    with pytest.raises(IndexRefused, match="not the measured one"):
        opened(SAMPLE, bytes(32))


SAMPLE = sample()


def test_large_directories_are_searched() -> None:
    index = opened(SAMPLE)
    directory = index.child(0, b"d")
    assert directory is not None
    assert index.child(directory, b"777") is not None
    assert index.child(directory, b"nowhere") is None
    assert not index._children.get(directory), "a large directory must not be loaded whole"


def test_opening_reads_only_the_table() -> None:
    index = opened(SAMPLE)
    assert not index._blocks
    index.record(0)
    assert len(index._blocks) == 1


def test_hard_links_share_an_inode_only_if_their_content_is_one() -> None:
    same = {"kind": 1, "size": 1, "digests": bytes(32), "identity": (1, 2)}
    index = opened(build_index([Found(path=b"a", **same), Found(path=b"b", **same)]))  # type: ignore[arg-type]  # of many types
    first, second = index.child(0, b"a"), index.child(0, b"b")
    assert first is not None
    assert second is not None
    assert index.times(second)[1:] == (first, 2)
    assert index.record(first)[5] == index.record(second)[5], "equal content shares its chunks"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([Found(path=b"a", kind=1), Found(path=b"a", kind=2)], "listed twice"),
        ([Found(path=b"a", kind=1), Found(path=b"a/b", kind=1)], "not a directory"),
        ([Found(path=b"n" * 256, kind=1)], "256 bytes, expected 1 to 255"),
        ([Found(path=b"a", kind=3, target=b"x" * 4096)], "longer than 4095"),
    ],
)
def test_impossible_trees_are_refused(found: list[Found], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        build_index(found)

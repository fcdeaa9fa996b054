"""Checking and salvaging: a sound volume has no findings, a damaged one is named by path, the rest is saved."""

from __future__ import annotations

import pytest

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume import layout
from belljar.fs.volume.offline.agree import Agreement
from belljar.fs.volume.offline.check import check_volume, refuse_findings
from belljar.fs.volume.offline.salvage import salvage_volume
from belljar.fs.volume.posix.inode import Inode
from belljar.fs.volumes import Anchored
from belljar.fs.writable.tree import Changes
from support.posix_model import State
from support.volume_histories import History
from support.volume_parts import Parts, build
from support.volume_states import state_of
from support.volumes import KEY, VOLUME_ID, MemoryAnchor, MemoryContainer, formatted, mounted


@pytest.fixture(scope="module")
def parts() -> Parts:
    return build()


def damaged(parts: Parts, *names: str) -> MemoryContainer:
    content = bytearray(parts.content)
    for name in names:
        start, length = parts.regions[name]
        content[start : start + length] = bytes(length)
    return MemoryContainer(bytes(content))


def salvaged(container: MemoryContainer) -> tuple[State, tuple[str, ...], int]:
    fresh, anchor = formatted(seed=9)
    volume = mounted(fresh, anchor)
    told: list[tuple[int, int]] = []
    found = salvage_volume(
        container, volume.tree, volume_id=VOLUME_ID, key=KEY, progress=lambda done, total: told.append((done, total))
    )
    volume.commit()
    assert told == sorted(told)
    refuse_findings(check_volume(fresh, volume_id=VOLUME_ID, key=KEY, anchor=anchor))
    return state_of(volume.tree), found.lost, found.copied


def without_links(state: State) -> State:
    """Leave out sizes of directories and which path of a hard link came first."""
    return {path: (*known[:4], known[6], known[8]) for path, known in state.items()}


def test_a_sound_volume_has_no_findings_and_progress_ends_at_its_size(parts: Parts) -> None:
    told: list[tuple[int, int]] = []
    report = check_volume(
        MemoryContainer(parts.content), volume_id=VOLUME_ID, key=KEY, anchor=parts.anchor,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert refuse_findings(report) is report
    assert report.snapshots == ("kept",)
    assert report.inodes == len(parts.state)
    assert told[-1] == (report.bytes_verified, report.bytes_verified)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_damaged_chunk_is_named_by_its_path(parts: Parts) -> None:
    report = check_volume(
        damaged(parts, "chunk 1 of two", "chunk 0 of one"), volume_id=VOLUME_ID, key=KEY, anchor=parts.anchor
    )
    found = {(finding.where, finding.what.partition(" (")[0]) for finding in report.findings}
    assert found == {("/two", "bytes 65536 to 131071"), ("/one", "bytes 0 to 65535")}
    with pytest.raises(VolumeRefused, match=r"2 findings; the first: /one: bytes 0 to 65535 \(container block \d+\)"):
        refuse_findings(report)


def test_a_damaged_node_is_named_by_what_it_holds(parts: Parts) -> None:
    report = check_volume(damaged(parts, "leaf with names"), volume_id=VOLUME_ID, key=KEY, anchor=None)
    assert len(report.findings) == 1
    assert report.findings[0].where.startswith("node of level 0 in blocks")
    assert "it holds items from inode" in report.findings[0].what


def test_everything_of_a_sound_volume_is_saved(parts: Parts) -> None:
    state, lost, copied = salvaged(MemoryContainer(parts.content))
    assert not lost
    assert without_links(state) == without_links(parts.state)
    assert copied == len(parts.state) - 1


@pytest.mark.parametrize("seed", range(4))
def test_a_volume_with_a_history_is_saved_whole(seed: int) -> None:
    history = History(seed)
    history.run(60)
    history.volume.commit()
    state, lost, _ = salvaged(history.container)
    assert not lost
    assert without_links(state) == without_links(history.model.state())


def test_a_file_with_a_damaged_chunk_is_saved_under_another_name(parts: Parts) -> None:
    state, lost, _ = salvaged(damaged(parts, "chunk 1 of two"))
    assert [line.partition(": does")[0] for line in lost] == ["/two: bytes 65536 to 131071"]
    assert b"/two" not in state
    whole, saved = parts.state[b"/two"][6], state[b"/two.damaged"][6]
    assert isinstance(whole, bytes)
    assert saved == whole[:65536] + bytes(65536) + whole[131072:]
    rest = {path: known for path, known in parts.state.items() if path != b"/two"}
    del state[b"/two.damaged"]
    assert without_links(state) == without_links(rest)


def test_what_lost_its_name_is_found(parts: Parts) -> None:
    state, lost, _ = salvaged(damaged(parts, "leaf with names"))
    assert any("node of level 0" in line for line in lost)
    found = {known[6] for path, known in state.items() if path.startswith(b"/lost+found/#")}
    known = {known[6] for path, known in parts.state.items()}
    assert found
    assert found <= known


def test_no_key_no_salvage(parts: Parts) -> None:
    with pytest.raises(VolumeRefused, match="no root record verifies"):
        salvage_volume(MemoryContainer(parts.content), mounted(*formatted()).tree, volume_id=VOLUME_ID, key=bytes(32))


def test_a_check_looks_at_freshness_when_it_has_an_anchor(parts: Parts) -> None:
    anchor = MemoryAnchor({VOLUME_ID: Anchored(99, bytes(32))})
    with pytest.raises(VolumeRefused, match="went back in time"):
        check_volume(MemoryContainer(parts.content), volume_id=VOLUME_ID, key=KEY, anchor=anchor)


def _inode(ino: int, mode: int, nlink: int, size: int = 0, blocks: int = 0) -> tuple[bytes, bytes]:
    inode = Inode(ino, mode, 0, 0, 0)
    inode.nlink, inode.size, inode.blocks = nlink, size, blocks
    return layout.head_key(ino, layout.KIND_INODE), inode.encode()


def _entry(parent: int, ino: int, kind: int, cookie: int = 8) -> tuple[bytes, bytes]:
    return layout.number_key(parent, layout.KIND_ENTRY, cookie), layout.ENTRY.pack(ino, kind) + b"name"


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([_inode(1, 0o40755, 2, 1), _entry(1, 2, 8), _inode(2, 0o100644, 2)], "has 1 names less than links"),
        ([_inode(1, 0o40755, 2, 1), _entry(1, 2, 8)], "has 1 names more than links"),
        ([_inode(1, 0o40755, 2, 5)], "says it has 5 entries, it has 0"),
        ([_inode(1, 0o40755, 7, 0)], "has 7 links and 0 directories in it"),
        ([_inode(1, 0o40755, 2), _inode(2, 0o100644, 0)], "has no name and is no orphan"),
        ([_inode(1, 0o40755, 2, 1), _entry(1, 2, 8), _inode(2, 0o100644, 1, 9, 4)], "says it has 4 blocks, it has 0"),
        ([_inode(1, 0o40755, 2), _entry(7, 2, 8)], "has an item of kind 20 but no inode"),
        ([_inode(1, 0o40755, 2), _inode(50, 0o100644, 0)], "is not below 9, the next number to be given"),
        ([_inode(1, 0o40755, 2, 0), (layout.head_key(2, layout.KIND_INODE), b"short")], "its item has 5 bytes"),
        (
            [_inode(2, 0o100644, 1, 10), (layout.head_key(2, layout.KIND_INLINE), b"x")],
            "has content in the tree that its inode does not know of",
        ),
        (
            [_inode(2, 0o100644, 1, 10, 1), (layout.number_key(2, 21, 3), bytes(9) + b"\1" + bytes(44))],
            "has content behind its end",
        ),
    ],
)
def test_items_that_do_not_agree_are_found(items: list[tuple[bytes, bytes]], what: str) -> None:
    from belljar.fs.volume.root import RootRecord

    agreement = Agreement()
    for item in items:
        agreement.take(*item)
    record = RootRecord(
        generation=1, previous=b"", pointer=b"", level=0, next_ino=9, inodes=1, used=0, end=0, time_ns=0
    )
    assert any(what in found for _, found in agreement.conclude(record))


def test_the_root_keeps_its_owner_and_mode() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    volume.tree.set_attributes(layout.ROOT_INO, Changes(mode=0o750, uid=4242, gid=4343))
    volume.commit()
    fresh = mounted(*formatted(seed=9))
    salvage_volume(MemoryContainer(bytes(container.content)), fresh.tree, volume_id=VOLUME_ID, key=KEY)
    root = fresh.tree.attributes(layout.ROOT_INO)
    assert (root.mode & 0o7777, root.uid, root.gid) == (0o750, 4242, 4343)

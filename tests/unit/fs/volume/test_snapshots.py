"""Snapshots: what they keep, what deleting one frees, and going back and forth between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from belljar.fs.volume.offline.check import check_volume
from belljar.fs.writable.tree import Changes
from support.volume_histories import History, committed_state, times_of
from support.volume_states import state_of
from support.volumes import KEY, VOLUME_ID, formatted, mounted

_STEPS = 25


@pytest.mark.parametrize("seed", range(10))
def test_snapshots_stay_what_they_were_and_nothing_leaks(seed: int) -> None:
    """Above all through rollbacks, after which snapshots stand beside the line of the live tree."""
    history = History(seed)
    history.run(10)
    ways: list[Callable[[], None]] = [
        history._write, history._write, history._make, history._bulk, history._unlink, history._forget,
        history._snapshot, history._snapshot, history._rollback, history._delete_snapshot,
        lambda: _leave_the_line(history),
    ]  # fmt: skip
    for _ in range(_STEPS):
        history.chance.choice(ways)()
        if history.chance.random() < 0.3:
            history.volume.commit()
            report = check_volume(history.container, volume_id=VOLUME_ID, key=KEY, anchor=history.anchor)
            assert not report.findings
    for name, model in history.snapshots.items():
        assert state_of(history.volume.snapshot_tree(name), times_of(model)) == committed_state(model)
    for name in list(history.snapshots):
        history.volume.delete_snapshot(name)
    history.compare()
    assert not check_volume(history.container, volume_id=VOLUME_ID, key=KEY, anchor=history.anchor).findings


def _leave_the_line(history: History) -> None:
    """Go back to the oldest snapshot and delete it: every other one is beside the line, and shares what is old."""
    if len(history.snapshots) > 1:
        name = history.volume.snapshots()[0].name
        history.rollback(name)
        history.volume.delete_snapshot(name)
        del history.snapshots[name]


def test_a_block_that_a_snapshot_beside_the_line_shares_stays() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    ino = volume.tree.make(1, b"file", 0o100644, 0, 0).ino
    volume.tree.write(ino, 0, b"1" * 500_000)
    volume.snapshot("one")
    volume.tree.write(ino, 0, b"2" * 65536)
    volume.snapshot("two")
    volume.rollback("one")
    volume.delete_snapshot("one")
    volume.tree.set_attributes(ino, Changes(size=0))
    volume.commit()
    other = volume.tree.make(1, b"other", 0o100644, 0, 0).ino
    volume.tree.write(other, 0, b"3" * 1_000_000)
    volume.commit()
    assert volume.snapshot_tree("two").read(ino, 0, 600_000) == b"2" * 65536 + b"1" * (500_000 - 65536)
    assert not check_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor).findings


def test_a_block_that_only_a_snapshot_beside_the_line_has_is_freed_with_it() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    ino = volume.tree.make(1, b"file", 0o100644, 0, 0).ino
    volume.tree.write(ino, 0, b"1" * 500_000)
    volume.snapshot("one")
    volume.tree.write(ino, 0, b"2" * 500_000)
    volume.snapshot("two")
    volume.rollback("one")
    volume.delete_snapshot("one")  # "two" is beside the line now, and shares nothing with the live file
    before = volume.stat().used
    volume.tree.set_attributes(ino, Changes(size=0))
    volume.commit()
    assert before - volume.stat().used == 500_000 // 65536 * 65536 + 45056  # eight chunks, to whole blocks
    assert volume.snapshot_tree("two").read(ino, 0, 600_000) == b"2" * 500_000
    volume.delete_snapshot("two")
    assert volume.stat().used < 10 * 4096
    assert [snapshot.name for snapshot in volume.snapshots()] == []


def test_snapshots_survive_a_mount_and_know_what_they_are() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    for name in ("monday", "tuesday"):
        volume.tree.make(1, name.encode(), 0o100644, 0, 0)
        volume.snapshot(name)
    volume.tree.make(1, b"later", 0o100644, 0, 0)
    volume.close()
    volume = mounted(container, anchor)
    assert [(found.name, found.inodes) for found in volume.snapshots()] == [("monday", 2), ("tuesday", 3)]
    assert {name for _, name, *_ in volume.snapshot_tree("monday").entries(1, 0)} == {b"monday"}
    volume.rollback("monday")
    made = volume.tree.make(1, b"new", 0o100644, 0, 0)
    assert made.ino == 5  # inode numbers are never given twice, also not after going back
    assert {name for _, name, *_ in volume.tree.entries(1, 0)} == {b"monday", b"new"}


def test_names_whose_hashes_collide_are_told_apart() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    tree = volume.tree
    vars(tree.directories)["_cookie"] = lambda _name: 8  # no two such names can be found
    names = [b"name %d" % number for number in range(8)]
    inos = [tree.make(1, name, 0o100644, 0, 0).ino for name in names]
    with pytest.raises(OSError, match="No space left"):
        tree.make(1, b"one too many", 0o100644, 0, 0)
    tree.unlink(1, names[0])
    assert [tree.lookup(1, name).ino for name in names[1:]] == inos[1:]
    tree.rename(1, names[3], 1, b"renamed", 0)
    assert tree.lookup(1, b"renamed").ino == inos[3]
    found = list(tree.entries(1, 0))
    assert [cookie for cookie, *_ in found] == sorted(cookie for cookie, *_ in found)
    assert {name for _, name, *_ in found} == {*names[1:3], *names[4:], b"renamed"}
    assert all(8 <= cookie < 16 for cookie, *_ in found)

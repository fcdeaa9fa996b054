"""The volume against a model of POSIX, with crashes at every kind of write boundary.

`BELLJAR_HISTORIES=n` runs n histories instead of the few of a normal run.
"""

from __future__ import annotations

import os
import random

import pytest

from belljar.fs.volume.offline.check import check_volume
from support.volume_histories import History, committed_state, times_of
from support.volume_states import state_of
from support.volumes import KEY, VOLUME_ID, MemoryAnchor, MemoryContainer, crashes, mounted

_COUNT = int(os.environ.get("BELLJAR_HISTORIES", "0"))
_HISTORIES = _COUNT or 24
_SHARE = 0.25  # of the write boundaries of a history, by chance
_STEPS = 80


@pytest.mark.parametrize("seed", range(_HISTORIES))
def test_a_history_agrees_with_the_model_and_survives_every_crash(seed: int) -> None:
    history = History(seed)
    history.run(_STEPS)
    history.compare()
    for name, model in history.snapshots.items():
        assert state_of(history.volume.snapshot_tree(name), times_of(model)) == committed_state(model)
    history.volume.commit()
    assert_sound(history.container, history.anchor)
    chance = random.Random(seed)  # noqa: S311 - must be repeatable
    for content, anchored, number in crashes(history.start, history.container.log, chance, _SHARE):
        found = _verify_crash(history, content, MemoryAnchor({VOLUME_ID: anchored or history.first}), number, chance)
        assert found >= promised(history, number)


def promised(history: History, number: int) -> int:
    """Return the last generation that somebody was told of before an event."""
    told = [1]
    for event in history.container.log[:number]:
        match event:
            case ("told", int(generation)):
                told.append(generation)
            case _:
                pass
    return told[-1]


def _verify_crash(history: History, content: bytes, anchor: MemoryAnchor, number: int, chance: random.Random) -> int:
    container = MemoryContainer(content)
    before = anchor.known[VOLUME_ID].generation
    if chance.random() < 0.2:
        assert_sound(container, anchor)
    volume = mounted(container, anchor, seed=number)
    found = volume.anchored.generation
    assert found in (before, before + 1)
    model = history.states[found]
    assert state_of(volume.tree, times_of(model)) == committed_state(model), f"crash before event {number}"
    if chance.random() < 0.2:
        volume.tree.make(1, b"after the crash", 0o100644, 0, 0)
        volume.close()
        assert_sound(container, anchor)
    return found


def assert_sound(container: MemoryContainer, anchor: MemoryAnchor) -> None:
    report = check_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor)
    assert not report.findings

"""Which root counts after a crash: a commit waits for the disk once; its parts arrive in any order or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from belljar.fs.errors import VolumeCorrupt, VolumeRefused
from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.layout import ROOT_OFFSETS
from belljar.fs.volume.offline.check import check_volume
from belljar.fs.volume.volume import newest_root
from support.volumes import (
    KEY,
    VOLUME_ID,
    MemoryAnchor,
    MemoryContainer,
    RecordingContainer,
    formatted,
    mounted,
    replay,
)

_FILE = 0o100644
Event = tuple[object, ...]


class Crash:
    """A volume with one commit that is anchored, and the events of a second one."""

    def __init__(self) -> None:
        container = RecordingContainer()
        _, anchor = formatted(container)
        volume = mounted(container, anchor)
        self.ino = volume.tree.make(1, b"before", _FILE, 0, 0).ino
        volume.tree.write(self.ino, 0, b"b" * 200_000)
        self.first = volume.commit()
        self.start = bytes(container.content)
        container.log.clear()
        volume.tree.make(1, b"after", _FILE, 0, 0)
        volume.tree.write(self.ino, 100_000, b"a" * 200_000)
        self.second = volume.commit()
        self.events: list[Event] = list(container.log)
        self.writes = [event for event in self.events if event[0] == "write"]

    def without(self, *lost: Event) -> MemoryContainer:
        """Return the container as it is when some writes of the second commit never came."""
        content = bytearray(self.start)
        for event in self.writes:
            if event not in lost:
                replay(content, event)
        return MemoryContainer(bytes(content))

    @property
    def roots(self) -> list[Event]:
        return [event for event in self.writes if event[1] in ROOT_OFFSETS]


@pytest.fixture(scope="module")
def crash() -> Crash:
    return Crash()


def is_sound(container: MemoryContainer, anchor: MemoryAnchor) -> bool:
    return not check_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor).findings


def test_a_commit_waits_once(crash: Crash) -> None:
    assert [event for event in crash.events if event[0] == "sync"] == [("sync",)]
    assert crash.events[-1] == ("sync",)
    assert crash.events[-2] == crash.roots[0]


def test_a_whole_commit_that_was_not_anchored_counts_and_is_anchored(crash: Crash) -> None:
    container, anchor = crash.without(), MemoryAnchor({VOLUME_ID: crash.first})
    volume = mounted(container, anchor)
    assert volume.tree.lookup(1, b"after")
    assert anchor.known[VOLUME_ID] == volume.anchored == crash.second


@pytest.mark.parametrize("writable", [True, False])
def test_a_commit_of_which_any_part_is_missing_never_was(crash: Crash, *, writable: bool) -> None:
    """However small the part: nodes and chunks are looked at, though the record itself verifies."""
    parts = [event for event in crash.writes if event not in crash.roots]
    assert len(parts) >= 2  # content, and the tree
    for lost in parts:
        container, anchor = crash.without(lost), MemoryAnchor({VOLUME_ID: crash.first})
        assert is_sound(container, anchor)
        volume = mounted(container, anchor, writable=writable)
        assert volume.anchored == anchor.known[VOLUME_ID] == crash.first
        with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
            volume.tree.lookup(1, b"after")
        assert volume.tree.read(crash.ino, 0, 300_000) == b"b" * 200_000
        if writable:
            volume.tree.make(1, b"another", _FILE, 0, 0)
            volume.close()
            assert is_sound(container, anchor)
            assert anchor.known[VOLUME_ID].generation == crash.second.generation
            assert anchor.known[VOLUME_ID] != crash.second


def test_a_commit_that_was_anchored_is_never_given_up(crash: Crash) -> None:
    for lost in crash.writes:
        container, anchor = crash.without(lost), MemoryAnchor({VOLUME_ID: crash.second})
        with pytest.raises((VolumeCorrupt, VolumeRefused)):  # noqa: PT012 - where it is noticed depends on what is lost
            volume = mounted(container, anchor, writable=False)
            assert volume.anchored == crash.second
            volume.tree.lookup(1, b"after")
            volume.tree.read(crash.ino, 0, 300_000)


def test_without_the_one_before_nothing_is_mounted(crash: Crash) -> None:
    part = next(event for event in crash.writes if event not in crash.roots)
    container = crash.without(part)
    container.content[ROOT_OFFSETS[crash.first.generation % 2]] ^= 1
    with pytest.raises(VolumeCorrupt):
        mounted(container, MemoryAnchor({VOLUME_ID: crash.first}))


def test_what_a_killed_process_wrote_is_durable_before_it_is_anchored(crash: Crash) -> None:
    class Orderly(MemoryAnchor):
        def advance(self, volume_id: bytes, anchored: Anchored) -> None:
            assert container.log == [("sync",)]
            super().advance(volume_id, anchored)

    container = RecordingContainer(bytes(crash.without().content))
    anchor = Orderly({VOLUME_ID: crash.first})
    mounted(container, anchor)
    assert anchor.known[VOLUME_ID] == crash.second


def test_a_sync_that_fails_at_the_mount_takes_the_commit_back(crash: Crash) -> None:
    """The next sync would succeed, though nobody knows what is on the disk."""
    container, anchor = crash.without(), MemoryAnchor({VOLUME_ID: crash.first})
    container.broken = {"sync": errno.EIO}
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        mounted(container, anchor)
    container.broken = {}
    assert mounted(container, anchor).anchored == anchor.known[VOLUME_ID] == crash.first


def test_an_owner_anchors_what_is_whole(crash: Crash) -> None:
    part = next(event for event in crash.writes if event not in crash.roots)
    for container, expected in ((crash.without(), crash.second), (crash.without(part), crash.first)):
        assert newest_root(container, volume_id=VOLUME_ID, key=KEY) == expected

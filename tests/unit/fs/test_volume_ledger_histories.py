"""Histories of volumes on one platform: crashes at every write, anything put back; nothing is lost, nothing goes back.

What is put back is tried on a copy. Two rules hold of every one: what nobody touched is accepted, also after a crash;
and while the counter was not put back, nothing older is accepted than what the last mount began with or ended with.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.anchors.platform import PlatformAnchor
from belljar.fs.volume.anchors.state_file import StateFile
from belljar.fs.volume.root import RootRecord, verify_freshness
from support.anchoring import CountingPlatform

HISTORIES = int(os.environ.get("BELLJAR_LEDGER_HISTORIES", "40"))
VOLUMES = (b"v" * 16, b"w" * 16)
NEVER = 1 << 30


class Crash(Exception):
    """The machine stops here."""


class Machine:
    """Stops at a step: a write is torn then, a counter has counted or not. Its files are closed when it stops."""

    def __init__(self, folder: Path, platform: CountingPlatform, crash_at: int = NEVER) -> None:
        self.folder = folder
        self.left = crash_at
        self.steps = 0
        self.files: list[StateFile] = []
        machine = self

        class Platform(CountingPlatform):
            def count_up(self) -> int:
                machine.step()
                platform.value = CountingPlatform.count_up(self)
                machine.step()
                return self.value

        class File(StateFile):
            def __init__(self, path: str, *, writable: bool) -> None:
                if writable:
                    machine.step()
                super().__init__(path, writable=writable)
                machine.files.append(self)

            def pwrite(self, content: bytes, offset: int) -> None:
                try:
                    machine.step()
                except Crash:
                    super().pwrite(content[: len(content) // 2], offset)
                    raise
                super().pwrite(content, offset)
                machine.step()

            def sync(self) -> None:
                """A thread calls this, which would outlive the machine; what a crash leaves is decided above."""

        self.anchor = PlatformAnchor(
            str(folder), platform=Platform(*platform.keys, value=platform.value), open_file=File
        )

    def step(self) -> None:
        self.steps += 1
        self.left -= 1
        if self.left < 0:
            raise Crash

    def stop(self) -> None:
        for file in self.files:
            file.close()


@dataclass(frozen=True)
class Root:
    """A container: its newest root, and the digest of the one before."""

    anchored: Anchored
    previous: bytes


@dataclass
class History:
    """What happened, and what must hold.

    Attributes:
        containers: of each volume, as it is on the disk.
        floor: of each volume, the generation that its last mount began with or ended with.
    """

    base: Path
    platform: CountingPlatform = field(default_factory=CountingPlatform)
    containers: dict[bytes, Root] = field(default_factory=dict[bytes, Root])
    floor: dict[bytes, int] = field(default_factory=dict[bytes, int])

    @property
    def folder(self) -> Path:
        return self.base / "now"

    def mount(self, volume_id: bytes, commits: int, *, ends: bool, crash_at: int) -> int:
        """Mount, commit a few times, end; return how many steps it took."""
        machine = Machine(self.folder, self.platform, crash_at)
        try:
            self._use(machine.anchor, volume_id, commits)
            if ends:
                machine.anchor.close()
                if volume_id in self.containers:
                    self.floor[volume_id] = self.containers[volume_id].anchored.generation
        except Crash:
            pass
        finally:
            machine.stop()
        return machine.steps

    def _use(self, anchor: PlatformAnchor, volume_id: bytes, commits: int) -> None:
        if volume_id in self.containers:
            anchor.begin(volume_id)
            accepted = is_accepted(anchor, volume_id, self.containers[volume_id])
            if accepted is None:  # made, but a crash fell before its first anchor: its maker makes it again
                del self.containers[volume_id]
                self.floor.pop(volume_id, None)
            else:
                self.floor[volume_id] = accepted.generation
                anchor.advance(volume_id, self.containers[volume_id].anchored)
        for _ in range(commits):
            before = self.containers[volume_id].anchored if volume_id in self.containers else Anchored(0, bytes(32))
            new = Root(Anchored(before.generation + 1, os.urandom(32)), before.digest)
            self.containers[volume_id] = new
            anchor.advance(volume_id, new.anchored)

    def anchored_before(self, volume_id: bytes) -> None:
        """Make and anchor a volume while there is no platform."""
        with PlatformAnchor(str(self.folder)) as anchor:
            self._use(anchor, volume_id, 2)

    def saved(self, number: int) -> Saved:
        folder = self.base / str(number)
        if self.folder.exists():
            shutil.copytree(self.folder, folder)
        return Saved(folder, self.platform.value, dict(self.containers))

    def verify_now(self) -> None:
        """What nobody touched is accepted."""
        for volume_id, container in self.containers.items():
            anchor = PlatformAnchor(str(self.folder), platform=self.platform)
            accepted = is_accepted(anchor, volume_id, container)
            assert accepted is not None or container.anchored.generation == 1

    def verify_put_back(self, old: Saved, parts: frozenset[str], volume_id: bytes) -> bool:
        """Try it on a copy; return whether it was accepted."""
        there = self.base / "tried"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self.folder, there)
        names = [name for part, name in (("state", volume_id.hex()), ("ledger", "ledger")) if part in parts]
        for name in names:
            (there / name).unlink(missing_ok=True)
            if (old.folder / name).exists():
                shutil.copy(old.folder / name, there)
        value = old.counter if "counter" in parts else self.platform.value
        container = (old.containers if "container" in parts else self.containers).get(volume_id)
        if container is None:
            return False
        anchor = PlatformAnchor(str(there), platform=CountingPlatform(*self.platform.keys, value=value))
        try:
            if is_accepted(anchor, volume_id, container) is None:
                return False
        except VolumeRefused:
            return False
        if value == self.platform.value:
            assert container.anchored.generation >= self.floor.get(volume_id, 0), (parts, container)
        return True


@dataclass(frozen=True)
class Saved:
    """A copy of everything at one time."""

    folder: Path
    counter: int
    containers: dict[bytes, Root]


def is_accepted(anchor: PlatformAnchor, volume_id: bytes, container: Root) -> Anchored | None:
    """Return what is anchored if a mount would go on; None if nothing is. Raises VolumeRefused if it is refused."""
    expected = anchor.read(volume_id)
    if expected is None:
        return None
    record = RootRecord(
        generation=container.anchored.generation, previous=container.previous, pointer=b"", level=0, next_ino=0,
        inodes=0, used=0, end=0, time_ns=0,
    )  # fmt: skip
    verify_freshness(record, container.anchored, expected)
    return expected


PARTS = ("container", "state", "ledger", "counter")


@pytest.mark.parametrize("earlier", [0, 1, 2, -1])
def test_a_crash_at_every_step_loses_nothing_and_lets_nothing_back(tmp_path: Path, earlier: int) -> None:
    """The first mount of a volume, the second, the third, and of one from before there was a platform (-1).

    Each stops at each of its steps, then goes on.
    """
    crashed = 0
    for at in range(100):
        history = History(tmp_path / str(at))
        if earlier < 0:
            history.anchored_before(VOLUMES[0])
        history.mount(VOLUMES[1], 1, ends=True, crash_at=NEVER)
        saved = [history.saved(0)]
        for number in range(earlier):
            history.mount(VOLUMES[0], 2, ends=True, crash_at=NEVER)
            saved.append(history.saved(number + 1))
        steps = history.mount(VOLUMES[0], 3, ends=True, crash_at=at)
        history.verify_now()
        for old in saved:
            for number in range(1, 8):  # a TPM's counter is not put back
                history.verify_put_back(
                    old, frozenset(name for bit, name in enumerate(PARTS[:3]) if number & 1 << bit), VOLUMES[0]
                )
        for volume_id in VOLUMES:
            history.mount(volume_id, 2, ends=True, crash_at=NEVER)
        history.verify_now()
        shutil.rmtree(history.base)
        if steps <= at:
            break
        crashed += 1
    assert 15 <= crashed < 99


STEPS = st.lists(
    st.tuples(
        st.sampled_from(VOLUMES),
        st.integers(0, 3),
        st.booleans(),
        st.one_of(st.just(NEVER), st.integers(0, 40)),
    ),
    min_size=1,
    max_size=8,
)
TRIED = st.lists(
    st.tuples(st.integers(0, 7), st.frozensets(st.sampled_from(PARTS)), st.sampled_from(VOLUMES)), max_size=12
)


@given(STEPS, TRIED)
@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_histories_lose_nothing_and_let_nothing_back(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[bytes, int, bool, int]],
    tried: list[tuple[int, frozenset[str], bytes]],
) -> None:
    history = History(tmp_path_factory.mktemp("history"))
    saved: list[Saved] = []
    for number, (volume_id, commits, ends, crash_at) in enumerate(steps):
        saved.append(history.saved(number))
        history.mount(volume_id, commits, ends=ends, crash_at=crash_at)
        history.verify_now()
        for which, parts, victim in tried:
            if which < len(saved) and history.folder.exists():
                history.verify_put_back(saved[which], parts, victim)
    shutil.rmtree(history.base)

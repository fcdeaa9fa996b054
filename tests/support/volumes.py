"""Containers and anchors for tests of the volume: in memory, recording what is written, failing when told to."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.ground import Limits
from belljar.fs.volume.volume import Surroundings, Volume, format_volume, open_volume

VOLUME_ID = bytes(range(16))
KEY = bytes(range(100, 132))
SMALL = Limits(dirty_bytes=200_000, dirty_nodes=20, cached_nodes=12)


@dataclass
class MemoryAnchor:
    """An anchor that remembers in memory, durably as late as it may, and tells who wants to know."""

    known: dict[bytes, Anchored] = field(default_factory=dict)
    told: Callable[[Anchored], None] | None = None
    settled: Callable[[Anchored], None] | None = None
    fails: bool = False

    def read(self, volume_id: bytes) -> Anchored | None:
        return self.known.get(volume_id)

    def advance(self, volume_id: bytes, anchored: Anchored) -> None:
        if self.fails:
            raise OSError(errno.EIO, "the anchor cannot be reached")
        self.known[volume_id] = anchored
        if self.told is not None:
            self.told(anchored)

    def settle(self, volume_id: bytes) -> None:
        if self.settled is not None:
            self.settled(self.known[volume_id])


class MemoryContainer:
    """A container in memory. `room` is how many bytes the host still has; `broken` names calls that fail."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.room = 1 << 40
        self.allocated = set(range(len(content) // 4096))  # as a sparse file
        self.broken: dict[str, int] = {}
        self.countdown = -1  # writes until `broken["pwrite"]` strikes; below 0 at once

    def _strike(self, call: str) -> None:
        if call in self.broken:
            if call == "pwrite" and self.countdown > 0:
                self.countdown -= 1
                return
            raise OSError(self.broken[call], os.strerror(self.broken[call]))

    def pread(self, size: int, offset: int) -> bytes:
        self._strike("pread")
        return bytes(self.content[offset : offset + size])

    def expect(self, offset: int, length: int) -> None:
        assert offset >= 0
        assert length > 0

    def pwrite(self, content: bytes | bytearray | memoryview, offset: int) -> None:
        self._strike("pwrite")
        fresh = set(range(offset // 4096, -(-(offset + len(content)) // 4096))) - self.allocated
        if len(fresh) * 4096 > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(fresh) * 4096
        self.allocated |= fresh
        write_into(self.content, offset, bytes(content))

    def sync(self) -> None:
        self._strike("sync")

    def punch(self, offset: int, length: int) -> None:
        write_into(self.content, offset, bytes(min(length, max(0, len(self.content) - offset))))
        gone = self.allocated & set(range(-(-offset // 4096), (offset + length) // 4096))
        self.allocated -= gone
        self.room += len(gone) * 4096

    def truncate(self, size: int) -> None:
        resize(self.content, size)

    def size(self) -> int:
        return len(self.content)

    def available(self) -> int:
        return self.room


class RecordingContainer(MemoryContainer):
    """Records every change, and every sync between them."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(content)
        self.log: list[tuple[object, ...]] = []

    def pwrite(self, content: bytes | bytearray | memoryview, offset: int) -> None:
        super().pwrite(content, offset)
        self.log.append(("write", offset, bytes(content)))

    def sync(self) -> None:
        super().sync()
        self.log.append(("sync",))

    def punch(self, offset: int, length: int) -> None:
        super().punch(offset, length)
        self.log.append(("punch", offset, length))

    def truncate(self, size: int) -> None:
        super().truncate(size)
        self.log.append(("truncate", size))


def write_into(content: bytearray, offset: int, piece: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(piece)] = piece


def resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def replay(content: bytearray, event: tuple[object, ...], *, cut: int | None = None) -> None:
    """Do what an event did; of a write only the first `cut` bytes."""
    match event:
        case ("write", int(offset), bytes(piece)):
            write_into(content, offset, piece[:cut])
        case ("punch", int(offset), int(length)):
            write_into(content, offset, bytes(min(length, max(0, len(content) - offset))))
        case ("truncate", int(size)):
            resize(content, size)
        case _:
            raise AssertionError(event)


def crashes(
    start: bytes, log: list[tuple[object, ...]], chance: random.Random, share: float
) -> Iterator[tuple[bytes, Anchored | None, int]]:
    """Yield (container, what is anchored durably, events before) of crashes at write boundaries, a `share` of them.

    Everything before the last sync is there. Of what was written after it: all, nothing, or any part in any order, and
    one write may be torn.
    """
    durable, pending = bytearray(start), list[tuple[object, ...]]()
    anchored: Anchored | None = None
    for number, event in enumerate([*log, ("end",)]):
        if chance.random() < share:
            yield bytes(_crashed(durable, pending, chance)), anchored, number
        if event[0] == "sync":
            for done in pending:
                replay(durable, done)
            pending = []
        elif event[0] == "anchor":
            told = event[-1]
            assert isinstance(told, Anchored)
            anchored = told
        elif event[0] not in ("told", "end"):
            pending.append(event)


def _crashed(durable: bytearray, pending: list[tuple[object, ...]], chance: random.Random) -> bytearray:
    content = bytearray(durable)
    way = chance.choice(["all", "none", "some", "torn", "torn last"])
    if way == "none":
        return content
    chosen = list(pending)
    if way in ("some", "torn"):
        chosen = [event for event in pending if chance.random() < 0.5]
        chance.shuffle(chosen)
    torn = len(chosen) - 1 if way == "torn last" else chance.randrange(len(chosen)) if chosen and way == "torn" else -1
    for number, event in enumerate(chosen):
        piece = event[2] if event[0] == "write" else b""
        assert isinstance(piece, bytes | int)
        cut = chance.randrange(len(piece)) if number == torn and isinstance(piece, bytes) and piece else None
        replay(content, event, cut=cut)
    return content


def ticking() -> Callable[[], int]:
    """Return a clock that advances by a microsecond each time it is read."""
    now = [1_700_000_000_000_000_000]

    def clock() -> int:
        now[0] += 1000
        return now[0]

    return clock


def drawn(seed: int) -> Callable[[int], bytes]:
    """Return a random source that is the same each time."""
    return random.Random(seed).randbytes  # noqa: S311 - must be repeatable


def formatted(container: MemoryContainer | None = None, anchor: MemoryAnchor | None = None, seed: int = 1) -> tuple[
    MemoryContainer, MemoryAnchor
]:  # fmt: skip
    """Return a container with an empty volume, and its anchor."""
    container, anchor = container or MemoryContainer(), anchor or MemoryAnchor()
    around = Surroundings(clock=ticking(), random=drawn(seed))
    format_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor, surroundings=around)
    return container, anchor


def mounted(
    container: MemoryContainer,
    anchor: MemoryAnchor,
    *,
    writable: bool = True,
    quota_bytes: int | None = None,
    limits: Limits | None = None,
    seed: int = 2,
) -> Volume:
    """Open the volume in a container."""
    around = Surroundings(clock=ticking(), random=drawn(seed), limits=limits or Limits())
    return open_volume(
        container,
        volume_id=VOLUME_ID,
        key=KEY,
        anchor=anchor,
        writable=writable,
        quota_bytes=quota_bytes,
        surroundings=around,
    )

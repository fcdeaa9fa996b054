"""The ledger: binds what is anchored on this platform to the platform's counter, so that nobody puts it all back.

One file beside the state files. It is written when a volume begins to be written, when that ends well, when an owner
resets, and when a volume is destroyed; not at every commit. The slot for the counter's next value is made durable, then
the counter goes up: a crash between leaves the slot before. A slot of any other value counts for nothing. Nothing is
remembered here between two sessions; the lock on the folder is held, and the platform open, during each. Serves IEEE
2952 5.2.1.2 a, 7.5 e.

It must never say of a volume what was not verified against the slot before, unless its owner resets it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume import portable
from belljar.fs.volume.anchor import Anchored

from .layout import TornRecord
from .ledger_layout import (
    FILE_BYTES,
    MAX_ENTRIES,
    NAME,
    SLOT_BYTES,
    Entry,
    Page,
    Standing,
    encode_page,
    parse_page,
    slot_at,
)
from .reading import REMEDY, adoptable, path_of
from .state_file import StateFile, check_private, create_state_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager

    from .layout import State

NOTHING = Anchored(0, bytes(32))
"""The root of a volume that is only being made."""


class Counting(Protocol):
    """The platform's root of trust, open."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What it derives for anchors, 32 bytes for each of its generations, the newest first."""
        ...

    def count(self) -> int:
        """Return its counter; 0 if it never counted. Raises VolumeRefused."""
        ...

    def count_up(self) -> int:
        """Add one, or more if it never counted; durable on return. Raises VolumeRefused."""
        ...


class Platform(Protocol):
    """Opens the platform's root of trust for a short while: others want it, too."""

    def __call__(self) -> AbstractContextManager[Counting]:
        """Return it. Entering raises VolumeRefused if it cannot be used."""
        ...


class Session:
    """The ledger while nobody else changes it.

    Attributes:
        keys: of the platform, the newest first.
    """

    def __init__(self, ledger: Ledger, counting: Counting, page: Page) -> None:
        self.keys = counting.keys
        self._ledger = ledger
        self._counting = counting
        self._page = page

    @property
    def key(self) -> bytes:
        """What authenticates from now on."""
        return self.keys[0]

    def verify(self, volume_id: bytes, state: State | None) -> None:
        """Return if a state file, or that there is none, is what the ledger expects.

        Raises:
            VolumeRefused: it was put back, replaced or removed.
        """
        entry = self._page.entry(volume_id)
        if state is None and (entry is None or entry.anchored == NOTHING):
            return
        if state is None or entry is None or not _counts(state, entry):
            found = "no state file" if state is None else _told(state)
            raise VolumeRefused(
                f"the anchor of volume {volume_id.hex()} was put back or replaced: found {found}, expected "
                f"{_expected(entry)}",
                hint=REMEDY,
            )

    def begin(self, volume_id: bytes, anchored: Anchored, *, adopts: bool = False) -> int:
        """Note that a volume is going to be written, durably; return the epoch of what is written.

        Args:
            volume_id: of the volume.
            anchored: what it begins with, `NOTHING` if it is only being made.
            adopts: whether its state file was written without a key until now.
        """
        standing = Standing.ADOPTING if adopts else Standing.OPEN
        fresh = Entry(volume_id=volume_id, standing=standing, epoch=0, anchored=anchored)
        return self._write({volume_id: fresh})

    def end(self, ended: Mapping[bytes, Anchored]) -> None:
        """Note with what volumes ended, durably."""
        self._write(
            {
                volume_id: Entry(volume_id=volume_id, standing=Standing.CLOSED, epoch=0, anchored=anchored)
                for volume_id, anchored in ended.items()
            }
        )

    def forget(self, volume_id: bytes) -> None:
        """Note that a volume is no more."""
        if self._page.entry(volume_id) is not None:
            self._write({volume_id: None})

    def _write(self, changed: Mapping[bytes, Entry | None]) -> int:
        """Store the page with changed entries, for the counter's next value, and count; return that value."""
        kept = tuple(entry for entry in self._page.entries if entry.volume_id not in changed)
        fresh = tuple(entry for entry in changed.values() if entry is not None)
        if len(kept) + len(fresh) > MAX_ENTRIES:
            kept = tuple(entry for entry in kept if self._ledger.is_used(entry))
        value = self._store(self._page.value + 1, kept, fresh)
        counted = self._counting.count_up()
        if counted < value:
            raise VolumeRefused(f"the platform's counter went back: found {counted}, expected {value}")
        if counted > value:  # the first value a TPM's counter ever has, or somebody else counted
            self._store(counted, kept, fresh)
        return counted

    def _store(self, value: int, kept: tuple[Entry, ...], fresh: tuple[Entry, ...]) -> int:
        now = tuple(replace(entry, epoch=value) for entry in fresh)
        self._page = Page(value=value, entries=tuple(sorted((*kept, *now), key=lambda entry: entry.volume_id)))
        self._ledger.store(encode_page(self._page, self.key), value)
        return value


def _counts(state: State, entry: Entry) -> bool:
    keyed, same = state.epoch != 0, state.anchored == entry.anchored
    match entry.standing:
        case Standing.CLOSED:
            return keyed and same
        case Standing.OPEN:
            return keyed and (same or state.epoch == entry.epoch)
        case Standing.ADOPTED:  # a mount from before the platform may still be going on
            return not keyed and (same or state.anchored.generation > entry.anchored.generation)
        case Standing.ADOPTING:
            return state.epoch == entry.epoch if keyed else same


def _told(state: State) -> str:
    how = f"of mount {state.epoch}" if state.epoch else "without a platform key"
    return f"generation {state.anchored.generation} {how}"


def _expected(entry: Entry | None) -> str:
    if entry is None:
        return "none: the ledger of this platform does not know the volume"
    generation = entry.anchored.generation
    match entry.standing:
        case Standing.CLOSED:
            return f"generation {generation}, with which its last mount ended"
        case Standing.OPEN | Standing.ADOPTING:
            return f"generation {generation} or what mount {entry.epoch}, which did not end, has written"
        case Standing.ADOPTED:
            return f"generation {generation} or a later one, without a platform key"


class Ledger:
    """The ledger of a platform.

    Args:
        folder: of the state files, where it is kept.
        platform: opens the root of trust.
        open_file: opens the file; tests record what is written.
    """

    def __init__(self, folder: str, platform: Platform, open_file: Callable[..., StateFile]) -> None:
        self._folder = folder
        self._platform = platform
        self._open_file = open_file
        self._path = os.path.join(folder, NAME)

    @contextmanager
    def session(self, *, anew: bool = False, creates: bool = False) -> Generator[Session]:
        """Lock the ledger, open the platform, read what counts.

        Args:
            anew: begin an empty one if it cannot be used: its owner resets.
            creates: begin an empty one if it is gone: a volume is being made, and all others will be refused.

        Raises:
            VolumeRefused: the platform or the ledger cannot be used; the ledger was put back or is of another platform.
        """
        with self._locked(), self._platform() as counting:
            empty = anew or (creates and not os.path.lexists(self._path))
            yield Session(self, counting, self._page(counting, anew=empty))

    @contextmanager
    def _locked(self) -> Generator[None]:
        import fcntl

        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | portable.BINARY_CLOEXEC)
        try:
            check_private(os.fstat(descriptor), self._folder, folder=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _page(self, counting: Counting, *, anew: bool) -> Page:
        value = counting.count()
        if value == 0:  # this platform has never had a ledger
            return Page(value=0, entries=adoptable(self._folder, self._open_file))
        try:
            return self._read(value, counting.keys)
        except VolumeRefused:
            if not anew:
                raise
            return Page(value=value, entries=())

    def _read(self, value: int, keys: tuple[bytes, ...]) -> Page:
        try:
            file = self._open_file(self._path, writable=False)
        except FileNotFoundError:
            raise self._refused(f"missing, and the platform's counter stands at {value}: it was removed") from None
        try:
            slots = [file.pread(SLOT_BYTES, slot_at(each)) for each in (value, value + 1)]
        finally:
            file.close()
        found: list[int] = []
        faults: list[str] = []
        for raw in slots:
            try:
                page = parse_page(raw, keys)
            except TornRecord:
                continue
            except VolumeRefused as error:
                faults.append(str(error))
                continue
            if page.value == value:
                return page
            found.append(page.value)
        if faults:
            raise self._refused(faults[0])
        if not found:
            raise self._refused("neither slot is whole")
        was = " and ".join(map(str, sorted(found)))
        raise self._refused(
            f"it is of counter value {was}, expected {value}, where the platform's counter stands: one was put back"
        )

    def _refused(self, text: str) -> VolumeRefused:
        return VolumeRefused(
            f"the ledger {self._path} cannot be used: {text}",
            hint=f"{REMEDY}; if there are no volumes any more, move the ledger away",
        )

    def store(self, content: bytes, value: int) -> None:
        """Put a slot in its place, durably; the lock must be held."""
        if not os.path.lexists(self._path):
            create_state_file(self._folder, self._path, bytes(FILE_BYTES))
        file = self._open_file(self._path, writable=True)
        try:
            file.pwrite(content, slot_at(value))
            file.sync()
        finally:
            file.close()

    def is_used(self, entry: Entry) -> bool:
        """Say whether the volume has a state file, or is only being made; without an entry its file counts no more."""
        return entry.anchored == NOTHING or os.path.lexists(path_of(self._folder, entry.volume_id))

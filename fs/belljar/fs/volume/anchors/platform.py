"""The anchor of the platform: a small state file per volume, outside of the volume, in a folder of its owner alone.

What it stops: a container that is put back, forked or swapped, by whoever can write the container but not the folder
of the state files (a disk or share of somebody else's, a backup tool, a synchronising service). Where there is a
platform, its key authenticates the files and its counter, through the ledger, tells when all of them are put back; how
strong that is depends on the counter (docs/formats/volume-anchor.md). Serves IEEE 2952 5.2.1.2 a, 7.5 e.

Advancing is one write of 512 bytes in place, and one fdatasync that goes on behind the volume's back (`behind.py`):
that a commit survives, its container promises alone. Slots are written in turn, so a crash at any byte leaves the one
before. Then the volume's newest root is one ahead of the anchor, and names the anchored one as its predecessor.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from belljar.fs.errors import VolumeRefused

from . import layout
from .behind import Behind
from .layout import Reset, State
from .ledger import NOTHING, Ledger
from .reading import REMEDY, AnchorDamaged, log_at, path_of, read_log, read_state, whole_file
from .state_file import StateFile, create_state_file, prepare_folder
from .unbound import Unbound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from belljar.fs.volume.anchor import Anchored

    from .ledger import Platform


def anchors_folder(environment: Mapping[str, str], user_id: int) -> str:
    """Return where this platform keeps its anchors: beside the platform itself.

    For root the machine's, unless XDG_STATE_HOME is set; for others their own state folder.
    """
    if user_id == 0 and "XDG_STATE_HOME" not in environment:
        return "/var/lib/belljar/anchors"
    local = environment.get("LOCALAPPDATA")
    base = environment.get("XDG_STATE_HOME") or local or os.path.join(environment.get("HOME", "."), ".local/state")
    return os.path.join(base, "belljar", "anchors")


class PlatformAnchor:
    """Remembers the newest root of volumes in state files; close it to release their locks.

    Args:
        folder: where the files are; made when the first is written.
        platform: opens the root of trust that authenticates them and counts, or None while there is none.
        open_file: opens a state file; tests record what is written.
    """

    def __init__(
        self, folder: str, *, platform: Platform | None = None, open_file: Callable[..., StateFile] = StateFile
    ) -> None:
        self._folder = folder
        self._ledger = Unbound(folder) if platform is None else Ledger(folder, platform, open_file)
        self._key: bytes | None = None  # of the platform, once it was open
        self._open_file = open_file
        self._writing: dict[bytes, tuple[StateFile, State]] = {}
        self._behind = Behind()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except VolumeRefused:
            if error is None:  # else there is something worse to tell
                raise

    def close(self) -> None:
        """Wait for what is not durable yet, note in the ledger with what the volumes ended, release every state file.

        Raises:
            VolumeRefused: it could not be noted; then they count as not ended, as after a crash.
        """
        try:
            self._end()
        except (VolumeRefused, OSError) as error:
            raise VolumeRefused(
                f"all that was written is kept, but not that it ended well: {error}", hint=getattr(error, "hint", None)
            ) from error

    def _end(self) -> None:
        writing = self._writing
        try:
            for volume_id in writing:
                self._settle(volume_id)
            if writing and self._key is not None:
                with self._ledger.session() as session:
                    session.end({volume_id: state.anchored for volume_id, (_, state) in writing.items()})
        finally:
            self._writing = {}
            self._behind.close()
            for file, _ in writing.values():
                file.close()

    def read(self, volume_id: bytes) -> Anchored | None:
        """Return the newest root of a volume, or None for one that was never anchored here.

        Raises:
            VolumeRefused: the state file is damaged, foreign, or others may write it; it or the ledger was put back.
        """
        with self._lock:
            if volume_id in self._writing:
                return self._writing[volume_id][1].anchored
            if not os.path.isdir(self._folder):
                return None
            with self._ledger.session() as session:
                state = self._stored(volume_id, session.keys)
                session.verify(volume_id, state)
            return None if state is None else state.anchored

    def begin(self, volume_id: bytes) -> None:
        """Get ready to advance: lock the state file and note it in the ledger. `advance` does it, too, at the latest.

        Raises:
            VolumeRefused: as `read`; or another process advances it.
        """
        with self._lock:
            if self._known(volume_id):
                self._opened(volume_id)

    def advance(self, volume_id: bytes, anchored: Anchored) -> None:
        """Remember a newer root; durable after `settle`. The same root again is no change.

        Raises:
            VolumeRefused: it is older than what is anchored, or another of the same generation.
            OSError: it could not be written, or the one before not made durable; trying again is safe.
        """
        with self._lock:
            if not self._known(volume_id):
                self._create(volume_id, anchored)
                return
            file, state = self._opened(volume_id)
            if anchored == state.anchored:
                return
            if anchored.generation <= state.anchored.generation:
                raise VolumeRefused(
                    f"the anchor of volume {volume_id.hex()} stands at generation {state.anchored.generation} and does "
                    f"not go back to {anchored.generation}",
                    hint=REMEDY,
                )
            self._settle(volume_id)  # the slot before this one must be whole
            self._write(file, volume_id, replace(state, sequence=state.sequence + 1, anchored=anchored))

    def settle(self, volume_id: bytes) -> None:
        """Wait until the newest root is durable here. Raises OSError: it could not be made so."""
        with self._lock:
            self._settle(volume_id)

    def reset(self, volume_id: bytes, anchored: Anchored, *, reason: str, time_s: int) -> None:
        """Set the anchor to any root, because the owner wants it so: after a rollback or a restore. It is logged.

        A damaged state file is kept beside the new one, as `….damaged`. A ledger that cannot be used is begun anew,
        with this volume alone.

        Args:
            volume_id: of the volume.
            anchored: the root that counts as the newest from here on.
            reason: one line for the log.
            time_s: time of the caller's clock, in seconds since 1970.

        Raises:
            VolumeRefused: the reason cannot be logged, or the platform cannot be used.
            OSError: it could not be made durable.
        """
        wanted = Reset(number=1, before=NOTHING, after=anchored, time_s=time_s, reason=reason)
        layout.encode_reset(volume_id, wanted, None)  # refuses a reason before anything is changed
        with self._lock:
            if not self._known(volume_id):
                self._create(volume_id, anchored, anew=True)
                return
            try:
                file, state = self._opened(volume_id, anew=anchored)
            except AnchorDamaged as error:
                self._replace(volume_id, wanted, error)
                return
            self._settle(volume_id)
            entry = replace(wanted, number=state.resets + 1, before=state.anchored)
            file.pwrite(layout.encode_reset(volume_id, entry, self._key), log_at(entry.number))
            file.sync()
            self._write(
                file, volume_id, replace(state, sequence=state.sequence + 1, anchored=anchored, resets=entry.number)
            )
            self._settle(volume_id)

    def resets(self, volume_id: bytes) -> tuple[Reset, ...]:
        """Return the log of resets, oldest first; the last 64 are kept.

        Raises:
            VolumeRefused: the state file or an entry of its log is damaged or foreign.
        """
        if not os.path.lexists(self._path(volume_id)):
            return ()
        with self._ledger.session(anew=True) as session:
            keys = session.keys
        file = self._open_file(self._path(volume_id), writable=False)
        try:
            return read_log(file, volume_id, read_state(file, self._path(volume_id), volume_id, keys), keys)
        finally:
            file.close()

    def forget(self, volume_id: bytes) -> None:
        """Remove the anchor of a volume that was destroyed.

        Raises:
            VolumeRefused: the state file is removed, but the ledger cannot be used.
        """
        with self._lock:
            if volume_id in self._writing:
                file, _ = self._writing.pop(volume_id)
                with suppress(OSError):
                    self._behind.settle(file)
                file.close()
            if self._known(volume_id):
                os.unlink(self._path(volume_id))
                with self._ledger.session() as session:
                    session.forget(volume_id)

    def _path(self, volume_id: bytes) -> str:
        return path_of(self._folder, volume_id)

    def _known(self, volume_id: bytes) -> bool:
        return volume_id in self._writing or os.path.lexists(self._path(volume_id))

    def _stored(self, volume_id: bytes, keys: tuple[bytes, ...]) -> State | None:
        path = self._path(volume_id)
        try:
            file = self._open_file(path, writable=False)
        except FileNotFoundError:
            return None
        try:
            return read_state(file, path, volume_id, keys)
        finally:
            file.close()

    def _create(self, volume_id: bytes, anchored: Anchored, *, anew: bool = False) -> None:
        """Make the first state file of a volume; `anew` if its owner knows that there may have been another."""
        prepare_folder(self._folder)
        with self._ledger.session(anew=anew, creates=True) as session:
            if not anew:
                session.verify(volume_id, None)
            epoch = session.begin(volume_id, anchored if anew else NOTHING)
            self._key = session.key
        self._begin_with(volume_id, State(sequence=2, anchored=anchored, resets=0, epoch=epoch), ())

    def _replace(self, volume_id: bytes, entry: Reset, error: AnchorDamaged) -> None:
        path = self._path(volume_id)
        damaged = f"{path}.damaged"
        if os.path.lexists(damaged):
            raise VolumeRefused(f"{damaged}: an earlier damaged anchor is still there", hint="move it away") from error
        with self._ledger.session(anew=True) as session:
            epoch = session.begin(volume_id, entry.after)
            self._key = session.key
        os.rename(path, damaged)
        self._begin_with(volume_id, State(sequence=2, anchored=entry.after, resets=1, epoch=epoch), (entry,))

    def _begin_with(self, volume_id: bytes, state: State, log: tuple[Reset, ...]) -> None:
        """Put a whole state file in its place, and hold it."""
        path = self._path(volume_id)
        create_state_file(self._folder, path, whole_file(volume_id, state, log, self._key))
        self._writing[volume_id] = (self._open_file(path, writable=True), state)

    def _opened(self, volume_id: bytes, *, anew: Anchored | None = None) -> tuple[StateFile, State]:
        """Return a state file that is held, and its state; `anew` is what its owner says it shall begin with."""
        if volume_id not in self._writing:
            prepare_folder(self._folder)
            file = self._open_file(self._path(volume_id), writable=True)
            try:
                self._hold(file, volume_id, anew)
            except BaseException:
                file.close()
                raise
        return self._writing[volume_id]

    def _hold(self, file: StateFile, volume_id: bytes, anew: Anchored | None) -> None:
        with self._ledger.session(anew=anew is not None) as session:
            state = read_state(file, self._path(volume_id), volume_id, session.keys)
            since = state.anchored
            try:
                session.verify(volume_id, state)
            except VolumeRefused:
                if anew is None:
                    raise
                since = anew
            adopts = state.epoch == 0
            epoch = session.begin(volume_id, since, adopts=adopts)
            self._key = session.key
            keys = session.keys
        held = replace(state, epoch=epoch)
        if adopts and epoch:
            self._begin_with(volume_id, held, read_log(file, volume_id, state, keys))
            file.close()
        else:
            self._writing[volume_id] = (file, held)

    def _write(self, file: StateFile, volume_id: bytes, state: State) -> None:
        self._put(file, volume_id, state)
        self._writing[volume_id] = (file, state)
        self._behind.sync(file)

    def _put(self, file: StateFile, volume_id: bytes, state: State) -> None:
        file.pwrite(layout.encode_state(volume_id, state, self._key), layout.SLOT_AT[state.sequence % 2])

    def _settle(self, volume_id: bytes) -> None:
        if volume_id not in self._writing:
            return
        file, state = self._writing[volume_id]
        try:
            self._behind.settle(file)
        except OSError:
            self._put(file, volume_id, state)
            self._behind.sync(file)
            self._behind.settle(file)

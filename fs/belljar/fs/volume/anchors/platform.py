"""The anchor of the platform: a small state file per volume, outside of the volume, in a folder of its owner alone.

What it stops: a container that is put back, forked or swapped, by whoever can write the container but not the folder
of the state files (a disk or share of somebody else's, a backup tool, a synchronising service). What it does not stop:
who can write that folder too, and puts both back together (root of this machine, its disk restored from an image). A
TPM counter and a key broker will fit the same `Anchor` and stop that. Serves IEEE 2952 5.2.1.2 a, 7.5 e.

Advancing is one write of 512 bytes in place and one fdatasync. Slots are written in turn, so a crash at any byte leaves
the one before. Then the volume's newest root is one ahead of the anchor, and names the anchored one as its predecessor.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchored

from . import layout
from .layout import Reset, State, TornRecord
from .state_file import StateFile, create_state_file, prepare_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

_UNKNOWN = Anchored(0, bytes(32))
_REMEDY = "if you are sure that this container is the newest one, anchor it anew: belljar volume anchor --reset REASON"


def anchors_folder(environment: Mapping[str, str], user_id: int) -> str:
    """Return where this platform keeps its anchors: for root the machine's, for others their own state folder."""
    if user_id == 0:
        return "/var/lib/belljar/anchors"
    local = environment.get("LOCALAPPDATA")
    base = environment.get("XDG_STATE_HOME") or local or os.path.join(environment.get("HOME", "."), ".local/state")
    return os.path.join(base, "belljar", "anchors")


class AnchorDamaged(VolumeRefused):
    """The content of a state file cannot be used; its owner may put another in its place with `reset`."""


class PlatformAnchor:
    """Remembers the newest root of volumes in state files; close it to release their locks.

    Args:
        folder: where the files are; made when the first is written.
        key: secret of this platform (32 bytes or more) that authenticates them, or None while there is none.
        open_file: opens a state file; tests record what is written.
    """

    def __init__(
        self, folder: str, *, key: bytes | None = None, open_file: Callable[..., StateFile] = StateFile
    ) -> None:
        if key is not None and len(key) < layout.MIN_KEY_BYTES:
            raise ValueError(f"a platform key of {len(key)} bytes, expected at least {layout.MIN_KEY_BYTES}")
        self._folder = folder
        self._key = key
        self._open_file = open_file
        self._writing: dict[bytes, tuple[StateFile, State]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release every state file."""
        while self._writing:
            _, (file, _) = self._writing.popitem()
            file.close()

    def read(self, volume_id: bytes) -> Anchored | None:
        """Return the newest root of a volume, or None for one that was never anchored here.

        Raises:
            VolumeRefused: the state file is damaged, foreign, or others may write it.
        """
        with self._lock:
            if volume_id in self._writing:
                return self._writing[volume_id][1].anchored
            try:
                file = self._open_file(self._path(volume_id), writable=False)
            except FileNotFoundError:
                return None
            try:
                return self._state(file, volume_id).anchored
            finally:
                file.close()

    def advance(self, volume_id: bytes, anchored: Anchored) -> None:
        """Remember a newer root; durable on return. The same root again is no change.

        Raises:
            VolumeRefused: it is older than what is anchored, or another of the same generation.
            OSError: it could not be made durable; the one before is still anchored, and trying again is safe.
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
                    hint=_REMEDY,
                )
            self._write(file, volume_id, State(sequence=state.sequence + 1, anchored=anchored, resets=state.resets))

    def reset(self, volume_id: bytes, anchored: Anchored, *, reason: str, time_s: int) -> None:
        """Set the anchor to any root, because the owner wants it so: after a rollback or a restore. It is logged.

        A damaged state file is kept beside the new one, as `….damaged`.

        Args:
            volume_id: of the volume.
            anchored: the root that counts as the newest from here on.
            reason: one line for the log.
            time_s: time of the caller's clock, in seconds since 1970.

        Raises:
            VolumeRefused: the reason cannot be logged.
            OSError: it could not be made durable.
        """
        with self._lock:
            if not self._known(volume_id):
                self._create(volume_id, anchored)
                return
            try:
                file, state = self._opened(volume_id)
            except AnchorDamaged as error:
                entry = Reset(number=1, before=_UNKNOWN, after=anchored, time_s=time_s, reason=reason)
                self._replace(volume_id, entry, error)
                return
            number = state.resets + 1
            entry = Reset(number=number, before=state.anchored, after=anchored, time_s=time_s, reason=reason)
            at = layout.LOG_AT + (number - 1) % layout.LOG_RECORDS * layout.RECORD_BYTES
            file.pwrite(layout.encode_reset(volume_id, entry, self._key), at)
            file.sync()
            self._write(file, volume_id, State(sequence=state.sequence + 1, anchored=anchored, resets=number))

    def resets(self, volume_id: bytes) -> tuple[Reset, ...]:
        """Return the log of resets, oldest first; the last 64 are kept.

        Raises:
            VolumeRefused: the state file or an entry of its log is damaged or foreign.
        """
        try:
            file = self._open_file(self._path(volume_id), writable=False)
        except FileNotFoundError:
            return ()
        try:
            state = self._state(file, volume_id)
            first = max(1, state.resets - layout.LOG_RECORDS + 1)
            return tuple(self._reset(file, volume_id, number) for number in range(first, state.resets + 1))
        finally:
            file.close()

    def forget(self, volume_id: bytes) -> None:
        """Remove the anchor of a volume that was destroyed."""
        with self._lock:
            if volume_id in self._writing:
                self._writing.pop(volume_id)[0].close()
            if self._known(volume_id):
                os.unlink(self._path(volume_id))

    def _path(self, volume_id: bytes) -> str:
        return os.path.join(self._folder, volume_id.hex())

    def _known(self, volume_id: bytes) -> bool:
        return volume_id in self._writing or os.path.lexists(self._path(volume_id))

    def _create(self, volume_id: bytes, anchored: Anchored) -> None:
        prepare_folder(self._folder)
        state = State(sequence=2, anchored=anchored, resets=0)
        content = layout.encode_state(volume_id, state, self._key)
        create_state_file(self._folder, self._path(volume_id), content)

    def _replace(self, volume_id: bytes, entry: Reset, error: AnchorDamaged) -> None:
        path = self._path(volume_id)
        state = State(sequence=2, anchored=entry.after, resets=1)
        log = layout.encode_reset(volume_id, entry, self._key)
        content = layout.encode_state(volume_id, state, self._key).ljust(layout.LOG_AT, b"\0") + log
        damaged = f"{path}.damaged"
        if os.path.lexists(damaged):
            raise VolumeRefused(f"{damaged}: an earlier damaged anchor is still there", hint="move it away") from error
        os.rename(path, damaged)
        create_state_file(self._folder, path, content)

    def _opened(self, volume_id: bytes) -> tuple[StateFile, State]:
        if volume_id not in self._writing:
            prepare_folder(self._folder)
            file = self._open_file(self._path(volume_id), writable=True)
            try:
                self._writing[volume_id] = (file, self._state(file, volume_id))
            except BaseException:
                file.close()
                raise
        return self._writing[volume_id]

    def _write(self, file: StateFile, volume_id: bytes, state: State) -> None:
        file.pwrite(layout.encode_state(volume_id, state, self._key), layout.SLOT_AT[state.sequence % 2])
        file.sync()
        self._writing[volume_id] = (file, state)

    def _state(self, file: StateFile, volume_id: bytes) -> State:
        """Return the newest slot that is whole; the other may be torn by a crash or not yet written."""
        try:
            return _newest(file, volume_id, self._key)
        except VolumeRefused as error:
            path = self._path(volume_id)
            raise AnchorDamaged(f"{path}: the anchor cannot be used: {error}", hint=_REMEDY) from error

    def _reset(self, file: StateFile, volume_id: bytes, number: int) -> Reset:
        at = layout.LOG_AT + (number - 1) % layout.LOG_RECORDS * layout.RECORD_BYTES
        reset = layout.parse_reset(file.pread(layout.RECORD_BYTES, at), volume_id, self._key)
        if reset.number != number:
            raise VolumeRefused(f"the anchor's log has entry {reset.number} where {number} was expected")
        return reset


def _newest(file: StateFile, volume_id: bytes, key: bytes | None) -> State:
    found: list[State] = []
    for number, at in enumerate(layout.SLOT_AT):
        try:
            state = layout.parse_state(file.pread(layout.RECORD_BYTES, at), volume_id, key)
        except TornRecord:
            continue
        if state.sequence % 2 != number:
            raise VolumeRefused(f"slot {number} holds the record of the other slot")
        found.append(state)
    if not found:
        raise VolumeRefused("neither slot is whole")
    if len(found) == 2 and abs(found[0].sequence - found[1].sequence) != 1:
        raise VolumeRefused("its two slots are not of one history")
    return max(found, key=lambda state: state.sequence)

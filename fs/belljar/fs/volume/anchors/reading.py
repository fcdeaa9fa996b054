"""What a state file says: its newest whole slot, its log of resets. In comes an open file, out come checked values.

Whether it is the state that counts, is not decided here: a file that somebody put back reads as well as it ever did.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeRefused

from . import layout
from .layout import Reset, State, TornRecord
from .ledger_layout import Entry, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .state_file import StateFile

REMEDY = "if you are sure that this container is the newest one, anchor it anew: belljar volume anchor --reset REASON"
_ID_BYTES = 16


class AnchorDamaged(VolumeRefused):
    """The content of a state file cannot be used; its owner may put another in its place with a reset."""


def path_of(folder: str, volume_id: bytes) -> str:
    """Return where the state file of a volume is."""
    return os.path.join(folder, volume_id.hex())


def read_state(file: StateFile, path: str, volume_id: bytes, keys: tuple[bytes, ...]) -> State:
    """Return the newest slot that is whole; the other may be torn by a crash or not yet written.

    Raises:
        AnchorDamaged: there is none, or it is of another volume, platform or version.
    """
    try:
        return _newest(file, volume_id, keys)
    except VolumeRefused as error:
        raise AnchorDamaged(f"{path}: the anchor cannot be used: {error}", hint=REMEDY) from error


def _newest(file: StateFile, volume_id: bytes, keys: tuple[bytes, ...]) -> State:
    found: list[State] = []
    for number, at in enumerate(layout.SLOT_AT):
        try:
            state = layout.parse_state(file.pread(layout.RECORD_BYTES, at), volume_id, keys)
        except TornRecord:
            continue
        if state.sequence % 2 != number:
            raise VolumeRefused(f"slot {number} holds the record of the other slot")
        found.append(state)
    if not found:
        raise VolumeRefused("neither slot is whole")
    if len(found) == 2 and (abs(found[0].sequence - found[1].sequence) != 1 or _mixed(found)):
        raise VolumeRefused("its two slots are not of one history")
    return max(found, key=lambda state: state.sequence)


def _mixed(states: list[State]) -> bool:
    """Say whether one was written with a key and another without: a file that is adopted is written whole."""
    return len({state.epoch == 0 for state in states}) == 2


def log_at(number: int) -> int:
    """Return where an entry of the log is."""
    return layout.LOG_AT + (number - 1) % layout.LOG_RECORDS * layout.RECORD_BYTES


def read_log(file: StateFile, volume_id: bytes, state: State, keys: tuple[bytes, ...]) -> tuple[Reset, ...]:
    """Return the log of resets, oldest first; the last 64 are kept.

    Raises:
        VolumeRefused: an entry is damaged or foreign.
    """
    first = max(1, state.resets - layout.LOG_RECORDS + 1)
    theirs = keys if state.epoch else ()
    return tuple(_reset(file, volume_id, number, theirs) for number in range(first, state.resets + 1))


def _reset(file: StateFile, volume_id: bytes, number: int, keys: tuple[bytes, ...]) -> Reset:
    reset = layout.parse_reset(file.pread(layout.RECORD_BYTES, log_at(number)), volume_id, keys)
    if reset.number != number:
        raise VolumeRefused(f"the anchor's log has entry {reset.number} where {number} was expected")
    return reset


def whole_file(volume_id: bytes, state: State, log: tuple[Reset, ...], key: bytes | None) -> bytes:
    """Return the content of a state file with one slot and a log."""
    content = bytearray(layout.FILE_BYTES)
    at = layout.SLOT_AT[state.sequence % 2]
    content[at : at + layout.RECORD_BYTES] = layout.encode_state(volume_id, state, key)
    for reset in log:
        at = log_at(reset.number)
        content[at : at + layout.RECORD_BYTES] = layout.encode_reset(volume_id, reset, key)
    return bytes(content)


def adoptable(folder: str, open_file: Callable[..., StateFile]) -> tuple[Entry, ...]:
    """Return what the state files say that no platform's key authenticates; those that cannot be used are left out."""
    entries: list[Entry] = []
    for name in sorted(os.listdir(folder)):
        volume_id = _volume_id(name)
        if volume_id is None:
            continue
        try:
            file = open_file(os.path.join(folder, name), writable=False)
        except (OSError, VolumeRefused):  # who opens that volume is told
            continue
        try:
            anchored = read_state(file, name, volume_id, ()).anchored
        except AnchorDamaged:
            continue
        finally:
            file.close()
        entries.append(Entry(volume_id=volume_id, standing=Standing.ADOPTED, epoch=0, anchored=anchored))
    return tuple(entries)


def _volume_id(name: str) -> bytes | None:
    try:
        volume_id = bytes.fromhex(name)
    except ValueError:
        return None
    return volume_id if len(volume_id) == _ID_BYTES and volume_id.hex() == name else None

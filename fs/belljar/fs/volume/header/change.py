"""Change the slots of an opened volume: add, remove, replace; each is one new generation of the header, durable.

The volume key stays: whoever has an old copy of the container, or once had the key, keeps what they have. Only a new
volume, into which everything is copied, shuts them out of what is written later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.slots.kinds import check_slots

from .encode import encode_copy
from .store import write_copies
from .unlock import mac_key, make_slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.volume.slots.kinds import Enrolment

    from .model import Header
    from .store import Region
    from .unlock import Unlocked


def add_slot(
    region: Region, unlocked: Unlocked, enrolment: Enrolment, *, label: str = "", random: Callable[[int], bytes]
) -> Unlocked:
    """Add a slot for somebody, at the first free number.

    Raises:
        VolumeRefused: all slots are in use, or the label or credential cannot be used.
    """
    number = unlocked.header.free_number()
    slot = make_slot(unlocked.volume_id, unlocked.key, enrolment, number=number, label=label, random=random)
    return _write(region, unlocked, unlocked.header.with_slot(slot))


def replace_slot(
    region: Region, unlocked: Unlocked, enrolment: Enrolment, *, number: int, random: Callable[[int], bytes]
) -> Unlocked:
    """Make the slot of that number anew for somebody, its label kept; the old content is overwritten in both copies.

    Raises:
        VolumeRefused: that slot is not in use, or the credential cannot be used.
    """
    label = unlocked.header.slot(number).label
    slot = make_slot(unlocked.volume_id, unlocked.key, enrolment, number=number, label=label, random=random)
    return _write(region, unlocked, unlocked.header.with_slot(slot))


def remove_slot(region: Region, unlocked: Unlocked, *, number: int, even_the_last: bool = False) -> Unlocked:
    """Overwrite a slot with zeros, in both copies.

    Args:
        region: the container.
        unlocked: the opened volume.
        number: which slot.
        even_the_last: whether it may be the last one: then nobody can open the volume again.

    Raises:
        VolumeRefused: the slot is not in use, or it is the last one.
    """
    header = unlocked.header.without_slot(number)
    if not header.slots and not even_the_last:
        raise VolumeRefused(
            f"key slot {number} is the last one: without it nobody can open the volume again",
            hint="add another first, or destroy the volume: belljar volume destroy",
        )
    return _write(region, unlocked, header)


def _write(region: Region, unlocked: Unlocked, header: Header) -> Unlocked:
    check_slots((slot.kind, slot.parameters) for slot in header.slots)
    raw = encode_copy(header, mac_key(unlocked.key, unlocked.volume_id))
    write_copies(region, raw, newest=unlocked.copy)
    return replace(unlocked, header=header, notes=())

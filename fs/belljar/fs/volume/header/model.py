"""What a header says, as values: no bytes of the container, no key."""

from __future__ import annotations

from dataclasses import dataclass, replace

from belljar.fs.errors import VolumeRefused

from . import layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One key slot.

    Attributes:
        number: its place, 0 to 31.
        kind: see `slots.kinds`.
        label: what people call it. Anybody who can read the container can read it.
        parameters: what its kind needs to open it.
        wrapped: nonce, encrypted volume key and tag, 60 bytes.
    """

    number: int
    kind: int
    label: str
    parameters: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header: which volume, which state of its slots.

    Attributes:
        volume_id: 16 random bytes.
        generation: counts the changes of the header, from 1.
        created_s: when the volume was made, in seconds since 1970, by the clock of who made it.
        slots: those in use, in order.
    """

    volume_id: bytes
    generation: int
    created_s: int
    slots: tuple[Slot, ...]

    def slot(self, number: int) -> Slot:
        """Return the slot of that number.

        Raises:
            VolumeRefused: it is empty, or there is none.
        """
        for slot in self.slots:
            if slot.number == number:
                return slot
        used = ", ".join(str(slot.number) for slot in self.slots)
        raise VolumeRefused(f"key slot {number} is not in use", hint=f"in use: {used}")

    def free_number(self) -> int:
        """Return the number of the first empty slot.

        Raises:
            VolumeRefused: all are in use.
        """
        used = {slot.number for slot in self.slots}
        for number in range(layout.SLOTS):
            if number not in used:
                return number
        raise VolumeRefused(f"all {layout.SLOTS} key slots are in use", hint="remove one: belljar volume slots")

    def with_slot(self, slot: Slot) -> Header:
        """Return the next header, in which `slot` stands at its number."""
        others = [other for other in self.slots if other.number != slot.number]
        return self._next((*others, slot))

    def without_slot(self, number: int) -> Header:
        """Return the next header, in which that slot is empty."""
        gone = self.slot(number)
        return self._next(tuple(slot for slot in self.slots if slot is not gone))

    def _next(self, slots: tuple[Slot, ...]) -> Header:
        ordered = tuple(sorted(slots, key=lambda slot: slot.number))
        return replace(self, generation=self.generation + 1, slots=ordered)

"""The kinds of slots by number, and the seam of what opens and makes them. Another kind is another row here.

A slot of a kind that is not in the table is carried along, listed as unknown, and opened by nothing: a newer belljar
may have put it there, and the header's MAC says that it was somebody with the volume key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from belljar.fs.errors import VolumeRefused

from . import key_file, passphrase, public_key, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .secret import SecretKey


class Credential(Protocol):
    """What opens slots of its kind."""

    @property
    def kind(self) -> int:
        """Number of that kind."""
        ...

    def open(self, parameters: bytes, binding: bytes) -> SecretKey:
        """Return the key that wraps the volume key in a slot with these parameters.

        Raises:
            CredentialRefused: this credential does not open it.
            VolumeRefused: the slot is malformed.
        """
        ...


class Enrolment(Protocol):
    """What a slot can be made for."""

    @property
    def kind(self) -> int:
        """Number of its kind."""
        ...

    def enroll(self, binding: bytes, random: Callable[[int], bytes]) -> tuple[bytes, SecretKey]:
        """Return parameters of a new slot, and a fresh key that wraps the volume key in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind: its number in the format, its name for people, what opens it, what its parameters say."""

    number: int
    name: str
    credential: str
    describe: Callable[[bytes], str]


KINDS = {
    module.NUMBER: Kind(number=module.NUMBER, name=module.NAME, credential=module.CREDENTIAL, describe=module.describe)
    for module in (passphrase, public_key, key_file, sealed)
}


def kind_name(number: int) -> str:
    """Return the name of a kind, for people."""
    kind = KINDS.get(number)
    return f"unknown kind {number}" if kind is None else kind.name


def credential_name(number: int) -> str:
    """Return what opens slots of a kind, for people."""
    kind = KINDS.get(number)
    return f"credential of kind {number}" if kind is None else kind.credential


def describe(number: int, parameters: bytes) -> str:
    """Return what the parameters of a slot of that kind say.

    Raises:
        VolumeRefused: they are malformed or out of bounds.
    """
    kind = KINDS.get(number)
    return "made by a newer belljar" if kind is None else kind.describe(parameters)


def check_slots(slots: Iterable[tuple[int, bytes]]) -> None:
    """Refuse a header whose slots are malformed, or would cost too much to try.

    Args:
        slots: kind and parameters of each.

    Raises:
        VolumeRefused: one is malformed or out of bounds, or all passphrase slots together are.
    """
    work = 0
    for number, parameters in slots:
        describe(number, parameters)
        if number == passphrase.NUMBER:
            work += passphrase.parse_parameters(parameters)[0].work_kib
    if work > passphrase.MAX_TOTAL_WORK_KIB:
        limit = passphrase.MAX_TOTAL_WORK_KIB
        raise VolumeRefused(f"trying every passphrase slot would work through {work} KiB, expected at most {limit}")

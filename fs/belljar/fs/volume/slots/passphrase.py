"""Slots for a passphrase: Argon2id (RFC 9106) makes each guess cost memory and time.

The cost stands in the slot, so it is bounded here: a header somebody else wrote must not make us use all memory. Wrong
passphrase and changed slot cannot be told apart.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from belljar.fs.errors import VolumeRefused

from .secret import SecretKey

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = 1
NAME = "passphrase"
CREDENTIAL = "passphrase"
_PARAMETERS = Struct("<IIIHH16s")  # memory_kib iterations lanes argon2_version zero salt
_ARGON2_VERSION = 0x13
_SALT_BYTES = 16
_KEY_BYTES = 32
MIN_MEMORY_KIB = 19 * 1024  # OWASP's least for Argon2id
MIN_ITERATIONS = 2
MAX_MEMORY_KIB = 1024 * 1024  # 1 GiB: what a laptop can spare for a second
MAX_ITERATIONS = 64
MAX_LANES = 16
MAX_WORK_KIB = 4 * 1024 * 1024  # memory × iterations of one slot: about 5 s on two cores
MAX_TOTAL_WORK_KIB = 32 * 1024 * 1024  # of all slots of a header: a wrong passphrase tries each
MAX_PASSPHRASE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one guess costs; by default four times the memory of RFC 9106's second choice: 0.9 s on two cores."""

    memory_kib: int = 256 * 1024
    iterations: int = 3
    lanes: int = 4

    @property
    def work_kib(self) -> int:
        """Memory written in all."""
        return self.memory_kib * self.iterations


DEFAULT_COST = Cost()


def check_cost(cost: Cost) -> None:
    """Refuse a cost that is too low to protect, or too high to be meant.

    Raises:
        VolumeRefused: it is out of bounds.
    """
    inside = (
        MIN_MEMORY_KIB <= cost.memory_kib <= MAX_MEMORY_KIB
        and MIN_ITERATIONS <= cost.iterations <= MAX_ITERATIONS
        and 1 <= cost.lanes <= MAX_LANES
        and cost.work_kib <= MAX_WORK_KIB
    )
    if not inside:
        found = f"{cost.memory_kib} KiB × {cost.iterations} iterations, {cost.lanes} lanes"
        allowed = f"{MIN_MEMORY_KIB} to {MAX_MEMORY_KIB} KiB, {MIN_ITERATIONS} to {MAX_ITERATIONS} iterations"
        rest = f"1 to {MAX_LANES} lanes, at most {MAX_WORK_KIB} KiB in all iterations"
        raise VolumeRefused(f"Argon2id cost out of bounds: got {found}, expected {allowed}, {rest}")


def parse_parameters(parameters: bytes) -> tuple[Cost, bytes]:
    """Return cost and salt of a slot.

    Raises:
        VolumeRefused: they are malformed or out of bounds.
    """
    if len(parameters) != _PARAMETERS.size:
        raise VolumeRefused(f"passphrase slot with {len(parameters)} bytes of parameters, expected {_PARAMETERS.size}")
    memory_kib, iterations, lanes, version, zero, salt = _PARAMETERS.unpack(parameters)
    if (version, zero) != (_ARGON2_VERSION, 0):
        raise VolumeRefused(f"passphrase slot of Argon2 version {version}, expected {_ARGON2_VERSION}")
    cost = Cost(memory_kib=memory_kib, iterations=iterations, lanes=lanes)
    check_cost(cost)
    return cost, salt


def describe(parameters: bytes) -> str:
    """Return what a slot's parameters say, for people."""
    cost, _ = parse_parameters(parameters)
    return f"Argon2id, {cost.memory_kib // 1024} MiB, {cost.iterations} iterations, {cost.lanes} lanes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passphrase:
    """A passphrase that opens slots, or for which one is made.

    Attributes:
        secret: its bytes, as `passphrase_bytes` makes them.
        cost: of a slot made with it; opening takes the slot's own.
    """

    secret: bytes = field(repr=False)
    cost: Cost = DEFAULT_COST

    @property
    def kind(self) -> int:
        """The kind of slots it is for."""
        return NUMBER

    def enroll(self, binding: bytes, random: Callable[[int], bytes]) -> tuple[bytes, SecretKey]:  # noqa: ARG002 -- the seam of all kinds
        """Return parameters of a new slot, and the key that wraps in it."""
        check_cost(self.cost)
        _check_secret(self.secret)
        salt = random(_SALT_BYTES)
        cost = self.cost
        parameters = _PARAMETERS.pack(cost.memory_kib, cost.iterations, cost.lanes, _ARGON2_VERSION, 0, salt)
        return parameters, _derive(self.secret, cost, salt)

    def open(self, parameters: bytes, binding: bytes) -> SecretKey:  # noqa: ARG002 -- the seam of all kinds
        """Return the key that wraps in a slot; a wrong one for a wrong passphrase."""
        _check_secret(self.secret)
        return _derive(self.secret, *parse_parameters(parameters))


def passphrase_bytes(text: str) -> bytes:
    """Return a passphrase as bytes: UTF-8 of its NFC form, so that any keyboard gives the same.

    Raises:
        VolumeRefused: it is empty or absurdly long.
    """
    try:
        secret = unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError:
        raise VolumeRefused("the passphrase is not text: it cannot be written in UTF-8") from None
    _check_secret(secret)
    return secret


def _check_secret(secret: bytes) -> None:
    if not secret:
        raise VolumeRefused("the passphrase is empty")
    if len(secret) > MAX_PASSPHRASE_BYTES:
        raise VolumeRefused(f"the passphrase has {len(secret)} bytes, expected at most {MAX_PASSPHRASE_BYTES}")


def _derive(secret: bytes, cost: Cost, salt: bytes) -> SecretKey:
    derivation = Argon2id(
        salt=salt, length=_KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    key = SecretKey(_KEY_BYTES)
    try:
        with key.view() as view:
            derivation.derive_into(secret, view)
    except MemoryError:
        key.close()
        raise VolumeRefused(f"this passphrase slot needs {cost.memory_kib // 1024} MiB of memory to open") from None
    return key

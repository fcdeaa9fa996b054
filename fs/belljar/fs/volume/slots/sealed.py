"""Slots for a sealing key of an enclave: whoever runs as that enclave, on that machine, opens the volume unattended.

The seam is `Sealer`: attestation fills it. What is sealed is a fresh wrapping key, never the volume key itself, so that
a sealer that ignores the purpose it is told still cannot move a slot to another place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from belljar.fs.errors import CredentialRefused, VolumeRefused

from .secret import SecretKey, secret_of

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = 4
NAME = "sealed"
CREDENTIAL = "sealing key"
_KEY_BYTES = 32
MAX_NAME_BYTES = 32
MAX_SEALED_BYTES = 1024


class Sealer(Protocol):
    """Encrypts for an enclave, by a key that only this enclave, or its successor by the same signer, gets again.

    Attributes:
        name: which sealer this is (`soft`, `tpm`…); visible in the slot.
    """

    @property
    def name(self) -> str:
        """Which sealer this is."""
        ...

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """Return `secret`, readable to `unseal` with the same purpose only; at most 1024 bytes."""
        ...

    def unseal(self, sealed: bytes, purpose: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            CredentialRefused: this is another enclave, another machine, or the bytes were changed.
        """
        ...


def parse_parameters(parameters: bytes) -> tuple[str, bytes]:
    """Return name of the sealer and what it sealed.

    Raises:
        VolumeRefused: they are malformed.
    """
    length = parameters[0] if parameters else 0
    name, sealed = parameters[1 : 1 + length], parameters[1 + length :]
    if not 1 <= length <= MAX_NAME_BYTES or len(name) != length or not 1 <= len(sealed) <= MAX_SEALED_BYTES:
        raise VolumeRefused(f"sealed slot with malformed parameters of {len(parameters)} bytes")
    if not name.isascii() or not name.decode("ascii").isprintable():
        raise VolumeRefused(f"sealed slot with the sealer {name!r}, expected printable ASCII")
    return name.decode("ascii"), sealed


def describe(parameters: bytes) -> str:
    """Return what a slot's parameters say, for people."""
    return f"sealed by {parse_parameters(parameters)[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBy:
    """The sealer of the enclave that is to open the volume."""

    sealer: Sealer

    @property
    def kind(self) -> int:
        """The kind of slots it is for."""
        return NUMBER

    def enroll(self, binding: bytes, random: Callable[[int], bytes]) -> tuple[bytes, SecretKey]:
        """Return parameters of a new slot, and the key that wraps in it."""
        secret = random(_KEY_BYTES)
        name = self.sealer.name.encode("ascii")
        parameters = bytes([len(name)]) + name + self.sealer.seal(secret, binding)
        parse_parameters(parameters)
        return parameters, secret_of(secret)

    def open(self, parameters: bytes, binding: bytes) -> SecretKey:
        """Return the key that wraps in a slot.

        Raises:
            CredentialRefused: another sealer, enclave or machine made it, or it was changed.
        """
        name, sealed = parse_parameters(parameters)
        if name != self.sealer.name:
            raise CredentialRefused(f"sealed by {name}, and this is {self.sealer.name}")
        secret = self.sealer.unseal(sealed, binding)
        if len(secret) != _KEY_BYTES:
            raise CredentialRefused(f"unsealing gave {len(secret)} bytes, expected {_KEY_BYTES}")
        return secret_of(secret)

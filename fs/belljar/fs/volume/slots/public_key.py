"""Slots for an owner's public key: HPKE base mode (RFC 9180), for recovery; making one needs no secret of theirs.

Base mode says nothing about who made a slot: the header's MAC does, and only for those who have the volume key already.
So an owner's key alone may open a volume that somebody else put in its place; the freshness anchor is what tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, Suite

from belljar.fs.errors import CredentialRefused, VolumeRefused

from . import owner_keys
from .secret import SecretKey, secret_of

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = 2
NAME = "public-key"
CREDENTIAL = "owner's key"
_PARAMETERS = Struct("<HHHH32s")  # kem kdf aead zero key_id, then encapsulated key and ciphertext
_KDF = 0x0001  # HKDF-SHA256; numbers of the IANA registry of HPKE
_AEAD = 0x0002  # AES-256-GCM
_KEY_BYTES = 32
_TAG_BYTES = 16


def parse_parameters(parameters: bytes) -> tuple[int, bytes, bytes]:
    """Return KEM, key id and ciphertext of a slot.

    Raises:
        VolumeRefused: they are malformed, or of a suite this version does not know.
    """
    if len(parameters) < _PARAMETERS.size:
        raise VolumeRefused(f"public key slot with {len(parameters)} bytes of parameters")
    kem, kdf, aead, zero, key_id = _PARAMETERS.unpack_from(parameters)
    if kem not in owner_keys.NAMES or (kdf, aead, zero) != (_KDF, _AEAD, 0):
        raise VolumeRefused(f"public key slot of the HPKE suite {kem:#06x}, {kdf:#06x}, {aead:#06x}: unknown")
    sealed = parameters[_PARAMETERS.size :]
    expected = owner_keys.ENCAPSULATED_BYTES[kem] + _KEY_BYTES + _TAG_BYTES
    if len(sealed) != expected:
        raise VolumeRefused(f"public key slot with {len(sealed)} bytes of ciphertext, expected {expected}")
    return kem, key_id, sealed


def describe(parameters: bytes) -> str:
    """Return what a slot's parameters say, for people."""
    kem, key_id, _ = parse_parameters(parameters)
    return f"HPKE {owner_keys.NAMES[kem]}, key sha256:{key_id.hex()}"


def _suite(kem: int) -> Suite:
    return Suite(owner_keys.kem_named(kem), KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """An owner for whom a slot is made."""

    key: owner_keys.OwnerPublicKey

    @property
    def kind(self) -> int:
        """The kind of slots it is for."""
        return NUMBER

    def enroll(self, binding: bytes, random: Callable[[int], bytes]) -> tuple[bytes, SecretKey]:
        """Return parameters of a new slot, and the key that wraps in it."""
        secret = random(_KEY_BYTES)
        sealed = _suite(self.key.kem).encrypt(secret, self.key.for_hpke(), binding)
        head = _PARAMETERS.pack(self.key.kem, _KDF, _AEAD, 0, self.key.key_id)
        return head + sealed, secret_of(secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An owner who opens slots made for their key."""

    key: owner_keys.OwnerPrivateKey

    @property
    def kind(self) -> int:
        """The kind of slots it is for."""
        return NUMBER

    def open(self, parameters: bytes, binding: bytes) -> SecretKey:
        """Return the key that wraps in a slot.

        Raises:
            CredentialRefused: it was made for another key, or changed.
        """
        kem, key_id, sealed = parse_parameters(parameters)
        if kem != self.key.kem or key_id != self.key.public.key_id:
            raise CredentialRefused(f"made for the key sha256:{key_id.hex()}")
        try:
            return secret_of(_suite(kem).decrypt(sealed, self.key.for_hpke(), binding))
        except (InvalidTag, ValueError):
            raise CredentialRefused("the slot was changed: it is for this key and does not open") from None

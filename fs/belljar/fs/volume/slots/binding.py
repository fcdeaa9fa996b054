"""What every slot is tied to, and the wrapping of the volume key itself, common to all kinds of slots.

Each kind yields a key of 32 bytes that nothing else is encrypted with; AES-256-GCM under it wraps the volume key, with
the binding and the slot's parameters as associated data. A slot moved to another volume, number, kind or label does not
open.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from belljar.fs.errors import CredentialRefused

from .secret import SecretKey

if TYPE_CHECKING:
    from collections.abc import Callable

_BINDING = Struct("<22s16sHHH")  # domain volume_id slot kind label_bytes, then the label
_DOMAIN = b"belljar volume slot 1\0"
_NONCE_BYTES = 12
KEY_BYTES = 32


def slot_binding(volume_id: bytes, number: int, kind: int, label: bytes) -> bytes:
    """Return the bytes that say where a slot belongs."""
    return _BINDING.pack(_DOMAIN, volume_id, number, kind, len(label)) + label


def wrap(key: SecretKey, under: SecretKey, associated: bytes, random: Callable[[int], bytes]) -> bytes:
    """Return nonce, encrypted key and tag: 60 bytes."""
    nonce = random(_NONCE_BYTES)
    with under.view() as wrapping, key.view() as plain:
        return nonce + AESGCM(wrapping).encrypt(nonce, plain, associated)


def unwrap(wrapped: bytes, under: SecretKey, associated: bytes) -> SecretKey:
    """Return the key in it.

    Raises:
        CredentialRefused: it was wrapped under another key, or changed since: nobody can tell which.
    """
    key = SecretKey(KEY_BYTES)
    try:
        with under.view() as wrapping, key.view() as plain:
            AESGCM(wrapping).decrypt_into(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], associated, plain)
    except InvalidTag:
        key.close()
        raise CredentialRefused("the slot does not open") from None
    return key

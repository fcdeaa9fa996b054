"""Deriving secrets from secrets: HKDF with SHA-512 (RFC 5869), the derivation of the Open Profile for DICE.

In come key material with full entropy, a salt and an info text that says what the result is for; out come bytes. Every
use has an info text of its own: the same bytes never serve two uses.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_BYTES = 255 * 64  # RFC 5869 2.3


def derive(length: int, material: bytes | bytearray | memoryview, salt: bytes, info: bytes) -> bytes:
    """Return `length` bytes: `KDF(length, ikm, salt, info)` in the words of the profile."""
    return HKDF(algorithm=SHA512(), length=length, salt=salt, info=info).derive(material)

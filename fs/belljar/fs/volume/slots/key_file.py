"""Slots for a key file: 32 to 65536 bytes that nobody can guess; HKDF-SHA-256 (RFC 5869) over all of them.

There is no work factor: whoever guesses the file's content has the key. A file of text or a picture is a bad key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from belljar.fs.errors import VolumeRefused

from .secret import SecretKey

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = 3
NAME = "key-file"
CREDENTIAL = "key file"
_SALT_BYTES = 32
_KEY_BYTES = 32
MIN_FILE_BYTES = 32
MAX_FILE_BYTES = 65536


def check_parameters(parameters: bytes) -> None:
    """Refuse parameters that are malformed.

    Raises:
        VolumeRefused: they are.
    """
    if len(parameters) != _SALT_BYTES:
        raise VolumeRefused(f"key file slot with {len(parameters)} bytes of parameters, expected {_SALT_BYTES}")


def describe(parameters: bytes) -> str:
    """Return what a slot's parameters say, for people."""
    check_parameters(parameters)
    return "HKDF-SHA-256"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """The content of a key file."""

    content: bytes = field(repr=False)

    @property
    def kind(self) -> int:
        """The kind of slots it is for."""
        return NUMBER

    def enroll(self, binding: bytes, random: Callable[[int], bytes]) -> tuple[bytes, SecretKey]:
        """Return parameters of a new slot, and the key that wraps in it."""
        salt = random(_SALT_BYTES)
        return salt, self.open(salt, binding)

    def open(self, parameters: bytes, binding: bytes) -> SecretKey:
        """Return the key that wraps in a slot; a wrong one for a wrong file.

        Raises:
            VolumeRefused: the file is too short or too long, or the slot malformed.
        """
        check_parameters(parameters)
        if not MIN_FILE_BYTES <= len(self.content) <= MAX_FILE_BYTES:
            expected = f"{MIN_FILE_BYTES} to {MAX_FILE_BYTES}"
            hint = "make one: head -c 64 /dev/urandom > volume.key"
            raise VolumeRefused(f"the key file has {len(self.content)} bytes, expected {expected}", hint=hint)
        key = SecretKey(_KEY_BYTES)
        with key.view() as view:
            HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=parameters, info=binding).derive_into(self.content, view)
        return key

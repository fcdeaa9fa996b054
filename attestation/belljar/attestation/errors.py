"""What can go wrong in this house, cut by what a caller does about it.

`CborRefused`: bytes are not deterministic CBOR. `KeyRefused`: a key cannot be used; the person gives another one.
`SignatureRefused`: what is signed must not be believed. Importing this costs nothing.
"""

from __future__ import annotations


class AttestationError(Exception):
    """Root of the errors of this house.

    Args:
        message: lower-case fragment that names the thing, what was found and what was expected.
        hint: what the person can do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class CborRefused(AttestationError):
    """The bytes are not CBOR, or not in the one deterministic form."""


class KeyRefused(AttestationError):
    """A key is malformed, of a kind that is not in the table, or not the kind that was asked for."""


class SignatureRefused(AttestationError):
    """A signature does not hold, or what carries it is malformed."""

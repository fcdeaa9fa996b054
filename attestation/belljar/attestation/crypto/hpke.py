"""Encrypting to a public key: HPKE in base mode (RFC 9180), hybrid against quantum computers by default.

    sealed = suite (1) ‖ encapsulated key ‖ ciphertext ‖ tag
    suite 1   X25519, HKDF-SHA-256, AES-256-GCM                      public key 32 bytes, private 32
    suite 2   ML-KEM-768 with X25519 (X-Wing), HKDF-SHA-256, AES-256-GCM     public 1184 + 32, private 64 (seed) + 32

In come keys as bytes, a plaintext and an info text; out comes what only the private key opens, under the same info.
Whoever has the public key can seal: this says nothing about who did. `cryptography` has the primitives; its one-shot
interface makes a fresh key for each message, so no nonce repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from belljar.attestation.errors import KeyRefused, SealRefused

if TYPE_CHECKING:
    from collections.abc import Callable

X25519, HYBRID = 1, 2
DEFAULT = HYBRID
MAX_PLAINTEXT_BYTES = 1 << 20
_SUITES = {
    X25519: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    HYBRID: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}
_MLKEM_PUBLIC, _MLKEM_SEED, _X = 1184, 64, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """A key pair, as bytes.

    Attributes:
        suite: its number.
        public: for whoever seals.
        private: for whoever opens.
    """

    suite: int
    public: bytes
    private: bytes = field(repr=False)


def make_key(random: Callable[[int], bytes], suite: int = DEFAULT) -> SealingKey:
    """Return a new key.

    Raises:
        KeyRefused: there is no such suite.
    """
    seed = random(_MLKEM_SEED if suite == HYBRID else 0) + random(_X)
    exchange = X25519PrivateKey.from_private_bytes(seed[-_X:]).public_key().public_bytes_raw()
    if suite == HYBRID:
        kem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED]).public_key().public_bytes_raw()
        return SealingKey(suite=suite, public=kem + exchange, private=seed)
    _suite(suite)
    return SealingKey(suite=suite, public=exchange, private=seed)


def seal_to(public: bytes, plaintext: bytes, info: bytes, *, suite: int = DEFAULT) -> bytes:
    """Return plaintext that only the private key opens.

    Raises:
        KeyRefused: the key is none of this suite.
        SealRefused: the plaintext is too long.
    """
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise SealRefused(f"{len(plaintext)} bytes to seal, expected at most {MAX_PLAINTEXT_BYTES}")
    return suite.to_bytes(1, "big") + _suite(suite).encrypt(plaintext, _public(suite, public), info)


def open_with(key: SealingKey, sealed: bytes, info: bytes) -> bytes:
    """Return the plaintext of what was sealed to a key.

    Raises:
        KeyRefused: the key is none of its suite.
        SealRefused: it is for another key or suite, under another info, or was changed.
    """
    if sealed[:1] != key.suite.to_bytes(1, "big"):
        raise SealRefused(f"sealed with suite {sealed[:1].hex() or 'none'}, this key is of suite {key.suite}")
    try:
        return _suite(key.suite).decrypt(sealed[1:], _private(key), info)
    except (InvalidTag, ValueError) as error:
        raise SealRefused("sealed to another key, for another use, or changed") from error


def _suite(number: int) -> Suite:
    if number not in _SUITES:
        raise KeyRefused(f"suite {number}, expected one of {', '.join(map(str, _SUITES))}")
    return _SUITES[number]


def _public(suite: int, content: bytes) -> X25519PublicKey | MLKEM768X25519PublicKey:
    try:
        if suite == HYBRID:
            kem = MLKEM768PublicKey.from_public_bytes(content[:_MLKEM_PUBLIC])
            return MLKEM768X25519PublicKey(kem, X25519PublicKey.from_public_bytes(content[_MLKEM_PUBLIC:]))
        return X25519PublicKey.from_public_bytes(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"not a public key of suite {suite}: {error}") from error


def _private(key: SealingKey) -> X25519PrivateKey | MLKEM768X25519PrivateKey:
    try:
        if key.suite == HYBRID:
            kem = MLKEM768PrivateKey.from_seed_bytes(key.private[:_MLKEM_SEED])
            return MLKEM768X25519PrivateKey(kem, X25519PrivateKey.from_private_bytes(key.private[_MLKEM_SEED:]))
        return X25519PrivateKey.from_private_bytes(key.private)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"not a private key of suite {key.suite}: {error}") from error

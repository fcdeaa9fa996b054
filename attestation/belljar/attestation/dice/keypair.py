"""Keys that follow from a secret, and the identifiers that follow from keys (Open Profile for DICE).

    seed = KDF(32, secret, ASYM_SALT, "Key Pair")      Ed25519, ML-DSA-65: the seed is the private key
                                                       P-256, P-384: an HMAC_DRBG with SHA-512 over the seed picks it
    id   = KDF(20, public key, ID_SALT, "ID")          20 bytes, highest bit cleared: a positive serial number

Every algorithm of the table is deterministic here; one that is not cannot be a layer's. Checked against the vectors of
the profile's own implementation. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from belljar.attestation.algorithms import ALGORITHMS
from belljar.attestation.crypto.kdf import derive
from belljar.attestation.errors import KeyRefused
from belljar.attestation.keys import PublicKey, SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_ASYM_SALT = bytes.fromhex(  # printed in the profile, section "Salt", as is the next
    "63b6a04d2c077fc10f639f21da793844356cc2b0b441b3a77124035c03f8e1be"
    "6035d31f282821a7450a02222ab1b3cff1679b05ab1ca5d1affb789ccd2b0b3b"
)
_ID_SALT = bytes.fromhex(
    "dbdbaebc8020da9ff0dd5a24c83aa5a54286dfc263031e329b4da148430659fe"
    "62cdb5b7e1e00fc680306711eb444af77209359496fcff1db9520ba51c7b29ea"
)
ID_BYTES = 20


def key_pair(algorithm: str, secret: bytes | memoryview) -> SigningKey:
    """Return the key that follows from a secret.

    Args:
        algorithm: its name in the table of algorithms.
        secret: a UDS or a CDI_Attest.

    Raises:
        KeyRefused: no key of this algorithm can be derived.
    """
    private = _private(algorithm, derive(32, secret, _ASYM_SALT, b"Key Pair"))
    return SigningKey(public=PublicKey(algorithm=ALGORITHMS[algorithm], key=private.public_key()), private=private)


def _private(algorithm: str, seed: bytes) -> PrivateKeyTypes:
    match algorithm:
        case "ed25519":
            return Ed25519PrivateKey.from_private_bytes(seed)
        case "ml-dsa-65":
            return MLDSA65PrivateKey.from_seed_bytes(seed)
        case "es256":
            return ec.derive_private_key(_scalar(seed, _P256_ORDER, 32), ec.SECP256R1())
        case "es384":
            return ec.derive_private_key(_scalar(seed, _P384_ORDER, 48), ec.SECP384R1())
        case _:
            raise KeyRefused(f"no key of algorithm {algorithm} can be derived", hint="ed25519 is the default")


_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2 2.4.2, 2.5.1
_P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)


def _scalar(seed: bytes, order: int, size: int) -> int:
    """Return the first number below the order that RFC 6979's generator (3.2 b to h) gives for a seed."""
    k, v = bytes(64), b"\x01" * 64
    for step in (b"\x00", b"\x01"):
        k = _hmac(k, v + step + seed)
        v = _hmac(k, v)
    while True:
        v = _hmac(k, v)  # 64 bytes are enough for either curve at once
        candidate = int.from_bytes(v[:size], "big")
        if 0 < candidate < order:
            return candidate
        k = _hmac(k, v + b"\x00")
        v = _hmac(k, v)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha512)


def key_id(public: PublicKey) -> bytes:
    """Return the 20 bytes by which certificates name a key."""
    raw = _raw(public)
    found = derive(ID_BYTES, raw, _ID_SALT, b"ID")
    return bytes((found[0] & 0x7F,)) + found[1:]


def _raw(public: PublicKey) -> bytes:
    if isinstance(public.key, ec.EllipticCurvePublicKey):
        return public.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    return public.key.public_bytes(Encoding.Raw, PublicFormat.Raw)

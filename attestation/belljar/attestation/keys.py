"""Door: keys that sign, as people keep them (PEM), and the signer id that names one (IEEE 2952 7.2.3 b).

The **signer id** is the SHA-256 of the DER SubjectPublicKeyInfo (RFC 5280 4.1): what SGX calls MRSIGNER, and what
`openssl pkey -pubout -outform DER | sha256sum` prints. Private keys are PKCS #8 (RFC 5958), not encrypted. Pure: files
are the caller's business, and so is who may read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from .algorithms import ALGORITHMS, Algorithm, algorithm_of
from .errors import KeyRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

SignerId = NewType("SignerId", bytes)
MAX_PEM_BYTES = 64 * 1024  # RSA keys of 16 384 bits have 13 KiB; no kind of key is larger
DEFAULT_ALGORITHM = "ed25519"
ALGORITHM_NAMES = tuple(ALGORITHMS)

__all__ = [
    "ALGORITHM_NAMES",
    "DEFAULT_ALGORITHM",
    "MAX_PEM_BYTES",
    "PublicKey",
    "SignerId",
    "SigningKey",
    "generate",
    "load_private",
    "load_public",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """Somebody who signs."""

    algorithm: Algorithm
    key: PublicKeyTypes

    @property
    def signer(self) -> SignerId:
        """The signer id."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return SignerId(hashlib.sha256(der).digest())

    def pem(self) -> bytes:
        """Return the key as it is given to others."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key, and the public one that belongs to it."""

    public: PublicKey
    private: PrivateKeyTypes

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return self.public.algorithm.sign(self.private, message)

    def pem(self) -> bytes:
        """Return the private key as it is kept: PKCS #8, not encrypted."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def generate(name: str = DEFAULT_ALGORITHM) -> SigningKey:
    """Return a new key.

    Raises:
        KeyRefused: there is no such algorithm.
    """
    if name not in ALGORITHMS:
        raise KeyRefused(f"unknown algorithm {name}, expected one of {', '.join(ALGORITHMS)}")
    return _signing(ALGORITHMS[name].generate())


def _signing(private: PrivateKeyTypes) -> SigningKey:
    public = private.public_key()
    return SigningKey(public=PublicKey(algorithm=algorithm_of(public), key=public), private=private)


def load_private(pem: bytes) -> SigningKey:
    """Return the private key in a PEM file.

    Raises:
        KeyRefused: it is none, is encrypted, or is of a kind we do not sign with.
    """
    if b"PUBLIC KEY" in pem:
        raise KeyRefused("a public key, expected a private one: it is what signs")
    try:
        return _signing(load_pem_private_key(pem, password=None))
    except TypeError as error:
        hint = "take the passphrase off with: openssl pkey -in KEY.pem -out PLAIN.pem"
        raise KeyRefused("an encrypted private key, expected one without passphrase", hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("not a private key in PEM (PKCS #8)", hint="belljar keygen makes one") from error


def load_public(pem: bytes) -> PublicKey:
    """Return the public key in a PEM file, which may also hold the private one.

    Raises:
        KeyRefused: there is none, or it is of a kind we do not verify with.
    """
    if b"PRIVATE KEY" in pem:
        return load_private(pem).public
    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("not a key in PEM", hint="expected the file that belljar keygen calls .pub.pem") from error
    return PublicKey(algorithm=algorithm_of(public), key=public)

"""Keys of a volume's owner, for slots that need no secret to be made: X25519, and X25519 with ML-KEM-768 (X-Wing).

In and out come PEM files: PKCS #8 for private keys, SubjectPublicKeyInfo for public ones (RFC 8410; for the hybrid,
draft-connolly-cfrg-xwing-kem, whose private key is a seed of 32 bytes). The hybrid holds as long as one half does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from belljar.fs.errors import VolumeRefused

if TYPE_CHECKING:
    from collections.abc import Callable

X25519 = 0x0020  # numbers of the IANA registry of HPKE KEMs
XWING = 0x647A
NAMES = {X25519: "x25519", XWING: "mlkem768-x25519"}
PUBLIC_BYTES = {X25519: 32, XWING: 1216}
ENCAPSULATED_BYTES = {X25519: 32, XWING: 1120}
SEED_BYTES = 32
MAX_PEM_BYTES = 16384
_MLKEM_PUBLIC_BYTES = 1184

# DER around the fixed-length keys: SEQUENCE, algorithm identifier, then OCTET STRING or BIT STRING.
_OID = {X25519: bytes.fromhex("300506032b656e"), XWING: bytes.fromhex("300d060b2b0601040183e62d81c87a")}
_PRIVATE = {
    X25519: bytes.fromhex("302e020100") + _OID[X25519] + bytes.fromhex("04220420"),
    XWING: bytes.fromhex("3034020100") + _OID[XWING] + bytes.fromhex("0420"),
}
_PUBLIC = {
    X25519: bytes.fromhex("302a") + _OID[X25519] + bytes.fromhex("032100"),
    XWING: bytes.fromhex("308204d4") + _OID[XWING] + bytes.fromhex("038204c100"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPublicKey:
    """A public key of an owner.

    Attributes:
        kem: X25519 or XWING.
        raw: its bytes: X25519's 32, or ML-KEM's 1184 and then X25519's.
    """

    kem: int
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256 of its SubjectPublicKeyInfo; what `openssl pkey -pubin -outform DER | sha256sum` says."""
        return hashlib.sha256(_PUBLIC[self.kem] + self.raw).digest()

    def pem(self) -> bytes:
        """Return it as SubjectPublicKeyInfo in PEM."""
        return _pem(_PUBLIC[self.kem] + self.raw, "PUBLIC KEY")

    def for_hpke(self) -> X25519PublicKey | MLKEM768X25519PublicKey:
        """Return it as the library wants it.

        Raises:
            VolumeRefused: it is no valid key, or OpenSSL here has no ML-KEM.
        """
        try:
            if self.kem == X25519:
                return X25519PublicKey.from_public_bytes(self.raw)
            first = MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC_BYTES])
            second = X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_BYTES:])
            return MLKEM768X25519PublicKey(first, second)
        except ValueError as error:
            raise VolumeRefused(f"the owner's public key is not valid: {error}") from error
        except UnsupportedAlgorithm as error:
            raise _no_mlkem() from error


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPrivateKey:
    """A private key of an owner: X25519's own bytes, or the seed of X-Wing."""

    kem: int
    seed: bytes = field(repr=False)

    @property
    def public(self) -> OwnerPublicKey:
        """The public key that belongs to it."""
        if self.kem == X25519:
            raw = X25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        else:
            first, second = _expand(self.seed)
            raw = first.public_key().public_bytes_raw() + second.public_key().public_bytes_raw()
        return OwnerPublicKey(kem=self.kem, raw=raw)

    def pem(self) -> bytes:
        """Return it as PKCS #8 in PEM, not encrypted."""
        return _pem(_PRIVATE[self.kem] + self.seed, "PRIVATE KEY")

    def for_hpke(self) -> X25519PrivateKey | MLKEM768X25519PrivateKey:
        """Return it as the library wants it."""
        if self.kem == X25519:
            return X25519PrivateKey.from_private_bytes(self.seed)
        return MLKEM768X25519PrivateKey(*_expand(self.seed))


def generate_owner_key(random: Callable[[int], bytes], kem: int = XWING) -> OwnerPrivateKey:
    """Make an owner's key."""
    return OwnerPrivateKey(kem=kem, seed=random(SEED_BYTES))


def load_owner_public(pem: bytes) -> OwnerPublicKey:
    """Return the public key in a PEM file.

    Raises:
        VolumeRefused: it holds none that slots can be made for.
    """
    der = _unpem(pem, "PUBLIC KEY")
    for kem, prefix in _PUBLIC.items():
        if der.startswith(prefix) and len(der) == len(prefix) + PUBLIC_BYTES[kem]:
            key = OwnerPublicKey(kem=kem, raw=der[len(prefix) :])
            key.for_hpke()
            return key
    raise VolumeRefused("the public key is of another kind, expected X25519 or ML-KEM-768 with X25519")


def load_owner_private(pem: bytes, password: bytes | None = None) -> OwnerPrivateKey:
    """Return the private key in a PEM file; X25519 may be encrypted with a password.

    Raises:
        VolumeRefused: it holds none that slots can be opened with, or the password is wrong.
    """
    if b"BEGIN ENCRYPTED PRIVATE KEY" in pem[:MAX_PEM_BYTES]:
        return _decrypted(pem, password)
    der = _unpem(pem, "PRIVATE KEY")
    for kem, prefix in _PRIVATE.items():
        if der.startswith(prefix) and len(der) == len(prefix) + SEED_BYTES:
            return OwnerPrivateKey(kem=kem, seed=der[len(prefix) :])
    raise VolumeRefused("the private key is of another kind, expected X25519 or ML-KEM-768 with X25519")


def kem_named(kem: int) -> KEM:
    """Return the library's name of a KEM."""
    return KEM.X25519 if kem == X25519 else KEM.MLKEM768_X25519


def _decrypted(pem: bytes, password: bytes | None) -> OwnerPrivateKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # a tenth of a mount's imports

    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise VolumeRefused(f"the private key cannot be decrypted: {error}") from error
    if not isinstance(key, X25519PrivateKey):
        raise VolumeRefused("the encrypted private key is of another kind, expected X25519")
    return OwnerPrivateKey(kem=X25519, seed=key.private_bytes_raw())


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    long = hashlib.shake_256(seed).digest(96)  # draft-connolly-cfrg-xwing-kem 5.2: d, z of ML-KEM, then X25519
    try:
        return MLKEM768PrivateKey.from_seed_bytes(long[:64]), X25519PrivateKey.from_private_bytes(long[64:])
    except UnsupportedAlgorithm as error:
        raise _no_mlkem() from error


def _no_mlkem() -> VolumeRefused:
    return VolumeRefused(
        "the cryptography library here has no ML-KEM", hint="install its wheel: pip install cryptography"
    )


def _pem(der: bytes, what: str) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {what}-----", *lines, f"-----END {what}-----", ""]).encode()


def _unpem(pem: bytes, what: str) -> bytes:
    lines = pem[:MAX_PEM_BYTES].decode("ascii", "replace").split()
    text = " ".join(lines)
    begin, end = f"-----BEGIN {what}-----", f"-----END {what}-----"
    if not text.startswith(begin) or not text.endswith(end):
        raise VolumeRefused(f"not a PEM file with one {what.lower()}")
    try:
        return base64.b64decode(text[len(begin) : -len(end)].replace(" ", ""), validate=True)
    except binascii.Error:
        raise VolumeRefused(f"the {what.lower()} is not in base64") from None

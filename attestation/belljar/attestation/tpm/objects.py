"""Public areas: the templates of the keys that are asked for, and what a TPM's answer says of a key (part 2, 12.2).

    EK   endorsement key, P-256: TCG EK Credential Profile 2.5, template L-2; its policy is PolicySecret(endorsement)
    AK   attestation key, P-256, ECDSA with SHA-256, restricted: it signs nothing but what the TPM itself says
    SRK  storage key, P-256: TCG TPM 2.0 Provisioning Guidance, with noDA
    sealed data, whose policy is given

AK and SRK carry noDA: a TPM that was cut from power without Shutdown must not lock them. In come public areas; out come
names and keys. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from belljar.attestation.errors import PlatformRefused

from .codes import AES, CFB, ECC, ECDSA, KEYEDHASH, NO_ALGORITHM, P256, RSA, SHA256, Attribute
from .wire import Reader, sized, u16, u32

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_FIXED = Attribute.FIXED_TPM | Attribute.FIXED_PARENT
_MADE_HERE = _FIXED | Attribute.SENSITIVE_DATA_ORIGIN
_AES_128_CFB = u16(AES) + u16(128) + u16(CFB)
_EXPONENT = 65537


def _p256(attributes: int, policy: bytes, symmetric: bytes, scheme: bytes, unique: tuple[bytes, bytes]) -> bytes:
    parameters = symmetric + scheme + u16(P256) + u16(NO_ALGORITHM)
    return u16(ECC) + u16(SHA256) + u32(attributes) + sized(policy) + parameters + sized(unique[0]) + sized(unique[1])


_NONE = u16(NO_ALGORITHM)
EK_TEMPLATE = _p256(
    _MADE_HERE | Attribute.ADMIN_WITH_POLICY | Attribute.RESTRICTED | Attribute.DECRYPT,
    _EK_POLICY, _AES_128_CFB, _NONE, (bytes(32), bytes(32)),
)  # fmt: skip
AK_TEMPLATE = _p256(
    _MADE_HERE | Attribute.USER_WITH_AUTH | Attribute.NO_DA | Attribute.RESTRICTED | Attribute.SIGN,
    b"", _NONE, u16(ECDSA) + u16(SHA256), (hashlib.sha256(b"belljar.ak/1").digest(), b""),
)  # fmt: skip
SRK_TEMPLATE = _p256(
    _MADE_HERE | Attribute.USER_WITH_AUTH | Attribute.NO_DA | Attribute.RESTRICTED | Attribute.DECRYPT,
    b"", _AES_128_CFB, _NONE, (b"", b""),
)  # fmt: skip


def sealed_template(policy: bytes) -> bytes:
    """Return the public area of sealed data: only who satisfies the policy can unseal it."""
    attributes = _FIXED | Attribute.NO_DA
    return u16(KEYEDHASH) + u16(SHA256) + u32(attributes) + sized(policy) + u16(NO_ALGORITHM) + sized(b"")


def name_of(public: bytes) -> bytes:
    """Return the name of an object: its hash's number and the digest of its public area (part 1, 16)."""
    if public[2:4] != u16(SHA256):
        raise PlatformRefused("an object whose names are not made with SHA-256")
    return u16(SHA256) + hashlib.sha256(public).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPublic:
    """A key in a TPM.

    Attributes:
        key: its public key.
        attributes: what it may do.
        symmetric_bits: of the AES that protects what is under it; 0 where there is none.
    """

    key: PublicKeyTypes
    attributes: int
    symmetric_bits: int


def parse_public(public: bytes) -> ParsedPublic:
    """Return what a public area says of an RSA or P-256 key.

    Raises:
        PlatformRefused: it is malformed, or of another kind.
    """
    reader = Reader(public)
    kind, name_hash, attributes = reader.number(2), reader.number(2), reader.number(4)
    reader.sized()
    if kind not in (RSA, ECC) or name_hash != SHA256:
        raise PlatformRefused(f"a key of type 0x{kind:x} and name hash 0x{name_hash:x}, expected RSA or ECC, SHA-256")
    bits = _symmetric(reader)
    if reader.number(2) != NO_ALGORITHM:
        reader.number(2)  # the scheme's hash
    try:
        key = _rsa(reader) if kind == RSA else _ecc(reader)
    except ValueError as error:
        raise PlatformRefused(f"the TPM's key cannot be read: {error}") from error
    reader.end()
    return ParsedPublic(key=key, attributes=attributes, symmetric_bits=bits)


def _symmetric(reader: Reader) -> int:
    algorithm = reader.number(2)
    if algorithm == NO_ALGORITHM:
        return 0
    bits, mode = reader.number(2), reader.number(2)
    if (algorithm, mode) != (AES, CFB) or bits not in (128, 256):
        raise PlatformRefused("a key whose children are not protected with AES-128 or AES-256")
    return bits


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4)
    modulus = reader.sized()
    if bits < 2048 or len(modulus) * 8 != bits:
        raise PlatformRefused(f"an RSA key of {bits} bits, expected at least 2048")
    return rsa.RSAPublicNumbers(exponent or _EXPONENT, int.from_bytes(modulus, "big")).public_key()


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve, kdf = reader.number(2), reader.number(2)
    if (curve, kdf) != (P256, NO_ALGORITHM):
        raise PlatformRefused(f"a key on curve 0x{curve:x}, expected P-256")
    x, y = (int.from_bytes(reader.sized(), "big") for _ in range(2))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()

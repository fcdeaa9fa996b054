"""Signature algorithms as a table by name: how each makes keys, signs, verifies, and writes its public key down.

In come keys of `cryptography` and bytes; out come signatures as COSE has them (RFC 9053 2) and public keys as COSE_Key
(RFC 9052 7). To add an algorithm, add a row: formats carry its number, and nothing else names it (IEEE 2952 7.6.2 b).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .errors import KeyRefused, SignatureRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    from .cbor import Cbor

_KTY, _CRV, _X, _Y = 1, -1, -2, -3  # labels of a COSE_Key: RFC 9053 7.1, 7.2
_KEY_ALG, _AKP_PUB = 3, -1  # RFC 9052 7.1, RFC 9964 3
_OKP, _EC2, _AKP = 1, 2, 7


class Algorithm(Protocol):
    """One way to sign.

    Attributes:
        name: what people call it.
        identifier: its number in the IANA registry of COSE algorithms, as we write it.
        accepted: every number it is read under.
    """

    @property
    def name(self) -> str: ...
    @property
    def identifier(self) -> int: ...
    @property
    def accepted(self) -> frozenset[int]: ...

    def generate(self) -> PrivateKeyTypes:
        """Return a new private key."""
        ...

    def fits(self, public: PublicKeyTypes) -> bool:
        """Say whether a key is of this algorithm."""
        ...

    def sign(self, private: PrivateKeyTypes, message: bytes) -> bytes:
        """Return the signature of a message."""
        ...

    def verify(self, public: PublicKeyTypes, signature: bytes, message: bytes) -> None:
        """Return if the signature is of this message and key; raise SignatureRefused otherwise."""
        ...

    def to_cose(self, public: PublicKeyTypes) -> dict[int | str, Cbor]:
        """Return a public key as COSE_Key."""
        ...

    def from_cose(self, key: dict[int | str, Cbor]) -> PublicKeyTypes:
        """Return the public key in a COSE_Key; raise KeyRefused if it is none of this algorithm."""
        ...


class _Ed25519:
    """EdDSA over Curve25519 (RFC 8032): -19 since RFC 9864, before that -8, which left the curve open."""

    name = "ed25519"
    identifier = -19
    accepted = frozenset({-19, -8})
    _curve = 6

    def generate(self) -> PrivateKeyTypes:
        return Ed25519PrivateKey.generate()

    def fits(self, public: PublicKeyTypes) -> bool:
        return isinstance(public, Ed25519PublicKey)

    def sign(self, private: PrivateKeyTypes, message: bytes) -> bytes:
        assert isinstance(private, Ed25519PrivateKey)  # noqa: S101 - ours: the table was asked by the key
        return private.sign(message)

    def verify(self, public: PublicKeyTypes, signature: bytes, message: bytes) -> None:
        assert isinstance(public, Ed25519PublicKey)  # noqa: S101 - ours, as above
        try:
            public.verify(signature, message)
        except InvalidSignature as error:
            raise SignatureRefused("the signature does not match what is signed") from error

    def to_cose(self, public: PublicKeyTypes) -> dict[int | str, Cbor]:
        return {_KTY: _OKP, _CRV: self._curve, _X: public.public_bytes(Encoding.Raw, PublicFormat.Raw)}

    def from_cose(self, key: dict[int | str, Cbor]) -> PublicKeyTypes:
        x = key.get(_X)
        if not isinstance(x, bytes) or key != {_KTY: _OKP, _CRV: self._curve, _X: x}:
            raise KeyRefused(f"the signer's key is not one of {self.name}")
        try:
            return Ed25519PublicKey.from_public_bytes(x)
        except ValueError as error:
            raise KeyRefused(f"the signer's key is not one of {self.name}: {error}") from error


class _Ecdsa:
    """ECDSA with one curve and one hash (RFC 9053 2.1; the second number is RFC 9864's, which names the curve)."""

    def __init__(self, name: str, numbers: tuple[int, int], curve: ec.EllipticCurve, number: int) -> None:
        self.name = name
        self.identifier = numbers[0]
        self.accepted = frozenset(numbers)
        self._curve = curve
        self._number = number
        self._hash: hashes.HashAlgorithm = hashes.SHA256() if curve.key_size == 256 else hashes.SHA384()
        self._size = curve.key_size // 8

    def generate(self) -> PrivateKeyTypes:
        return ec.generate_private_key(self._curve)

    def fits(self, public: PublicKeyTypes) -> bool:
        return isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == self._curve.name

    def sign(self, private: PrivateKeyTypes, message: bytes) -> bytes:
        assert isinstance(private, ec.EllipticCurvePrivateKey)  # noqa: S101 - ours: the table was asked by the key
        r, s = decode_dss_signature(private.sign(message, ec.ECDSA(self._hash)))
        return r.to_bytes(self._size, "big") + s.to_bytes(self._size, "big")

    def verify(self, public: PublicKeyTypes, signature: bytes, message: bytes) -> None:
        assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101 - ours, as above
        if len(signature) != 2 * self._size:
            raise SignatureRefused(f"the signature has {len(signature)} bytes, expected {2 * self._size}")
        r, s = (int.from_bytes(half, "big") for half in (signature[: self._size], signature[self._size :]))
        try:
            public.verify(encode_dss_signature(r, s), message, ec.ECDSA(self._hash))
        except InvalidSignature as error:
            raise SignatureRefused("the signature does not match what is signed") from error

    def to_cose(self, public: PublicKeyTypes) -> dict[int | str, Cbor]:
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {_KTY: _EC2, _CRV: self._number, _X: point[1 : 1 + self._size], _Y: point[1 + self._size :]}

    def from_cose(self, key: dict[int | str, Cbor]) -> PublicKeyTypes:
        x, y = key.get(_X), key.get(_Y)
        wanted = {_KTY: _EC2, _CRV: self._number, _X: x, _Y: y}
        if not isinstance(x, bytes) or not isinstance(y, bytes) or len(x) != self._size or key != wanted:
            raise KeyRefused(f"the signer's key is not one of {self.name}")
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, b"\x04" + x + y)
        except ValueError as error:
            raise KeyRefused(f"the signer's key is not one of {self.name}: {error}") from error


class _MlDsa65:
    """ML-DSA-65 (FIPS 204), against quantum computers; a key of COSE type AKP names its algorithm (RFC 9964)."""

    name = "ml-dsa-65"
    identifier = -49
    accepted = frozenset({-49})

    def generate(self) -> PrivateKeyTypes:
        return MLDSA65PrivateKey.generate()

    def fits(self, public: PublicKeyTypes) -> bool:
        return isinstance(public, MLDSA65PublicKey)

    def sign(self, private: PrivateKeyTypes, message: bytes) -> bytes:
        assert isinstance(private, MLDSA65PrivateKey)  # noqa: S101 - ours: the table was asked by the key
        return private.sign(message)

    def verify(self, public: PublicKeyTypes, signature: bytes, message: bytes) -> None:
        assert isinstance(public, MLDSA65PublicKey)  # noqa: S101 - ours, as above
        try:
            public.verify(signature, message)
        except InvalidSignature as error:
            raise SignatureRefused("the signature does not match what is signed") from error

    def to_cose(self, public: PublicKeyTypes) -> dict[int | str, Cbor]:
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {_KTY: _AKP, _KEY_ALG: self.identifier, _AKP_PUB: raw}

    def from_cose(self, key: dict[int | str, Cbor]) -> PublicKeyTypes:
        raw = key.get(_AKP_PUB)
        if not isinstance(raw, bytes) or key != {_KTY: _AKP, _KEY_ALG: self.identifier, _AKP_PUB: raw}:
            raise KeyRefused(f"the signer's key is not one of {self.name}")
        try:
            return MLDSA65PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise KeyRefused(f"the signer's key is not one of {self.name}: {error}") from error


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        _Ed25519(),
        _Ecdsa("es256", (-7, -9), ec.SECP256R1(), 1),
        _Ecdsa("es384", (-35, -51), ec.SECP384R1(), 2),
        _MlDsa65(),
    )
}


def algorithm_of(public: PublicKeyTypes) -> Algorithm:
    """Return the algorithm of a key.

    Raises:
        KeyRefused: there is none in the table.
    """
    for algorithm in ALGORITHMS.values():
        if algorithm.fits(public):
            return algorithm
    found = type(public).__name__.removesuffix("PublicKey")
    if isinstance(public, ec.EllipticCurvePublicKey):
        found = f"{found} {public.curve.name}"
    raise KeyRefused(
        f"a key of kind {found}, expected one for {', '.join(ALGORITHMS)}", hint="belljar keygen makes one"
    )


def algorithm_numbered(identifier: object) -> Algorithm:
    """Return the algorithm with a COSE number.

    Raises:
        SignatureRefused: there is none in the table.
    """
    for algorithm in ALGORITHMS.values():
        if not isinstance(identifier, bool) and identifier in algorithm.accepted:
            return algorithm
    raise SignatureRefused(f"signed with algorithm {identifier!r}, expected one of {', '.join(ALGORITHMS)}")

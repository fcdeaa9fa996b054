"""TPMT_SIGNATURE, and whether it holds (TPM 2.0 Library part 2, 11.3.4).

    scheme u16: 0014 RSASSA, 0016 RSAPSS, 0018 ECDSA    hash u16: 000b, 000c, 000d    then
    RSA: u16 size and the signature        ECDSA: u16 size and r, u16 size and s

SHA-1 and short RSA keys are refused. In come bytes and a public key; out comes the name of the hash, or
`EvidenceRefused`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.fields import Fields

from .attest import HASHES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MAX_SIGNATURE_BYTES = 1024
_MAX_RSA_BYTES = 512
_MAX_NUMBER_BYTES = 48
_MIN_RSA_BITS = 2048
_RSASSA, _RSAPSS, _ECDSA = 0x0014, 0x0016, 0x0018
_WHAT = "TPM signature"
_CLASSES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def verify_signature(key: PublicKeyTypes, content: bytes, message: bytes) -> str:
    """Return the hash that was signed with, once the signature has held.

    Args:
        key: RSA of 2048 bits and more, P-256 or P-384.
        content: TPMT_SIGNATURE.
        message: TPMS_ATTEST.

    Raises:
        EvidenceRefused: the signature is malformed, of another kind than the key, or does not hold.
    """
    if len(content) > MAX_SIGNATURE_BYTES:
        raise EvidenceRefused(f"{_WHAT}: got {len(content)} bytes, expected at most {MAX_SIGNATURE_BYTES}")
    fields = Fields(content, _WHAT, "big")
    scheme, number = fields.number(2, "scheme"), fields.number(2, "hash")
    if number not in HASHES:
        raise EvidenceRefused(f"{_WHAT}: got hash {number:#06x}, expected SHA-256, SHA-384 or SHA-512")
    name = HASHES[number]
    try:
        if scheme == _ECDSA:
            _verify_ecdsa(key, fields, message, name)
        else:
            _verify_rsa(key, scheme, fields, message, name)
    except InvalidSignature as error:
        raise EvidenceRefused(f"{_WHAT}: does not hold, expected one by the attestation key") from error
    return name


def _verify_ecdsa(key: PublicKeyTypes, fields: Fields, message: bytes, name: str) -> None:
    r, s = fields.sized(2, _MAX_NUMBER_BYTES, "r"), fields.sized(2, _MAX_NUMBER_BYTES, "s")
    fields.end()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        raise EvidenceRefused(f"{_WHAT}: got ECDSA with a key that is not P-256 or P-384")
    encoded = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    key.verify(encoded, message, ec.ECDSA(_CLASSES[name]()))


def _verify_rsa(key: PublicKeyTypes, scheme: int, fields: Fields, message: bytes, name: str) -> None:
    if scheme not in (_RSASSA, _RSAPSS):
        raise EvidenceRefused(f"{_WHAT}: got scheme {scheme:#06x}, expected RSASSA, RSAPSS or ECDSA")
    signature = fields.sized(2, _MAX_RSA_BYTES, "signature")
    fields.end()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        raise EvidenceRefused(f"{_WHAT}: got RSA with a key that is not RSA of {_MIN_RSA_BITS} bits and more")
    algorithm = _CLASSES[name]()
    if scheme == _RSASSA:
        key.verify(signature, message, padding.PKCS1v15(), algorithm)
    else:
        pss = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.AUTO)  # TPMs use the longest that fits
        key.verify(signature, message, pss, algorithm)

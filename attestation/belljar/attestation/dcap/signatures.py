"""P-256 signatures and keys as Intel writes them: two numbers of 32 bytes, big endian, one behind the other. Pure."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from belljar.attestation.errors import EvidenceRefused

_SIZE = 32


def holds(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Say whether r‖s is the signature of a message."""
    if len(signature) != 2 * _SIZE:
        return False
    r, s = int.from_bytes(signature[:_SIZE], "big"), int.from_bytes(signature[_SIZE:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def public_key(raw: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key x‖y.

    Raises:
        EvidenceRefused: it is no point of the curve.
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError as error:
        raise EvidenceRefused("quote: the attestation key is no point of P-256") from error

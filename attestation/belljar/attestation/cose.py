"""Door: sign bytes and verify them, as COSE_Sign1 (RFC 9052 4.2) that brings its signer's public key with it.

    18([ protected, {}, payload, signature ])        protected = bstr of a map:
        1 alg           number of the algorithm, see algorithms.py
        3 content type  what the payload is: a signature over one kind of thing can be taken for no other
        4 kid           the signer id, 32 bytes
       14 kccs          {8 (cnf): {1 (COSE_Key): the public key}}: RFC 9528, RFC 8747

Everything is deterministic CBOR, and read as strictly: no other header, nothing unprotected, the payload inside.
Whether the signer is the right one is for the caller to say: anybody can sign. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from .algorithms import algorithm_numbered
from .cbor import Cbor, Tagged, decode, encode
from .errors import AttestationError, CborRefused, KeyRefused, SignatureRefused
from .keys import PublicKey, SigningKey

_SIGN1 = 18
_ALG, _CONTENT_TYPE, _KID, _KCCS = 1, 3, 4, 14
_CNF, _COSE_KEY = 8, 1
MAX_OVERHEAD_BYTES = 8192  # headers and signature: ES384 needs 380, ML-DSA-65 5 350

__all__ = ["MAX_OVERHEAD_BYTES", "AttestationError", "KeyRefused", "SignatureRefused", "Signed", "sign", "verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What was signed, and by whom."""

    payload: bytes
    key: PublicKey


def sign(payload: bytes, key: SigningKey, content_type: str) -> bytes:
    """Return a COSE_Sign1 of `payload`."""
    public = key.public
    protected = encode(
        {
            _ALG: public.algorithm.identifier,
            _CONTENT_TYPE: content_type,
            _KID: bytes(public.signer),
            _KCCS: {_CNF: {_COSE_KEY: public.algorithm.to_cose(public.key)}},
        }
    )
    signature = key.sign(_to_be_signed(protected, payload))
    return encode(Tagged(tag=_SIGN1, value=[protected, {}, payload, signature]))


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    return encode(["Signature1", protected, b"", payload])  # RFC 9052 4.4, without external data


def verify(content: bytes, content_type: str) -> Signed:
    """Return what a COSE_Sign1 holds, once its signature has been verified.

    Raises:
        SignatureRefused: it is malformed, of another content type, or its signature does not hold.
    """
    try:
        protected, payload, signature = _parts(content)
        key = _signer(_headers(protected, content_type))
        key.algorithm.verify(key.key, signature, _to_be_signed(protected, payload))
    except (CborRefused, KeyRefused) as error:
        raise SignatureRefused(f"the signature cannot be read: {error}") from error
    return Signed(payload=payload, key=key)


def _parts(content: bytes) -> tuple[bytes, bytes, bytes]:
    outer = decode(content, tags=frozenset({_SIGN1}))
    if not isinstance(outer, Tagged) or not isinstance(outer.value, list) or len(outer.value) != 4:
        raise SignatureRefused("not a COSE_Sign1: expected tag 18 and four parts")
    protected, unprotected, payload, signature = outer.value
    if unprotected != {}:
        raise SignatureRefused("headers that nobody signed, expected none")
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise SignatureRefused("not a COSE_Sign1: headers, payload and signature must be byte strings")
    return protected, payload, signature


def _headers(protected: bytes, content_type: str) -> dict[int | str, Cbor]:
    headers = decode(protected)
    if not isinstance(headers, dict) or set(headers) != {_ALG, _CONTENT_TYPE, _KID, _KCCS}:
        raise SignatureRefused("headers other than algorithm, content type, signer id and signer's key")
    if headers[_CONTENT_TYPE] != content_type:
        raise SignatureRefused(f"signed as {headers[_CONTENT_TYPE]!r}, expected {content_type!r}")
    return headers


def _signer(headers: dict[int | str, Cbor]) -> PublicKey:
    algorithm = algorithm_numbered(headers[_ALG])
    claims = headers[_KCCS]
    confirmation = claims.get(_CNF) if isinstance(claims, dict) and len(claims) == 1 else None
    cose_key = confirmation.get(_COSE_KEY) if isinstance(confirmation, dict) and len(confirmation) == 1 else None
    if not isinstance(cose_key, dict):
        raise SignatureRefused("no public key of the signer where it was expected")
    key = PublicKey(algorithm=algorithm, key=algorithm.from_cose(cose_key))
    if headers[_KID] != key.signer:
        raise SignatureRefused("the signer id is not that of the signer's key")
    return key

"""A token's envelope, twice: COSE_Sign1 in a CWT (RFC 9052, RFC 8392) and JWS in a JWT (RFC 7515, RFC 7519).

    CWT  61(18([ protected, {}, payload, signature ]))     protected = bstr of a map:
            1 alg      number of the algorithm, see algorithms.py
           16 typ      "application/eat+cwt" (RFC 9596)
           33 x5chain  DER certificates, of the signing key first, of the pinned root last (RFC 9360)
        or 14 kccs     {8 (cnf): {1 (COSE_Key): the key}} where hardware vouches for the key and nobody certified it
    JWT  header.payload.signature, header = {"alg", "typ": "eat+jwt", "x5c": [base64 DER, ...]}

In come bytes from anybody; out comes what is signed, by which key and chain, *before* anything is believed: the chain
and the claims are verify.py's business. One spelling for one token: anything else is refused. Pure.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from belljar.attestation.algorithms import algorithm_numbered, algorithm_of
from belljar.attestation.canonical import canonical_bytes
from belljar.attestation.cbor import Cbor, Tagged, decode, encode
from belljar.attestation.dice.chain import has_positive_serial
from belljar.attestation.errors import CborRefused, EvidenceRefused, KeyRefused, SignatureRefused
from belljar.attestation.keys import PublicKey

from .cmw import base64url, from_base64url, strict_json

if TYPE_CHECKING:
    from belljar.attestation.canonical import Json
    from belljar.attestation.keys import SigningKey

CWT_TYPE = "application/eat+cwt"
JWT_TYPE = "application/eat+jwt"
MAX_TOKEN_BYTES = 1 << 18  # with four ML-DSA-65 certificates 27 KiB, and hardware may add 2 times 64
_CWT, _SIGN1 = 61, 18
_ALG, _TYP, _X5CHAIN, _KCCS, _CNF, _COSE_KEY = 1, 16, 33, 14, 8, 1
_JOSE = {"ed25519": "Ed25519", "es256": "ES256", "es384": "ES384", "ml-dsa-65": "ML-DSA-65"}  # RFC 7518, 9864, 9964


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A token whose signature holds, by a key that nobody has vouched for yet.

    Attributes:
        jwt: whether it came as JWT.
        key: the key that signed.
        chain: DER certificates as given, of `key` first; empty where there is only the key.
        payload: the claims, encoded.
    """

    jwt: bool
    key: PublicKey
    chain: tuple[bytes, ...]
    payload: bytes


def sign_cwt(claims: dict[int | str, Cbor], key: SigningKey, chain: tuple[bytes, ...]) -> bytes:
    """Return claims as a CWT; without a chain, with the bare key."""
    public = key.public
    named: dict[int | str, Cbor] = {_ALG: public.algorithm.identifier, _TYP: CWT_TYPE}
    if chain:
        named[_X5CHAIN] = list(chain)
    else:
        named[_KCCS] = {_CNF: {_COSE_KEY: public.algorithm.to_cose(public.key)}}
    protected, payload = encode(named), encode(claims)
    signature = key.sign(_to_be_signed(protected, payload))
    return encode(Tagged(tag=_CWT, value=Tagged(tag=_SIGN1, value=[protected, {}, payload, signature])))


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    return encode(["Signature1", protected, b"", payload])  # RFC 9052 4.4


def sign_jwt(claims: dict[str, Json], key: SigningKey, chain: tuple[bytes, ...]) -> bytes:
    """Return claims as a JWT."""
    header: dict[str, Json] = {
        "alg": _JOSE[key.public.algorithm.name],
        "typ": "eat+jwt",
        "x5c": [base64.b64encode(certificate).decode("ascii") for certificate in chain],
    }
    signed = f"{base64url(canonical_bytes(header))}.{base64url(canonical_bytes(claims))}"
    return f"{signed}.{base64url(key.sign(signed.encode()))}".encode()


def open_token(token: bytes) -> UnverifiedToken:
    """Return what is in a token, once its signature holds under the key it brings.

    Raises:
        EvidenceRefused: it is malformed, too large, of an unknown algorithm, or its signature does not hold.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise EvidenceRefused(f"a token of {len(token)} bytes, expected at most {MAX_TOKEN_BYTES}")
    try:
        return _open_jwt(token) if token.startswith(b"ey") else _open_cwt(token)
    except (CborRefused, KeyRefused, SignatureRefused) as error:
        raise EvidenceRefused(f"the token cannot be believed: {error}") from error


def _open_cwt(token: bytes) -> UnverifiedToken:
    protected, payload, signature = _parts(decode(token, tags=frozenset({_CWT, _SIGN1})))
    headers = decode(protected)
    if not isinstance(headers, dict) or set(headers) not in ({_ALG, _TYP, _X5CHAIN}, {_ALG, _TYP, _KCCS}):
        raise EvidenceRefused("the token's headers are not algorithm, type, and chain or key")
    if headers[_TYP] != CWT_TYPE:
        raise EvidenceRefused(f"the token's type is {headers[_TYP]!r}, expected {CWT_TYPE!r}")
    algorithm = algorithm_numbered(headers[_ALG])
    if _KCCS in headers:
        chain: tuple[bytes, ...] = ()
        key = PublicKey(algorithm=algorithm, key=algorithm.from_cose(_bare_key(headers[_KCCS])))
    else:
        chain = _certificates(headers[_X5CHAIN])
        key = _certified_key(chain[0])
    if headers[_ALG] != key.algorithm.identifier:
        raise EvidenceRefused(f"the token says algorithm {headers[_ALG]!r}, its key is for {key.algorithm.identifier}")
    key.algorithm.verify(key.key, signature, _to_be_signed(protected, payload))
    return UnverifiedToken(jwt=False, key=key, chain=chain, payload=payload)


def _parts(outer: Cbor) -> tuple[bytes, bytes, bytes]:
    inner = outer.value if isinstance(outer, Tagged) and outer.tag == _CWT else None
    parts = inner.value if isinstance(inner, Tagged) and inner.tag == _SIGN1 else None
    if not isinstance(parts, list) or len(parts) != 4 or parts[1] != {}:
        raise EvidenceRefused("not a token: expected tags 61 and 18, four parts, and no header that nobody signed")
    protected, _, payload, signature = parts
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise EvidenceRefused("not a token: headers, payload and signature must be byte strings")
    return protected, payload, signature


def _bare_key(claims: Cbor) -> dict[int | str, Cbor]:
    confirmation = claims.get(_CNF) if isinstance(claims, dict) and len(claims) == 1 else None
    key = confirmation.get(_COSE_KEY) if isinstance(confirmation, dict) and len(confirmation) == 1 else None
    if not isinstance(key, dict):
        raise EvidenceRefused("no public key where the token should have one")
    return key


def _certificates(value: Cbor) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 2 <= len(value) <= 8:
        raise EvidenceRefused("the token's chain is not a list of 2 to 8 certificates")
    found = tuple(item for item in value if isinstance(item, bytes))
    if len(found) != len(value):
        raise EvidenceRefused("the token's chain holds something that is no certificate")
    return found


def _certified_key(der: bytes) -> PublicKey:
    """Return the key in a certificate about which nothing else is known yet."""
    if not has_positive_serial(der):
        raise EvidenceRefused("the evidence certificate is not one of version 3 with a positive serial number")
    try:
        public = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise EvidenceRefused(f"the evidence certificate cannot be read: {error}") from error
    return PublicKey(algorithm=algorithm_of(public), key=public)


def _open_jwt(token: bytes) -> UnverifiedToken:
    parts = token.split(b".")
    try:
        texts = [part.decode("ascii") for part in parts]
    except UnicodeDecodeError as error:
        raise EvidenceRefused("not a token: letters that are not ASCII") from error
    if len(texts) != 3:
        raise EvidenceRefused(f"not a token: {len(texts)} parts, expected 3")
    header, payload, signature = (from_base64url(text) for text in texts)
    fields = strict_json(header, "the token's header")
    if not isinstance(fields, dict) or set(fields) != {"alg", "typ", "x5c"} or fields["typ"] != "eat+jwt":
        raise EvidenceRefused("the token's header is not algorithm, type eat+jwt, and chain")
    chain = _certificates_json(fields["x5c"])
    key = _certified_key(chain[0])
    if fields["alg"] != _JOSE[key.algorithm.name]:
        raise EvidenceRefused(f"the token says algorithm {fields['alg']!r}, its key is for {_JOSE[key.algorithm.name]}")
    key.algorithm.verify(key.key, signature, b".".join(parts[:2]))
    return UnverifiedToken(jwt=True, key=key, chain=chain, payload=payload)


def _certificates_json(value: Json) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        raise EvidenceRefused("the token's chain is not a list of 2 to 8 certificates")
    found: list[Cbor] = []
    for item in value:
        if not isinstance(item, str):
            raise EvidenceRefused("the token's chain holds something that is no certificate")
        try:
            content = base64.b64decode(item.encode("ascii"), validate=True)
        except (ValueError, binascii.Error) as error:
            raise EvidenceRefused("the token's chain is not base64") from error
        if base64.b64encode(content).decode("ascii") != item:
            raise EvidenceRefused("the token's chain is not base64: another spelling of the same bytes")
        found.append(content)
    return _certificates(found)

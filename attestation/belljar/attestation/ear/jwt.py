"""Signed JSON: a JWS in compact form (RFC 7515) that brings its signer's public key with it, as a JWK (RFC 7517).

    base64url(header) . base64url(payload) . base64url(signature)       header = {"alg", "jwk", "typ"}, canonical

In come canonical JSON objects and keys; out come tokens, and back. Others need not write canonically, and their header
may hold more (`kid`, `x5c`), none of it believed; their numbers with fractions come as text. Whether the signer is the
right one is for the caller to say: anybody can sign. `none` and every algorithm with a shared secret do not exist
here. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from belljar.attestation.algorithms import ALGORITHMS
from belljar.attestation.canonical import canonical_bytes
from belljar.attestation.eat.cmw import base64url, from_base64url
from belljar.attestation.errors import EvidenceRefused, KeyRefused, SignatureRefused
from belljar.attestation.keys import PublicKey, SigningKey

if TYPE_CHECKING:
    from belljar.attestation.canonical import Json
    from belljar.attestation.cbor import Cbor

MAX_TOKEN_BYTES = 1 << 20
_NAMES = {"ed25519": "Ed25519", "es256": "ES256", "es384": "ES384", "ml-dsa-65": "ML-DSA-65"}  # RFC 9864, 7518, 9964
_READ = {name: key for key, name in _NAMES.items()} | {"EdDSA": "ed25519"}
_EC_CURVES = {"es256": ("P-256", 1), "es384": ("P-384", 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedJson:
    """What was signed, and by whom."""

    payload: dict[str, Json]
    key: PublicKey
    typ: str


def sign_json(payload: dict[str, Json], key: SigningKey, typ: str) -> str:
    """Return a token.

    Args:
        payload: of values that have a canonical form.
        key: who signs.
        typ: what the token is, such as `eat+jwt` (RFC 9711).
    """
    name = key.public.algorithm.name
    header: dict[str, Json] = {"alg": _NAMES[name], "jwk": to_jwk(key.public), "typ": typ}
    signed = f"{base64url(canonical_bytes(header))}.{base64url(canonical_bytes(payload))}"
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


def verify_json(token: str, *, key: PublicKey | None = None) -> SignedJson:
    """Return what a token holds, once its signature has held.

    Args:
        token: in compact form.
        key: whose signature it must be; without, that of the key it brings, which the caller must then judge.

    Raises:
        SignatureRefused: it is malformed, or its signature does not hold.
    """
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
        raise SignatureRefused("not a signed token: expected three parts of base64url, at most 1 MiB")
    header_text, payload_text, signature_text = token.split(".")
    try:
        header = _object(from_base64url(header_text), "header")
        signature = from_base64url(signature_text)
        public = key or from_jwk(header.get("jwk"))
        _check_header(header, public)
        public.algorithm.verify(public.key, signature, f"{header_text}.{payload_text}".encode())
        payload = _object(from_base64url(payload_text), "payload")
    except (EvidenceRefused, KeyRefused) as error:
        raise SignatureRefused(f"not a signed token: {error}") from error
    return SignedJson(payload=payload, key=public, typ=str(header.get("typ", "")))


def _check_header(header: dict[str, Json], key: PublicKey) -> None:
    if "crit" in header:
        raise SignatureRefused("not a signed token: it has critical headers, expected none")
    found = header.get("alg")
    if not isinstance(found, str) or _READ.get(found) != key.algorithm.name:
        raise SignatureRefused(f"signed with {found!r}, expected {_NAMES[key.algorithm.name]}, as the key is")


def _object(content: bytes, what: str) -> dict[str, Json]:
    try:
        found: object = json.loads(content, object_pairs_hook=_once, parse_float=str, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise SignatureRefused(f"not a signed token: its {what} is not JSON we read: {error}") from error
    if not isinstance(found, dict):
        raise SignatureRefused(f"not a signed token: its {what} is not an object")
    return cast("dict[str, Json]", found)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is named twice")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def to_jwk(key: PublicKey) -> dict[str, Json]:
    """Return a public key as JWK."""
    name, cose = key.algorithm.name, key.algorithm.to_cose(key.key)
    if name in _EC_CURVES:
        return {"crv": _EC_CURVES[name][0], "kty": "EC", "x": _text(cose[-2]), "y": _text(cose[-3])}
    if name == "ed25519":
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(cose[-2])}
    return {"alg": _NAMES[name], "kty": "AKP", "pub": _text(cose[-1])}


def _text(value: Cbor) -> str:
    return base64url(value) if isinstance(value, bytes) else ""


def from_jwk(jwk: object) -> PublicKey:
    """Return the public key in a JWK; members that say nothing about the key are ignored.

    Raises:
        KeyRefused: it is none of an algorithm of the table.
    """
    members = cast("dict[str, object]", jwk) if isinstance(jwk, dict) else {}
    kind = (str(members.get("kty")), str(members.get("crv", members.get("alg"))))
    name = {
        ("EC", "P-256"): "es256",
        ("EC", "P-384"): "es384",
        ("OKP", "Ed25519"): "ed25519",
        ("AKP", "ML-DSA-65"): "ml-dsa-65",
    }.get(kind)
    if name is None:
        raise KeyRefused(f"no key where the signer's was expected, or one of kind {kind!r}")
    algorithm = ALGORITHMS[name]
    cose: dict[int | str, Cbor] = (
        {1: 7, 3: algorithm.identifier, -1: _octets(members, "pub")} if name == "ml-dsa-65" else {}
    )
    if name == "ed25519":
        cose = {1: 1, -1: 6, -2: _octets(members, "x")}
    if name in _EC_CURVES:
        cose = {1: 2, -1: _EC_CURVES[name][1], -2: _octets(members, "x"), -3: _octets(members, "y")}
    return PublicKey(algorithm=algorithm, key=algorithm.from_cose(cose))


def _octets(members: dict[str, object], name: str) -> bytes:
    found = members.get(name)
    try:
        return from_base64url(found) if isinstance(found, str) else b""
    except EvidenceRefused as error:
        raise KeyRefused(f"the signer's key: {name} is not base64url") from error

"""Signed JSON: every algorithm, and what is refused (RFC 7515, RFC 7517, RFC 8037, RFC 9964)."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.canonical import Json
from belljar.attestation.ear.jwt import from_jwk, sign_json, to_jwk, verify_json
from belljar.attestation.errors import AttestationError, SignatureRefused
from belljar.attestation.keys import ALGORITHM_NAMES, generate

KEYS = {name: generate(name) for name in ALGORITHM_NAMES}
ASCII: dict[str, Json] = {"b": 1, "a": ["x", None, True]}
TOKEN = sign_json(dict(ASCII), KEYS["es256"], "eat+jwt")

names = pytest.mark.parametrize("name", ALGORITHM_NAMES)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@names
def test_what_is_signed_holds(name: str) -> None:
    found = verify_json(sign_json(dict(ASCII), KEYS[name], "eat+jwt"))
    assert (found.payload, found.typ) == (ASCII, "eat+jwt")
    assert found.key.signer == KEYS[name].public.signer
    assert from_jwk(to_jwk(KEYS[name].public)).signer == KEYS[name].public.signer


@names
def test_another_s_key_does_not_verify_it(name: str) -> None:
    token = sign_json(dict(ASCII), KEYS[name], "x")
    with pytest.raises(SignatureRefused, match="does not match what is signed"):
        verify_json(token, key=generate(name).public)
    other = KEYS["ed25519" if name != "ed25519" else "es256"].public
    with pytest.raises(SignatureRefused, match="as the key is"):
        verify_json(token, key=other)


@settings(deadline=None)
@given(st.integers(0, 8 * len(TOKEN) - 1))
def test_no_bit_can_be_flipped(bit: int) -> None:
    content = bytearray(TOKEN.encode())
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureRefused):
        verify_json(content.decode("latin-1"))


@settings(deadline=None)
@given(st.text() | st.lists(st.text(max_size=30), min_size=3, max_size=3).map(".".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(SignatureRefused):
        verify_json(text)


def test_nobody_signs_with_nothing_or_a_secret() -> None:
    header, payload, signature = TOKEN.split(".")
    jwk = to_jwk(KEYS["es256"].public)
    for algorithm in ("none", "HS256", "ES384", "es256", None, 7):
        downgraded = part({"alg": algorithm, "jwk": jwk})
        with pytest.raises(SignatureRefused, match="as the key is"):
            verify_json(f"{downgraded}.{payload}.{signature}")
    with pytest.raises(SignatureRefused, match="critical headers"):
        verify_json(f"{part({'alg': 'ES256', 'crit': ['x'], 'jwk': jwk})}.{payload}.{signature}")
    assert header


@pytest.mark.parametrize(
    "jwk", [None, {}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-521"}, {"kty": "oct", "k": "AA"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "OKP", "crv": "Ed25519", "x": "*"},
            {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AA"}, {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}],
)  # fmt: skip
def test_keys_that_are_none_are_refused(jwk: object) -> None:
    with pytest.raises(AttestationError):
        from_jwk(jwk)


def test_an_independent_signature_verifies() -> None:
    """ES256 put together by hand, with the older name of nothing of ours."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()

    def text(value: int) -> str:
        return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()

    jwk = {"kty": "EC", "crv": "P-256", "x": text(numbers.x), "y": text(numbers.y), "use": "sig"}
    signed = f"{part({'typ': 'JWT', 'alg': 'ES256', 'kid': 'x', 'jwk': jwk})}.{part(PAYLOAD_TRUSTEE)}"
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    signature = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=").decode()
    assert verify_json(f"{signed}.{signature}").payload == PAYLOAD_TRUSTEE


PAYLOAD_TRUSTEE = {"eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iat": 1}

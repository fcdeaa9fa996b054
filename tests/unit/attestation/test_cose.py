"""COSE_Sign1 and the keys behind it: what holds, what is refused, and why (RFC 9052, RFC 9053)."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.cbor import Cbor, Tagged, decode, encode
from belljar.attestation.cose import KeyRefused, SignatureRefused, sign, verify
from belljar.attestation.keys import ALGORITHM_NAMES, SigningKey, generate, load_private, load_public
from support.running import has

KIND = "application/x-test"
KEYS = {name: generate(name) for name in ALGORITHM_NAMES}
KEY = KEYS["ed25519"]
SIGNED = sign(b"payload", KEY, KIND)

names = pytest.mark.parametrize("name", ALGORITHM_NAMES)


@names
def test_what_is_signed_holds(name: str) -> None:
    found = verify(sign(b"payload", KEYS[name], KIND), KIND)
    assert found.payload == b"payload"
    assert found.key.signer == KEYS[name].public.signer
    assert found.key.algorithm.name == name


@settings(deadline=None)  # others use this machine, too
@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_no_bit_can_be_flipped(bit: int) -> None:
    content = bytearray(SIGNED)
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureRefused):
        verify(bytes(content), KIND)


@settings(deadline=None)  # others use this machine, too
@given(st.integers(0, len(SIGNED) - 1))
def test_no_byte_can_be_missing(length: int) -> None:
    with pytest.raises(SignatureRefused):
        verify(SIGNED[:length], KIND)


def test_another_content_type_is_another_thing() -> None:
    with pytest.raises(SignatureRefused, match=f"signed as '{KIND}', expected 'application/y'"):
        verify(SIGNED, "application/y")


def changed(change: Callable[[dict[int | str, Cbor], list[Cbor]], None], key: SigningKey = KEY) -> bytes:
    """Change the headers and parts of a signed thing, and sign it anew by the book."""
    outer = decode(sign(b"payload", KEY, KIND), tags=frozenset({18}))
    assert isinstance(outer, Tagged)
    assert isinstance(outer.value, list)
    parts = outer.value
    assert isinstance(parts[0], bytes)
    headers = decode(parts[0])
    assert isinstance(headers, dict)
    change(headers, parts)
    parts[0] = encode(headers)
    parts[3] = key.sign(encode(["Signature1", parts[0], b"", parts[2]]))
    return encode(Tagged(tag=18, value=parts))


def test_the_older_number_of_eddsa_is_read() -> None:
    assert verify(changed(lambda headers, _: headers.update({1: -8})), KIND).payload == b"payload"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda headers, _: headers.update({1: -7}), "not one of es256"),
        (lambda headers, _: headers.update({1: -35}), "not one of es384"),
        (lambda headers, _: headers.update({1: -37}), "algorithm -37, expected one of ed25519, es256, es384"),
        (lambda headers, _: headers.update({1: "none"}), "algorithm 'none'"),
        (lambda headers, _: headers.update({4: bytes(32)}), "signer id is not that of the signer's key"),
        (lambda headers, _: headers.pop(4), "headers other than"),
        (lambda headers, _: headers.update({2: [1]}), "headers other than"),
        (lambda headers, _: headers.update({14: {8: {}}}), "no public key"),
        (lambda headers, _: headers.update({14: {8: {1: {1: 1, -1: 6, -2: bytes(31)}}}}), "not one of ed25519"),
        (lambda headers, _: headers.update({14: {8: {1: {1: 1, -1: 7, -2: bytes(32)}}}}), "not one of ed25519"),
        (lambda _, parts: parts[1].update({4: b"x"}), "headers that nobody signed"),
        (lambda _, parts: parts.append(b""), "four parts"),
        (lambda _, parts: parts.__setitem__(2, None), "byte strings"),
    ],
)
def test_what_is_refused_although_signed(change: Callable[[object, object], None], why: str) -> None:
    with pytest.raises(SignatureRefused, match=why):
        verify(changed(change), KIND)


def test_somebody_elses_signature_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="does not match"):
        verify(changed(lambda _headers, _parts: None, key=generate()), KIND)


def test_a_short_ecdsa_signature_is_refused() -> None:
    content = decode(sign(b"payload", KEYS["es256"], KIND), tags=frozenset({18}))
    assert isinstance(content, Tagged)
    assert isinstance(content.value, list)
    content.value[3] = bytes(63)
    with pytest.raises(SignatureRefused, match="has 63 bytes, expected 64"):
        verify(encode(content), KIND)


@pytest.mark.parametrize("content", [b"", b"\x00", encode([b"", {}, b"", b""]), encode(Tagged(tag=18, value=1))])
def test_what_is_no_cose_at_all(content: bytes) -> None:
    with pytest.raises(SignatureRefused):
        verify(content, KIND)


@names
def test_keys_survive_their_files(name: str) -> None:
    key = KEYS[name]
    assert load_private(key.pem()).public.signer == key.public.signer
    assert load_public(key.public.pem()).signer == key.public.signer
    assert load_public(key.pem()).signer == key.public.signer


@pytest.mark.parametrize("name", [name for name in ALGORITHM_NAMES if name != "ml-dsa-65"])  # OpenSSL 3.5 has it
@pytest.mark.skipif(not has("openssl"), reason="no openssl")
def test_the_signer_id_is_what_openssl_says(name: str) -> None:
    known = subprocess.run(["openssl", "list", "-public-key-algorithms"], capture_output=True, text=True, check=True)
    if name == "ml-dsa-65" and "ML-DSA-65" not in known.stdout:
        pytest.skip("this openssl is older than 3.5: no ML-DSA")
    words = ["openssl", "pkey", "-pubout", "-outform", "DER"]
    der = subprocess.run(words, input=KEYS[name].pem(), capture_output=True, check=True).stdout
    assert hashlib.sha256(der).digest() == KEYS[name].public.signer


def pem(
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, word: bytes = b""
) -> bytes:
    locked = BestAvailableEncryption(word) if word else NoEncryption()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key in PEM"),
        (KEY.public.pem(), "a public key, expected a private one"),
        (pem(rsa.generate_private_key(65537, 2048)), "kind RSA, expected one for ed25519, es256, es384"),
        (pem(ec.generate_private_key(ec.SECP521R1())), "kind EC secp521r1, expected"),
        (pem(ed25519.Ed25519PrivateKey.generate(), b"word"), "an encrypted private key"),
    ],
)
def test_keys_that_cannot_sign(content: bytes, why: str) -> None:
    with pytest.raises(KeyRefused, match=why):
        load_private(content)


def test_a_file_that_holds_no_public_key() -> None:
    with pytest.raises(KeyRefused, match="not a key in PEM"):
        load_public(b"hello")


def test_an_algorithm_nobody_knows() -> None:
    with pytest.raises(KeyRefused, match="unknown algorithm rot13, expected one of ed25519, es256, es384"):
        generate("rot13")

"""Quotes of a TPM: every scheme, and what is refused; tpm2-tools and a real swtpm agree (TPM 2.0 Library)."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from belljar.attestation.claims import Tee
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements, key_digest
from belljar.attestation.steps import Trail
from belljar.attestation.tpm_quote.attest import parse_attest
from belljar.attestation.tpm_quote.signature import verify_signature
from belljar.attestation.tpm_quote.verify import TpmQuote, parse_quote, verify_quote
from support.captured import captured
from support.evidence import PCRS, REPORT_DATA, Case, attest, rsa_key, tpm_case, tpm_signature
from support.running import has
from support.vendors import NOW, p256, p384


def refused(case: Case, text: str) -> None:
    with pytest.raises(EvidenceRefused, match=text):
        case.verify()


def changed(case: Case, **members: Any) -> Case:
    body = json.loads(case.evidence)
    for name, value in members.items():
        (body if name in body else body["tpm_quote"])[name] = value
    return case.but(evidence=json.dumps(body).encode())


@pytest.mark.parametrize("scheme", ["ecdsa", "rsassa", "rsapss"])
@pytest.mark.parametrize("certified", [False, True])
def test_quotes_of_every_scheme_verify(scheme: str, certified: bool) -> None:  # noqa: FBT001 - a parameter of the test
    case = tpm_case(scheme, certified=certified)
    claims = case.verify()
    assert (claims.tee, claims.report_data) == (Tee.TPM, REPORT_DATA)
    assert claims.measurement == hashlib.sha256(b"".join(PCRS.values())).digest()
    assert {number: claims.platform[f"sha256:{number}"] for number in PCRS} == PCRS
    assert (claims.root in case.roots, claims.platform["reset_count"]) == (True, 3)


def test_the_captured_quote_says_what_it_says() -> None:
    claims = captured("tpm").verify()
    assert claims.report_data is not None
    assert claims.report_data.hex().startswith("a04182b506878d4f")
    assert len([name for name in claims.platform if name.startswith("sha256:")]) == 24


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (attest(magic=0xFF544346), "magic at byte 0: got 0xff544346, expected 0xff544347"),
        (attest(type=0x8017), "type .* got 0x8017, expected 0x8018"),
        (attest(safe=2), "safe: got 2"),
        (attest(extra=bytes(67)), "extra data .* got 67 bytes, expected at most 66"),
        (attest(digest=bytes(32)), "PCR digest: got"),
        (attest() + b"\0", "1 bytes follow its end"),
        (attest()[:-1], "PCR digest at byte"),
    ],
)
def test_signed_statements_that_are_no_good_quote_are_refused(message: bytes, text: str) -> None:
    refused(tpm_case(message=message), text)


def bank(number: int, bits: bytes) -> bytes:
    return struct.pack(">HB", number, len(bits)) + bits


@pytest.mark.parametrize(
    ("banks", "text"),
    [
        ([], "got 0 banks"),
        ([bank(0x0004, b"\xff\xff\xff")], "a bank of hash 0x0004"),
        ([bank(0x000B, b"\0\0\0")], r"got PCRs \(\)"),
        ([bank(0x000B, b"\0\0\0\x01")], r"got PCRs \(24,\)"),
        ([bank(0x000B, b"\x01\0\0")] * 2, "got a bank twice"),
        ([bank(0x000B, b"\x01\0\0")] * 5, "got 5 banks"),
        ([bank(0x000B, bytes(5))], "selection of PCRs .* got 5 bytes"),
    ],
)
def test_selections_that_make_no_sense_are_refused(banks: list[bytes], text: str) -> None:
    whole = attest()
    start = whole.index(struct.pack(">IHB", 1, 0x000B, 3))
    with pytest.raises(EvidenceRefused, match=text):
        parse_attest(whole[:start] + struct.pack(">I", len(banks)) + b"".join(banks) + struct.pack(">H", 0))


def test_values_must_be_those_that_were_quoted() -> None:
    case = tpm_case()
    values = [value.hex() for value in PCRS.values()]
    refused(changed(case, pcrs=values[:1]), "PCR values: got 1, expected 2, as quoted")
    refused(changed(case, pcrs=[*values, values[0]]), "PCR values: got 3")
    refused(changed(case, pcrs=values[::-1]), "PCR digest")
    refused(changed(case, pcrs=[values[0] + values[1][:2], values[1][2:]]), "PCR sha256:8: got 33, expected 32 bytes")
    refused(changed(case, pcrs=[value.upper() for value in values]), "expected lower-case hexadecimal")


def test_other_keys_are_refused() -> None:
    case, other = tpm_case(), tpm_case("rsassa")
    theirs = json.loads(other.evidence)
    refused(changed(case, ak_public=theirs["ak_public"]), "TPM attestation key: got .* expected pinned")
    both = case.but(roots=case.roots | other.roots)
    refused(changed(both, ak_public=theirs["ak_public"]), "got ECDSA with a key that is not P-256")
    refused(changed(both, signature=theirs["tpm_quote"]["signature"]), "got RSA with a key that is not RSA")
    certified = tpm_case(certified=True)
    refused(certified.but(now=NOW + 12 * 365 * 86400), "AK chain: AK valid")
    refused(certified.but(endorsements=Endorsements()), "expected pinned, or a certificate for it")
    refused(certified.but(endorsements=replace(certified.endorsements, crls=())), "CN=AK: got no list")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (struct.pack(">HHH", 0x14, 0x04, 0), "got hash 0x0004"),
        (struct.pack(">HHH", 0x17, 0x0B, 0), "got scheme 0x0017"),
        (struct.pack(">HHH", 0x18, 0x0B, 4) + b"1234", "length of s"),
        (b"", "scheme at byte 0"),
        (bytes(1025), "got 1025 bytes"),
    ],
)
def test_signatures_that_cannot_be_read_are_refused(content: bytes, text: str) -> None:
    with pytest.raises(EvidenceRefused, match=text):
        verify_signature(p256().public_key(), content, b"")


def test_weak_keys_and_curves_are_refused() -> None:
    short = rsa_key("short", 1024)
    made = short.sign(b"m", padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(EvidenceRefused, match="RSA of 2048 bits and more"):
        verify_signature(short.public_key(), struct.pack(">HHH", 0x14, 0x0B, len(made)) + made, b"m")
    odd = ec.generate_private_key(ec.SECP521R1())
    with pytest.raises(EvidenceRefused, match="not P-256 or P-384"):
        verify_signature(odd.public_key(), tpm_signature(p256(), b"m", "ecdsa"), b"m")
    with pytest.raises(EvidenceRefused, match="does not hold"):
        verify_signature(p384().public_key(), tpm_signature(p256(), b"m", "ecdsa"), b"m")


@pytest.mark.parametrize(
    "evidence",
    [b"", b"{}", b"[]", b'{"tpm_quote":1,"ak_public":""}', b'{"ak_public":"","ak_public":"","tpm_quote":{}}',
     b"[" * 5000, b'{"a":' * 5000],
)  # fmt: skip
def test_text_that_is_no_quote_is_refused(evidence: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        parse_quote(evidence)


def test_base64_has_one_spelling() -> None:
    case = tpm_case()
    text = json.loads(case.evidence)["tpm_quote"]["signature"]
    for other in (text + "=", text[:-1], "\n" + text, text.replace("A", "-", 1) + "*"):
        with pytest.raises(EvidenceRefused, match="base64"):
            changed(case, signature=other).verify()


@pytest.mark.skipif(not has("tpm2_checkquote"), reason="no tpm2_checkquote (Debian: tpm2-tools)")
@pytest.mark.parametrize("scheme", ["ecdsa", "rsassa"])
def test_tpm2_checkquote_agrees(scheme: str, tmp_path: Path) -> None:
    """What this verifier takes, tpm2-tools takes; what it refuses, they refuse."""
    quote = parse_quote(tpm_case(scheme).evidence)
    for message, ours in ((quote.attest, True), (attest(extra=b"another nonce"), False)):
        files = {"key.pem": _pem(quote.key), "q.msg": message, "q.sig": quote.signature}
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        words = ["tpm2_checkquote", "-u", "key.pem", "-m", "q.msg", "-s", "q.sig", "-q", REPORT_DATA.hex()]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is ours, done.stderr
        assert _accepted(replace(quote, attest=message)) is ours


def _pem(spki: bytes) -> bytes:
    text = base64.encodebytes(spki).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n".encode()


def _accepted(quote: TpmQuote) -> bool:
    trust = tpm_case().but(roots=frozenset({hashlib.sha256(quote.key).digest()})).trust
    try:
        verify_quote(quote, endorsements=Endorsements(), trust=trust, trail=Trail())
    except EvidenceRefused:
        return False
    return True


def test_keys_in_another_encoding_are_refused() -> None:
    case, key = tpm_case(), p256().public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    for other, text in (
        (compressed, "DER's only form"),
        (spki[:-1], "not a public key"),
        (bytes(3000), "got 3000 bytes"),
    ):
        refused(changed(case, ak_public=base64.b64encode(other).decode()), text)
    assert key_digest(key) == hashlib.sha256(spki).digest()

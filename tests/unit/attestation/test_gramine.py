"""SGX's structures for scripts written for Gramine: the offsets they slice, local attestation, quotes of our root."""

from __future__ import annotations

import base64
import dataclasses
import os
import struct
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.dice.enclave import Enclave
from belljar.attestation.errors import EvidenceRefused, SealRefused
from belljar.attestation.evidence import Trust
from belljar.attestation.gramine.keys import special_key
from belljar.attestation.gramine.layout import (
    DEBUG,
    FLAGS,
    body_of,
    target_info,
    unpack_body,
    unpack_target_info,
)
from belljar.attestation.gramine.quote import VENDOR, VerifiedQuote, quoter, verify_quote
from belljar.attestation.gramine.report import ReportRequest, make_report, verify_report
from belljar.attestation.keys import ALGORITHM_NAMES
from belljar.attestation.sealing import Policy
from belljar.attestation.steps import Trail
from support.roots import NOW, FixedRoot, trust_in

REAL = Path("/work/shared/vectors/sgx/ph-sgx_quote")
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
OTHER = dataclasses.replace(ENCLAVE, measurement=b"o" * 32)
ROOT = FixedRoot(b"u" * 32)
TRUST = trust_in(ROOT)
DATA = bytes(range(64))
QUOTE = quoter(ROOT, ENCLAVE, NOW).quote(DATA)
REPORT = make_report(ROOT, ReportRequest(maker=ENCLAVE, target=target_info(OTHER), report_data=DATA, key_id=b"k" * 32))


def verified(quote: bytes, trust: Trust = TRUST) -> VerifiedQuote:
    return verify_quote(quote, trust, Trail())


# --- offsets, as scripts have them


def test_a_script_that_slices_a_quote_finds_what_it_looks_for() -> None:
    assert QUOTE[112:144] == ENCLAVE.measurement
    assert QUOTE[176:208] == ENCLAVE.signer
    assert struct.unpack("<HH", QUOTE[304:308]) == (7, 3)
    assert QUOTE[368:432] == DATA
    assert struct.unpack("<Q", QUOTE[96:104])[0] & DEBUG
    assert struct.unpack("<I", QUOTE[432:436])[0] == len(QUOTE) - 436
    assert struct.unpack("<HH", QUOTE[:4]) == (3, 2)


@pytest.mark.skipif(not REAL.exists(), reason="the captured quote is in /work/shared/vectors, not in the repository")
def test_a_real_quote_has_its_fields_at_the_same_places() -> None:
    real = REAL.read_bytes()
    assert struct.unpack("<HH", real[:4]) == (3, 2)
    assert real[12:28].hex() == "939a7233f79c4ca9940a0db3957f0607"
    length = struct.unpack("<I", real[432:436])[0]
    assert len(real) - 436 - length >= 0
    auth = struct.unpack("<H", real[1012:1014])[0]
    assert struct.unpack("<H", real[1014 + auth : 1016 + auth])[0] == 5
    with pytest.raises(EvidenceRefused, match="header of the quote"):
        verified(real)
    with pytest.raises(EvidenceRefused, match="of another maker"):
        unpack_body(real[48:432])


def test_reports_and_targets_have_the_sizes_of_sgx() -> None:
    assert (len(REPORT), len(target_info(ENCLAVE).pack())) == (432, 512)
    assert REPORT[64:96] == ENCLAVE.measurement
    assert REPORT[128:160] == ENCLAVE.signer
    assert REPORT[320:384] == DATA
    assert target_info(ENCLAVE).pack()[:32] == ENCLAVE.measurement


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(EvidenceRefused, match="product id 65536: SGX's structures hold at most 65535"):
        body_of(dataclasses.replace(ENCLAVE, product_id=65_536), DATA)
    with pytest.raises(EvidenceRefused, match="report data of 63 bytes, expected 64"):
        body_of(ENCLAVE, DATA[:63])
    with pytest.raises(EvidenceRefused, match="a key id of 1 bytes"):
        make_report(ROOT, ReportRequest(maker=ENCLAVE, target=target_info(OTHER), report_data=DATA, key_id=b"k"))


def test_who_nobody_signed_has_a_signer_of_zeros() -> None:
    assert body_of(dataclasses.replace(ENCLAVE, signer=None), DATA).signer == bytes(32)
    assert body_of(ENCLAVE, DATA).debug


@settings(deadline=None)  # others use this machine, too
@given(st.binary(max_size=600))
def test_structures_are_read_strictly(content: bytes) -> None:
    for read in (unpack_body, unpack_target_info, verified, lambda report: verify_report(ROOT, report, OTHER)):
        with pytest.raises(EvidenceRefused):
            read(content)
    for read, size in ((unpack_body, 384), (unpack_target_info, 512)):
        try:
            found = read(content[:size].ljust(size, b"\0"))
        except EvidenceRefused:
            continue
        assert found.pack() == content[:size].ljust(size, b"\0")


def test_bodies_and_targets_come_back() -> None:
    assert unpack_body(body_of(ENCLAVE, DATA).pack()) == body_of(ENCLAVE, DATA)
    assert unpack_target_info(target_info(ENCLAVE).pack()) == target_info(ENCLAVE)
    assert target_info(ENCLAVE).flags == FLAGS


# --- local attestation


def test_the_target_can_check_a_report() -> None:
    assert verify_report(ROOT, REPORT, OTHER) == body_of(ENCLAVE, DATA)


def test_nobody_else_can() -> None:
    for reader in (ENCLAVE, dataclasses.replace(OTHER, measurement=b"x" * 32)):
        with pytest.raises(EvidenceRefused, match="made on another platform, or for another target"):
            verify_report(ROOT, REPORT, reader)
    with pytest.raises(EvidenceRefused, match="made on another platform"):
        verify_report(FixedRoot(b"x" * 32), REPORT, OTHER)


@settings(deadline=None)
@given(st.integers(0, 8 * len(REPORT) - 1))
def test_no_bit_of_a_report_can_be_flipped(bit: int) -> None:
    changed = bytearray(REPORT)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceRefused):
        verify_report(ROOT, bytes(changed), OTHER)


# --- quotes


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_a_quote_is_verified_up_to_our_root(name: str) -> None:
    root = FixedRoot(b"u" * 32, name)
    found = verified(quoter(root, ENCLAVE, NOW).quote(DATA), trust_in(root))
    assert found.body == body_of(ENCLAVE, DATA)
    assert found.chain.kind == "soft"


def test_another_root_is_refused() -> None:
    with pytest.raises(EvidenceRefused, match="root of the chain"):
        verified(QUOTE, Trust(roots=frozenset(), now=NOW))


def test_a_quote_of_another_enclave_under_this_chain_is_refused() -> None:
    mine = quoter(ROOT, ENCLAVE, NOW)
    with pytest.raises(EvidenceRefused, match="enclave in quote and certificates"):
        verified(dataclasses.replace(mine, enclave=OTHER).quote(DATA))


def test_an_attestation_key_that_nobody_certified_is_refused() -> None:
    mine, theirs = quoter(ROOT, ENCLAVE, NOW), quoter(ROOT, ENCLAVE, NOW)
    with pytest.raises(EvidenceRefused, match="certifying report"):
        verified(dataclasses.replace(mine, key=theirs.key).quote(DATA))


def test_no_bit_of_a_quote_can_be_flipped() -> None:
    step = 1 if os.environ.get("BELLJAR_TEST_EVERY_BIT") else 211
    for bit in range(0, 8 * len(QUOTE), step):
        changed = bytearray(QUOTE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EvidenceRefused):
            verified(bytes(changed))


def test_a_certificate_of_another_version_in_a_quote_is_refused() -> None:
    """What cryptography refuses with an exception of its own, beside those for malformed certificates."""
    pem = QUOTE.index(b"-----BEGIN")
    first = x509.load_pem_x509_certificates(QUOTE[pem:])[0].public_bytes(Encoding.DER)
    odd = first.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a", 1)
    old, new = (base64.b64encode(der)[:40] for der in (first, odd))
    with pytest.raises(EvidenceRefused):
        verified(QUOTE.replace(old, new, 1))


def test_no_byte_of_a_quote_can_be_missing_or_added() -> None:
    for quote in (QUOTE[:-1], QUOTE + b"\n", QUOTE[:432], QUOTE[:1100], b""):
        with pytest.raises(EvidenceRefused):
            verified(quote)


def test_the_chain_is_readable_by_others() -> None:
    pem = QUOTE[QUOTE.index(b"-----BEGIN") :]
    assert len(x509.load_pem_x509_certificates(pem)) == 4
    assert QUOTE[12:28] == VENDOR


# --- special keys


def test_special_keys_stay_as_long_as_they_should() -> None:
    newer = dataclasses.replace(ENCLAVE, measurement=b"n" * 32, svn=400)
    keys = {
        (policy, enclave.svn): special_key(ROOT, enclave, policy) for policy in Policy for enclave in (ENCLAVE, newer)
    }
    assert keys[Policy.SIGNER, 3] == keys[Policy.SIGNER, 400]
    assert len({*keys.values()}) == 3
    assert {len(key) for key in keys.values()} == {16}
    with pytest.raises(SealRefused, match="_sgx_mrsigner, but nobody signed"):
        special_key(ROOT, dataclasses.replace(ENCLAVE, signer=None), Policy.SIGNER)

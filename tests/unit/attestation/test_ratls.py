"""RA-TLS certificates: bound to their own key, or refused (CCC interoperable RA-TLS)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.cbor import Tagged, encode
from belljar.attestation.claims import TcbStatus
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements
from support.captured import captured
from support.evidence import RATLS, Case, Intel, rsa_key, sgx_body
from support.vendors import Wish, crl, issue, p256, raw

INTEL = Intel()
EVIDENCE = "2.23.133.5.4.9"


def refused(case: Case, text: str) -> None:
    with pytest.raises(EvidenceRefused, match=text):
        case.verify()


@pytest.mark.parametrize("null", [False, True])
def test_a_certificate_speaks_for_its_own_key(null: bool) -> None:  # noqa: FBT001 - a parameter of the test
    claims = INTEL.ratls(null=null).verify()
    assert claims.format == "ra-tls-sgx-quote-v3"
    assert (claims.nonce, claims.report_data) == (b"nonce-16-bytes..", None)
    assert isinstance(claims.platform["tls_key"], bytes)
    assert INTEL.ratls(members={}).verify().nonce is None


def test_pem_and_der_say_the_same() -> None:
    case = INTEL.ratls()
    pem = x509.load_der_x509_certificate(case.evidence).public_bytes(Encoding.PEM)
    assert case.but(evidence=pem).verify() == case.verify()


@pytest.mark.parametrize(("name", "measurement"), [("ra-tls-gramine", "4fd75706"), ("ra-tls-intel", "")])
def test_captured_certificates_say_what_they_say(name: str, measurement: str) -> None:
    claims = captured(name).verify()
    assert claims.debug
    assert claims.format == "ra-tls-sgx-quote-v3"
    assert len(claims.measurement) == 32
    assert measurement is not None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"spki": b"somebody else's key"}, "RA-TLS certificate: key: got"),
        ({"report_data": bytes(64)}, "report data is of the claims"),
        ({"report_data": hashlib.sha256(b"x").digest() + bytes(32)}, "report data is of the claims"),
        ({"members": {"nonce": bytes(65)}}, "a nonce of at most 64"),
        ({"members": {"nonce": "text"}}, "claims must be byte strings"),
        ({"members": {"more": b""}}, r"got claims \['more', 'pubkey-hash'\]"),
        ({"members": {"pubkey-hash": encode([2, bytes(32)])}}, "got algorithm 2, expected 1, 7 or 8"),
        ({"members": {"pubkey-hash": encode([True, bytes(32)])}}, "got algorithm True"),
        ({"members": {"pubkey-hash": encode([1])}}, r"must be \[algorithm, digest\]"),
        ({"members": {"pubkey-hash": b"\xff"}}, "not deterministic CBOR"),
        ({"extensions": [(raw("1.2.3", b"\5\0")[0], True)]}, "critical extensions unknown"),
    ],
)
def test_what_is_not_bound_is_refused(changes: dict[str, Any], text: str) -> None:
    refused(INTEL.ratls(**changes), text)


@pytest.mark.parametrize("number", [7, 8])
def test_longer_digests_bind_as_well(number: int) -> None:
    key = p256()
    made = issue("x", key)
    spki = made.certificate.public_bytes(Encoding.DER)
    assert spki
    refused(INTEL.ratls(members={"pubkey-hash": encode([number, bytes({7: 48, 8: 64}[number])])}), "certificate: key")


def certificate(value: bytes | None, key: Any = None) -> Case:
    extensions = [] if value is None else [raw(EVIDENCE, value)]
    made = issue("RATLS", key or p256(), wish=Wish(extensions=extensions))
    return INTEL.case().but(kind=RATLS, evidence=made.der)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "got no extension 2.23.133.5.4.9"),
        (b"", "not deterministic CBOR"),
        (encode(b"x"), "other evidence than 60000"),
        (encode(Tagged(tag=60000, value=[b"", b"", b""])), "other evidence than 60000"),
        (encode(Tagged(tag=60000, value=[b"", "text"])), "must be byte strings"),
        (encode(Tagged(tag=60001, value=[b"", b""])), "tag 60001 is not expected"),
        (encode(Tagged(tag=60000, value=[b"", encode([])])), r"got claims \[\]"),
    ],
)
def test_other_evidence_is_refused(value: bytes | None, text: str) -> None:
    refused(certificate(value), text)


def test_a_certificate_that_somebody_else_signed_is_refused() -> None:
    maker = issue("maker", p256())
    refused(certificate(None).but(evidence=issue("x", p256(), maker).der), "its signature does not hold")
    imposter = issue("maker", p256(), maker)
    refused(certificate(None).but(evidence=imposter.der), "its signature does not hold")
    refused(certificate(None, rsa_key("AK")), "got RSA of 2048 bits, expected at least 3072")


def test_a_certificate_out_of_date_is_refused() -> None:
    case = INTEL.ratls()
    refused(case.but(now=case.now + 20 * 365 * 86400), "RA-TLS certificate: valid")


def endorsements(fields: list[Any]) -> tuple[x509.ExtensionType, bool]:
    return raw("2.23.133.5.4.2", encode(Tagged(tag=60000, value=fields)))


def test_collateral_inside_of_the_certificate_is_used_and_verified() -> None:
    found = INTEL.collateral()

    def body(name: str, content: bytes, signature: bytes) -> bytes:
        return b'{"%s":%s,"signature":"%s"}' % (name.encode(), content, signature.hex().encode())

    chain = INTEL.tcb.pem + INTEL.root.pem
    fields: list[Any] = [
        1, body("tcbInfo", found.tcb_info, found.tcb_info_signature), chain, crl(INTEL.ca), crl(INTEL.root),
        INTEL.ca.pem + INTEL.root.pem, body("enclaveIdentity", found.qe_identity, found.qe_identity_signature), chain,
    ]  # fmt: skip
    case = INTEL.ratls(extensions=[endorsements(fields)]).but(endorsements=Endorsements())
    assert case.verify().tcb_status is TcbStatus.UP_TO_DATE
    bad = fields.copy()
    bad[1] = json.dumps(json.loads(bad[1])).encode()
    refused(INTEL.ratls(extensions=[endorsements(bad)]).but(endorsements=Endorsements()), "got something else than")
    for odd in ([], [2, *fields[1:]], fields[:-1], [True, *fields[1:]], [1, *["text"] * 7]):
        refused(INTEL.ratls(extensions=[endorsements(odd)]).but(endorsements=Endorsements()), "RA-TLS endorsements")


def test_the_caller_s_collateral_goes_first() -> None:
    case = INTEL.ratls(extensions=[endorsements([])])
    assert case.verify().tcb_status is TcbStatus.UP_TO_DATE
    refused(case.but(endorsements=replace(case.endorsements, collateral=None)), "RA-TLS endorsements")
    assert sgx_body() != b""

"""Whatever the bytes, every parser of evidence returns or refuses, and nothing else (BELLJAR_FUZZ: examples)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation import verifier
from belljar.attestation.dcap.bodies import parse_sgx, parse_td
from belljar.attestation.dcap.quote import parse_quote
from belljar.attestation.dcap.wire import parse_collateral, split_signed
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.objects import Object
from belljar.attestation.ratls.certificate import parse_self_signed
from belljar.attestation.snp.report import parse_report
from belljar.attestation.snp.table import parse_table
from belljar.attestation.tpm_quote.attest import parse_attest
from belljar.attestation.tpm_quote.signature import verify_signature
from belljar.attestation.tpm_quote.verify import parse_quote as parse_tpm_quote
from belljar.attestation.verifier import Challenge, Endorsements
from belljar.attestation.x509 import der
from belljar.attestation.x509.certificate import parse_certificate, parse_crl, parse_pem_body, parse_pem_chain
from support.evidence import Case, Intel, attest, every_case
from support.flips import changed, parts
from support.policies import policy
from support.vendors import p256

EXAMPLES = int(os.environ.get("BELLJAR_FUZZ", "25"))
KEY = p256().public_key()
PARSERS: dict[str, tuple[Callable[[bytes], object], str]] = {
    "snp report": (parse_report, "snp-Milan-B0-v3"),
    "snp table": (parse_table, "snp-Milan-B0-v3"),
    "quote": (parse_quote, "tdx-v5"),
    "sgx body": (parse_sgx, "sgx-v3"),
    "td body": (parse_td, "tdx-v4"),
    "collateral": (parse_collateral, "tpm-ecdsa"),
    "service body": (split_signed, "tpm-ecdsa"),
    "object": (lambda content: Object.parse(content, "x"), "tpm-ecdsa"),
    "self-signed": (parse_self_signed, "ra-tls"),
    "attest": (parse_attest, "tpm-ecdsa"),
    "signature": (lambda content: verify_signature(KEY, content, b""), "tpm-ecdsa"),
    "tpm quote": (parse_tpm_quote, "tpm-ecdsa"),
    "der": (lambda content: der.values(content, "x"), "ra-tls"),
    "certificate": (parse_certificate, "ra-tls"),
    "list": (parse_crl, "ra-tls"),
    "pem": (lambda content: parse_pem_chain(content, "x"), "ra-tls"),
    "pem body": (lambda content: parse_pem_body(content, "x"), "ra-tls"),
}


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """Return content that was cut, spliced and overwritten."""
    size = len(content)
    places = st.integers(0, size)
    edits = st.lists(st.tuples(places, places, st.binary(max_size=8)), min_size=1, max_size=3)

    def edit(changes: list[tuple[int, int, bytes]]) -> bytes:
        found = content
        for first, length, new in changes:
            found = found[:first] + new + found[first + (length % 16 if length % 3 else len(new)) :]
        return found

    return edits.map(edit)


@pytest.mark.parametrize("name", PARSERS)
def test_parsers_return_or_refuse(name: str) -> None:
    parse, like = PARSERS[name]
    seed = every_case()[like].evidence

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(st.binary(max_size=200) | mutated(seed) | mutated(attest()))
    def run(content: bytes) -> None:
        try:
            parse(content)
        except EvidenceRefused:
            pass

    run()


@pytest.mark.parametrize(
    "name", ["snp-Turin-B0-v5", "tdx-v5", "sgx-v3", "tpm-ecdsa-certified", "ra-tls", "ra-tls-null"]
)
def test_verifiers_return_or_refuse(name: str) -> None:
    case = every_case()[name]
    names = list(parts(case))
    claims = case.verify()

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(st.data())
    def run(drawn: st.DataObject) -> None:
        part = drawn.draw(st.sampled_from(names))
        content = drawn.draw(mutated(parts(case)[part]))
        try:
            assert changed(case, part, content).verify().measurement == claims.measurement
        except EvidenceRefused:
            pass

    run()


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.data())
def test_signed_collateral_of_any_shape_is_judged_or_refused(drawn: st.DataObject) -> None:
    """Even Intel's own signature makes no shape of JSON dangerous."""
    scalars = st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=8) | st.just("00" * 16)
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner), max_leaves=6
    )
    intel = drawn.draw(st.sampled_from(INTELS))
    which = drawn.draw(st.sampled_from(["tcb_info", "identity"]))
    keys = [*(intel.tcb_info() if which == "tcb_info" else intel.identity())]
    changes = {drawn.draw(st.sampled_from(keys)): drawn.draw(values)}
    case: Case = CASES[intel.tdx]
    collateral = intel.collateral(**{which: changes})
    try:
        case.but(endorsements=replace(case.endorsements, collateral=collateral)).verify()
    except EvidenceRefused:
        pass
    assert json.dumps(changes)


INTELS = (Intel(), Intel(tdx=True))
CASES = {intel.tdx: intel.case(4) for intel in INTELS}


@settings(deadline=None, max_examples=EXAMPLES)
@given(
    st.binary(max_size=300)
    | st.sampled_from([b"[", b"\x83", b"{", b"0\x82", b"-----BEGIN CERTIFICATE-----", b"\x03\0"])
)
def test_the_door_returns_or_refuses(content: bytes) -> None:
    case = CASES[True]
    with pytest.raises(EvidenceRefused):
        verifier.verify(
            content, endorsements=Endorsements(), policy=POLICY, challenge=Challenge(nonce=bytes(16)), now=case.now
        )


POLICY = policy(CASES[True], CASES[True].verify())

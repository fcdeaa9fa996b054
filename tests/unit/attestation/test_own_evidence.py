"""Our own evidence before the verifier's door, drafts of policies, and endorsements in files."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.attesting import Enclave, Purpose, Request, Run, Task, attest, wrapped_cwt, wrapped_jwt
from belljar.attestation.claims import Tee
from belljar.attestation.dice.certificate import PlatformFacts
from belljar.attestation.errors import AttestationError, EvidenceRefused, PolicyRefused
from belljar.attestation.keys import ALGORITHM_NAMES
from belljar.attestation.platforms import key_digest
from belljar.attestation.verifier import (
    Appraisal,
    Challenge,
    Draft,
    Endorsements,
    Message,
    ReferenceValues,
    endorsements_in,
    examine,
    load_policy,
    policy_text,
    verify,
)
from support.roots import NOW, FixedRoot

ROOT = FixedRoot(b"u" * 32)
PIN = key_digest(ROOT.ca_key.public.key)
NONCE = b"n" * 32
VALUES = ReferenceValues(name="app", measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3)
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
RUN = Run(
    enclave=ENCLAVE, instance=b"i" * 16, runtime="belljar", runtime_version="1", kernel="Linux",
    task=Task(argv=b"a" * 32, environment=b"e" * 32),
)  # fmt: skip
REQUEST = Request(nonce=NONCE, purpose=Purpose.LOCAL, body=b"", now=NOW)


def draft(**changes: Any) -> Draft:
    found: dict[str, Any] = {
        "identifier": "app", "values": (VALUES,), "roots": {Tee.SOFT: (PIN,)}, "purposes": (Purpose.LOCAL,),
        "pcrs": None, "volumes": False, "upgrades": False, "allow_simulated": True,
    }  # fmt: skip
    return Draft(**found | changes)


def appraised(evidence: bytes | Message, text: str) -> Appraisal:
    return verify(
        evidence, endorsements=Endorsements(), policy=load_policy(text), challenge=Challenge(nonce=NONCE), now=NOW
    )


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
@pytest.mark.parametrize("form", ["cwt", "jwt"])
def test_a_soft_token_is_refused_unless_the_policy_takes_what_is_simulated(algorithm: str, form: str) -> None:
    root = FixedRoot(b"u" * 32, algorithm)
    pins = {Tee.SOFT: (key_digest(root.ca_key.public.key),)}
    attester = attest(root, RUN)
    evidence = wrapped_cwt(attester.cwt(REQUEST)) if form == "cwt" else wrapped_jwt(attester.jwt(REQUEST))
    refused = appraised(evidence, policy_text(draft(roots=pins, allow_simulated=False)))
    assert refused.failed[0].name == "simulated"
    accepted = appraised(evidence, policy_text(draft(roots=pins)))
    assert (accepted.accepted, accepted.tier.value) == (True, "warning")
    other = dataclasses.replace(VALUES, measurement=b"x" * 32)
    assert [step.name for step in appraised(evidence, policy_text(draft(roots=pins, values=(other,)))).failed] == [
        "code"
    ]


def test_a_platform_without_revocation_lists_is_refused_where_they_are_required() -> None:
    evidence = attest(ROOT, RUN).cwt(REQUEST)
    lines = policy_text(draft()).splitlines()
    text = "\n".join("revocation: required" if "skip_revocation" in line else line for line in lines)
    assert [step.name for step in appraised(evidence, text).failed] == ["revocation"]


def test_a_debug_enclave_is_refused_although_simulation_is_taken() -> None:
    run = dataclasses.replace(RUN, enclave=dataclasses.replace(ENCLAVE, debug=True))
    evidence = attest(ROOT, run).cwt(REQUEST)
    assert [step.name for step in appraised(evidence, policy_text(draft())).failed] == ["debug"]


def test_examining_decides_nothing_and_believes_nothing_broken() -> None:
    evidence = attest(ROOT, RUN).cwt(REQUEST)
    found = examine(evidence, endorsements=Endorsements(), now=NOW)
    assert (found.claims.measurement, found.claims.root, found.claims.simulated) == (b"m" * 32, PIN, True)
    assert all(step.passed for step in found.steps)
    with pytest.raises(EvidenceRefused):
        examine(evidence[:-1] + bytes([evidence[-1] ^ 1]), endorsements=Endorsements(), now=NOW)


@given(name=st.text(max_size=60), identifier=st.text(min_size=1, max_size=60))
@settings(deadline=None, max_examples=25)
def test_no_name_breaks_out_of_a_policy(name: str, identifier: str) -> None:
    values = (dataclasses.replace(VALUES, name=name),)
    for upgrades in (False, True):
        found = load_policy(policy_text(draft(identifier=identifier, values=values, upgrades=upgrades)))
        plain = load_policy(policy_text(draft(upgrades=upgrades)))
        assert dataclasses.replace(found, identifier="") == dataclasses.replace(plain, identifier="")
        assert found.identifier.isascii()


def test_drafts_say_what_they_can() -> None:
    tpm = {Tee.TPM: (PIN,)}
    found = load_policy(policy_text(draft(roots=tpm, pcrs={"sha256:8": b"p" * 32})))
    assert found.tpm is not None
    assert found.tpm.pcrs == {"sha256:8": frozenset({b"p" * 32})}
    found = load_policy(policy_text(draft(roots=tpm | {Tee.SOFT: (PIN,)})))
    assert found.tpm is not None
    assert found.tpm.pcrs is None
    assert load_policy(policy_text(draft(volumes=True))).data_consistency is not None
    with pytest.raises(PolicyRefused, match="roots of hardware"):
        policy_text(draft(roots={Tee.SEV_SNP: (PIN,)}))
    with pytest.raises(PolicyRefused, match="nobody signed it"):
        policy_text(draft(upgrades=True, values=(dataclasses.replace(VALUES, signer=None),)))
    with pytest.raises(PolicyRefused, match="got 31 bytes, expected 32"):
        policy_text(draft(roots=tpm, pcrs={"sha256:8": b"p" * 31}))


def test_a_root_is_of_its_kind() -> None:
    root = FixedRoot(b"u" * 32, facts=PlatformFacts(kind="swtpm"))
    with pytest.raises(EvidenceRefused):
        appraised(attest(root, RUN).cwt(REQUEST), policy_text(draft(roots={Tee.TPM: (PIN,)})))


def _signed_list() -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "who revokes")])
    day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(day)
    return builder.next_update(day + dt.timedelta(days=9)).sign(key, None).public_bytes(Encoding.DER)


CERTIFICATE = ROOT.chain[0]
CRL = _signed_list()


def pem(der: bytes, *, crl: bool = False) -> bytes:
    loaded = x509.load_der_x509_crl(der) if crl else x509.load_der_x509_certificate(der)
    return loaded.public_bytes(Encoding.PEM)


def test_endorsements_are_told_apart() -> None:
    both = b"comment\n" + pem(CERTIFICATE) + pem(CRL, crl=True)
    found = endorsements_in([CERTIFICATE, CRL, both])
    assert (found.certificates, found.crls) == ((CERTIFICATE, CERTIFICATE), (CRL, CRL))
    table = bytes.fromhex("63da758de6644564adc5f4b93be8accd") + (48).to_bytes(4, "little")
    table += len(CERTIFICATE).to_bytes(4, "little") + bytes(24) + CERTIFICATE
    assert endorsements_in([table]).certificates == (CERTIFICATE,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "PEM without a whole certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "got PRIVATE KEY, expected certificates"),
        (b"\x30\x03\x02\x01\x01", "no certificate and no revocation list"),
        (b"{}", "collateral.pck_crl_issuer_chain: got nothing"),
        (b"", "SNP certificate table"),
    ],
)
def test_other_files_are_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(AttestationError, match=said):
        endorsements_in([content])


def test_endorsements_are_bounded() -> None:
    with pytest.raises(EvidenceRefused, match="more than 32"):
        endorsements_in([CERTIFICATE] * 33)
    with pytest.raises(EvidenceRefused, match="more than 64 certificates"):
        endorsements_in([pem(CERTIFICATE) * 65])


@given(content=st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: pem(CERTIFICATE)[:300] + tail))
@settings(deadline=None, max_examples=100)
def test_whatever_a_file_holds_there_is_one_kind_of_error(content: bytes) -> None:
    try:
        found = endorsements_in([content])
    except AttestationError:  # any other error fails the test
        return
    assert found.certificates or found.crls or not any(content[:16])

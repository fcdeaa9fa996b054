"""No bit of evidence or of what endorses it can be flipped: captured on real machines, and of our own making.

By default some bits of each part, spread evenly; BELLJAR_FLIPS=all flips every one (hours), a number so many per part.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from belljar.attestation.errors import EvidenceRefused
from support.captured import NAMES, captured
from support.evidence import DCAP, TPM, Case, every_case
from support.flips import flips, parts

_FLIPS = os.environ.get("BELLJAR_FLIPS", "8")
COUNT = None if _FLIPS == "all" else int(_FLIPS)
OWN = (
    "snp-Milan-B0-v2", "snp-Milan-B0-v3", "snp-Milan-B0-v5", "snp-Genoa-B0-v3", "snp-Turin-B0-v5",
    "snp-Milan-B0-v3-vlek", "sgx-v3", "sgx-v4", "sgx-v5", "tdx-v4", "tdx-v5", "tpm-ecdsa", "tpm-rsassa", "tpm-rsapss",
    "tpm-ecdsa-certified", "ra-tls", "ra-tls-null",
)  # fmt: skip


def test_every_case_is_tried() -> None:
    assert set(OWN) == set(every_case())


@pytest.mark.parametrize("name", OWN)
def test_no_bit_of_our_own_evidence_can_be_flipped(name: str) -> None:
    case = every_case()[name]
    if not name.endswith("certified"):  # a pinned key needs no list
        case = without_idle_lists(case)
    refuse_every_flip(case)


@pytest.mark.parametrize("name", NAMES)
def test_no_bit_of_captured_evidence_can_be_flipped(name: str) -> None:
    refuse_every_flip(captured(name))


def without_idle_lists(case: Case) -> Case:
    """Leave out what verification does not look at: a flipped bit in it would change nothing, and should not."""
    if case.name.startswith("tpm"):
        return case.but(endorsements=replace(case.endorsements, crls=()))
    return case


def refuse_every_flip(case: Case) -> None:
    case.verify()
    accepted: list[str] = []
    count = 0
    for part, bit, flipped in flips(case, COUNT):
        count += 1
        try:
            flipped.verify()
        except EvidenceRefused:
            continue
        accepted.append(f"{part} bit {bit}")
    assert not accepted, accepted[:20]
    assert count >= len(parts(case)) * min(COUNT or 8, 8)


@pytest.mark.parametrize("name", OWN)
def test_no_byte_of_our_own_evidence_can_be_missing_or_added(name: str) -> None:
    refuse_other_lengths(every_case()[name])


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_of_captured_evidence_can_be_missing_or_added(name: str) -> None:
    refuse_other_lengths(captured(name))


def refuse_other_lengths(case: Case) -> None:
    content = case.evidence.rstrip(
        b"\0" if case.kind is DCAP else b"\n " if case.kind is TPM else b""
    )  # padding of quotes; JSON's space
    size = len(content)
    for length in (1, 7, size // 2, size - 1):
        with pytest.raises(EvidenceRefused):
            case.but(evidence=content[:length]).verify()
    with pytest.raises(EvidenceRefused):
        case.but(evidence=case.evidence + b"x").verify()


def test_zeros_behind_a_quote_are_padding_within_bounds() -> None:
    case = every_case()["tdx-v4"]
    assert case.but(evidence=case.evidence + bytes(70)).verify() == case.verify()
    with pytest.raises(EvidenceRefused, match="1025 bytes follow its signatures, expected at most 1024 zeros"):
        case.but(evidence=case.evidence + bytes(1025)).verify()


def test_no_bit_around_what_a_certificate_signs_can_be_flipped() -> None:
    """Every bit near the ends of one that is rebuilt to be read (NULL after ECDSA): a stride would miss some."""
    case = every_case()["ra-tls-null"]
    size = len(case.evidence)
    for bit in (*range(64), *range(8 * (size - 100), 8 * size)):
        flipped = bytearray(case.evidence)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EvidenceRefused):
            case.but(evidence=bytes(flipped)).verify()

"""SEV-SNP reports: every generation, both kinds of key, and what is refused (AMD 56860, 57230)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from belljar.attestation.claims import Tee
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements
from belljar.attestation.snp.report import parse_report
from belljar.attestation.snp.table import parse_table
from support.captured import captured, read
from support.evidence import MEASUREMENT, REPORT_DATA, TCBS, Amd, Case, tcb_bytes
from support.vendors import NOW, Wish, chip_extensions, crl, issue, p256, raw

MILAN = Amd()


def refused(case: Case, text: str) -> None:
    with pytest.raises(EvidenceRefused, match=text):
        case.verify()


@pytest.mark.parametrize("product", TCBS)
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_reports_of_every_generation_and_version_verify(product: str, version: int) -> None:
    amd = Amd(product)
    claims = amd.case(version).verify()
    assert claims.tee is Tee.SEV_SNP
    assert claims.format == f"sev-snp-report-v{version}"
    assert (claims.measurement, claims.report_data, claims.svn) == (MEASUREMENT, REPORT_DATA, 7)
    assert claims.provider == amd.chip_id
    assert claims.root == amd.ark.pin
    assert (claims.debug, claims.simulated, claims.nonce, claims.product_id) == (False, False, None, None)
    said = claims.platform
    assert {name: said[f"reported_tcb_{name}"] for name in TCBS[product]} == TCBS[product]
    assert (said["product"], said["signing_key"], said["policy_smt"]) == (product.partition("-")[0], "VCEK", True)
    assert (said["launch_mitigations"] is None) is (version < 5)


def test_a_vlek_speaks_for_a_cloud_not_for_a_chip() -> None:
    claims = Amd(vlek=True).case().verify()
    assert claims.provider == b"cloud.example"
    assert claims.platform["signing_key"] == "VLEK"


def test_captured_reports_say_what_they_say() -> None:
    vcek, vlek = captured("snp-v2-vcek").verify(), captured("snp-v3-vlek").verify()
    assert vcek.measurement.hex().startswith("a1f3930413247bb3")
    assert vcek.provider is not None
    assert vcek.provider.hex().startswith("c38427a30d4c7af9")
    assert vlek.provider == b"CN=cc-us-east-2.amazonaws.com"
    assert (vlek.platform["reported_tcb_snp"], vlek.platform["vmpl"]) == (24, 1)


@pytest.mark.parametrize("name", ["legacy", "new"])
def test_captured_forged_chip_certificates_are_refused(name: str) -> None:
    case = captured("snp-v2-vcek")
    forged = (read(f"snp/test-vcek-invalid-{name}.der"), *case.endorsements.certificates[1:])
    refused(case.but(endorsements=Endorsements(certificates=forged)), "SNP report: signature: got does not hold")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"x00": b"\x01\0\0\0"}, "got version 1, expected one of"),
        ({"x00": b"\x06\0\0\0"}, "got version 6, expected one of"),
        ({"x34": b"\x02\0\0\0"}, "signature algorithm .* got 0x2, expected 0x1"),
        ({"x48": b"\x02\0\0\0"}, "chip id shown: got False"),
        ({"x48": b"\x1c\0\0\0"}, "signing key: got none"),
        ({"x48": b"\x08\0\0\0"}, "signing key: got reserved"),
        ({"x48": b"\x04\0\0\0"}, "VLEK certificate: got 0 among the endorsements"),
        ({"x1A0": b"\x01"}, "chip id: got 01"),
        ({"x188": b"\x1a\x02"}, "processor: got family 0x1a model 0x2, expected Milan"),
        ({"x180": bytes(8)}, "reported TCB: got .*'bootloader': 0.*, expected the certificate's .*'bootloader': 4"),
        ({"x08": bytes(8)}, "policy bit 17: got False"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, bytes], text: str) -> None:
    refused(MILAN.case(3, **changes), text)


def test_debug_is_told() -> None:
    assert MILAN.case(3, x08=(0x30000 | 1 << 19).to_bytes(8, "little")).verify().debug


@pytest.mark.parametrize("length", [0, 1183, 1185])
def test_other_sizes_are_refused(length: int) -> None:
    with pytest.raises(EvidenceRefused, match=f"SNP report: got {length} bytes, expected 1184"):
        parse_report(bytes(length))


def test_nothing_may_stand_where_nobody_signs() -> None:
    report = bytearray(MILAN.report())
    report[-1] = 1
    with pytest.raises(EvidenceRefused, match="what follows the signature at byte 816: got bytes that are set"):
        parse_report(bytes(report))


def test_a_report_needs_its_own_chip_and_its_own_chain() -> None:
    case = MILAN.case()
    other = Amd(chip=Wish())
    theirs = replace(case.endorsements, certificates=(other.vcek.der, other.ask.der, other.ark.der))
    refused(case.but(endorsements=theirs), "signature: got does not hold")
    both = replace(case.endorsements, certificates=(other.vcek.der, *case.endorsements.certificates))
    assert case.but(endorsements=both).verify() == case.verify()
    refused(case.but(endorsements=Endorsements()), "VCEK certificate: got 0 among the endorsements, expected one")
    refused(case.but(roots=frozenset({bytes(32)})), "root key")
    refused(case.but(now=NOW + 12 * 365 * 86400), "VCEK chain: SEV-VCEK valid")


def test_a_revoked_ask_is_refused() -> None:
    amd = Amd()
    case = amd.case()
    amd.ark.revoked.append(amd.ask.certificate.serial_number)
    refused(case.but(endorsements=replace(case.endorsements, crls=(crl(amd.ark),))), "CN=SEV-Milan: got revoked")
    refused(case.but(endorsements=replace(case.endorsements, crls=())), "CN=SEV-Milan: got no list")


@pytest.mark.parametrize(
    ("product", "chip_id", "struct_version", "text"),
    [
        ("Rome-B0", bytes(64), 0, "got product 'Rome-B0', expected one of Milan, Genoa, Turin"),
        ("Milan-B0", bytes(8), 0, "got a chip id of 8 bytes, expected 64"),
        ("Milan-B0", bytes(64), 1, "got layout 1 for Milan, expected 0"),
    ],
)
def test_certificates_of_other_layouts_are_refused(
    product: str, chip_id: bytes, struct_version: int, text: str
) -> None:
    extensions = chip_extensions(product, TCBS["Milan-B0"], chip_id=chip_id, struct_version=struct_version)
    with_chip(Wish(extensions=extensions), text)


def with_chip(wish: Wish, text: str) -> None:
    leaf = issue("SEV-VCEK", MILAN.vcek.key, MILAN.ask, wish)
    case = MILAN.case()
    certificates = (leaf.der, *case.endorsements.certificates[1:])
    refused(case.but(endorsements=replace(case.endorsements, certificates=certificates)), text)


def test_certificates_with_malformed_extensions_are_refused() -> None:
    good = chip_extensions("Milan-B0", TCBS["Milan-B0"], chip_id=MILAN.chip_id)
    with_chip(Wish(extensions=good[:-1]), "got both or none of chip id and cloud")
    wrapped = [*good[:-1], raw("1.3.6.1.4.1.3704.1.4", b"\x04\x40" + MILAN.chip_id)]  # as AMD writes it since 2023
    leaf = issue("SEV-VCEK", MILAN.vcek.key, MILAN.ask, Wish(extensions=wrapped))
    endorsements = MILAN.case().endorsements
    chain = replace(endorsements, certificates=(leaf.der, *endorsements.certificates[1:]))
    assert MILAN.case().but(endorsements=chain).verify().provider == MILAN.chip_id
    with_chip(Wish(extensions=[*good, raw("1.3.6.1.4.1.3704.1.5", b"\x16\x01x")]), "got both or none")
    for value in (b"\x02\x02\x01\x00", b"\x02\x01\xff", b"\x04\x01\x04", b"\x02\x01\x04\x00", b""):
        odd = [raw("1.3.6.1.4.1.3704.1.3.1", value), *(one for one in good if ".3704.1.3.1" not in str(one[0]))]
        extensions = [one for one in odd if one is odd[0] or one[0].oid.dotted_string != "1.3.6.1.4.1.3704.1.3.1"]
        with_chip(Wish(extensions=extensions), re.escape("extension 1.3.6.1.4.1.3704.1.3.1"))
    leaf = issue("SEV-VCEK", p256(), MILAN.ask, Wish(extensions=good))
    case = MILAN.case()
    certificates = (leaf.der, *case.endorsements.certificates[1:])
    refused(case.but(endorsements=replace(case.endorsements, certificates=certificates)), "expected P-384")


def entry(guid: bytes, offset: int, length: int) -> bytes:
    return guid + offset.to_bytes(4, "little") + length.to_bytes(4, "little")


ASK = bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782")
VCEK_LE = bytes.fromhex("8d75da6364e66445adc5f4b93be8accd")
ARK = bytes.fromhex("c0b406a4a803495297433fb6014cd0ae")
CRL = bytes.fromhex("92f81bc358114d3d97ffd19f88dc67ea")


def test_the_host_s_table_is_taken_apart() -> None:
    head = entry(ASK, 96, 3) + entry(VCEK_LE, 99, 4) + entry(CRL, 103, 2) + bytes(24)
    assert parse_table(head + b"ASKVCEKxx") == ((b"ASK", b"VCEK"), (b"xx",))
    assert parse_table(bytes(24)) == ((), ())
    for content, text in (
        (entry(ASK, 24, 3), "ends at 27, beyond 24"),
        (entry(ASK, 0, 24), "GUID at byte 24: got 0 bytes"),
        (entry(ASK, 0, 0) * 16, "more than 16 entries"),
        (bytes(70_000), "got 70000 bytes"),
    ):
        with pytest.raises(EvidenceRefused, match=text):
            parse_table(content)


def test_a_tcb_is_spelled_as_the_generation_does() -> None:
    assert tcb_bytes("Turin-B0", TCBS["Turin-B0"]) != tcb_bytes("Milan-B0", {**TCBS["Turin-B0"]})


def test_the_host_s_table_stands_for_its_certificates() -> None:
    case = MILAN.case()
    vcek, ask, ark = case.endorsements.certificates
    offset, head = 96, b""
    for guid, content in ((VCEK_LE, vcek), (ASK, ask), (ARK, ark)):
        head += entry(guid, offset, len(content))
        offset += len(content)
    table = head + bytes(24) + vcek + ask + ark
    endorsed = case.but(endorsements=replace(case.endorsements, certificates=(table,)))
    assert endorsed.verify() == case.verify()
    refused(case.but(endorsements=replace(case.endorsements, certificates=(table[:90],))), "SNP certificate table")

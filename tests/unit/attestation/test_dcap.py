"""SGX and TDX quotes, and Intel's collateral: what holds, how a platform stands, what is refused (Intel DCAP)."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.claims import TcbStatus, Tee
from belljar.attestation.dcap.tcb import worst
from belljar.attestation.dcap.wire import parse_collateral, split_signed
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements
from support.captured import FOLDER, captured, read
from support.evidence import MEASUREMENT, REPORT_DATA, Case, Intel, enclave_level, sgx_body, stamp, td_body
from support.vendors import ARC, COMPONENTS, NOW, Authority, Wish, authority, crl, issue, p256, pck_extension, raw

SGX, TDX = Intel(), Intel(tdx=True)


def refused(case: Case, text: str) -> None:
    with pytest.raises(EvidenceRefused, match=text):
        case.verify()


def with_collateral(intel: Intel, case: Case | None = None, **changes: Any) -> Case:
    case = case or intel.case(5 if intel.tdx else 3)
    return case.but(endorsements=replace(case.endorsements, collateral=intel.collateral(**changes)))


@pytest.mark.parametrize("version", [3, 4, 5])
def test_enclaves_quotes_verify(version: int) -> None:
    claims = SGX.case(version).verify()
    assert (claims.tee, claims.format) == (Tee.SGX, f"sgx-quote-v{version}")
    assert (claims.measurement, claims.report_data) == (MEASUREMENT[:32], REPORT_DATA)
    assert (claims.product_id, claims.svn, claims.provider) == (3, 5, b"P" * 16)
    assert (claims.tcb_status, claims.advisories, claims.debug) == (TcbStatus.UP_TO_DATE, (), False)
    assert claims.platform["tcb_evaluation"] == 17


@pytest.mark.parametrize(("version", "later"), [(4, False), (5, False), (5, True)])
def test_trust_domains_quotes_verify(version: int, later: bool) -> None:  # noqa: FBT001 - a parameter of the test
    claims = TDX.case(version, body=td_body(later=later)).verify()
    assert (claims.tee, claims.measurement) == (Tee.TDX, MEASUREMENT)
    assert claims.tcb_status is TcbStatus.UP_TO_DATE
    assert (claims.platform["mrservicetd"] is not None) is later
    assert len({claims.platform[f"rtmr{index}"] for index in range(4)}) == 4


def test_captured_quotes_say_what_dcap_qvl_says_of_them() -> None:
    sgx, tdx = captured("sgx-v3").verify(), captured("tdx-v4").verify()
    assert sgx.tcb_status is TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED
    assert sgx.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert tdx.tcb_status is TcbStatus.UP_TO_DATE
    assert captured("tdx-v4-debug").verify().debug
    assert captured("tdx-v5").verify().format == "tdx-quote-v5"
    oracle = pytest.importorskip("dcap_qvl", reason="no dcap-qvl")
    for name, path in (("sgx-v3", "sgx/ph-sgx_quote"), ("tdx-v4", "tdx/ph-tdx_quote")):
        case = captured(name)
        text = read(f"{path}_collateral.json").decode()
        report = oracle.verify(case.evidence, oracle.QuoteCollateralV3.from_json(text), case.now)
        ours = case.verify()
        assert ours.tcb_status is not None
        assert (report.status, tuple(report.advisory_ids)) == (ours.tcb_status.value, ours.advisories)
        flipped = bytearray(case.evidence)
        flipped[200] ^= 1
        with pytest.raises(ValueError, match=r"."):
            oracle.verify(bytes(flipped), oracle.QuoteCollateralV3.from_json(text), case.now)
    assert FOLDER.is_dir()


@pytest.mark.parametrize(
    ("intel", "body"),
    [(SGX, sgx_body(b"\x07")), (TDX, td_body(attributes=b"\x01")), (TDX, td_body(attributes=b"\x02"))],
)
def test_debug_is_told(intel: Intel, body: bytes) -> None:
    assert intel.case(4, body=body).verify().debug


def test_a_debug_quoting_enclave_is_refused() -> None:
    refused(SGX.case(3, qe=b"\x13"), "quoting enclave: debug: got True, expected False")


def test_a_foreign_quoting_enclave_is_refused_even_without_collateral() -> None:
    case = SGX.case(3)
    foreign = Intel(tdx=True)  # signs with the signer of TDX's quoting enclave
    foreign.root, foreign.ca, foreign.pck = SGX.root, SGX.ca, SGX.pck
    quote = bytearray(foreign.quote(4, td_body()))
    refused(case.but(evidence=bytes(quote)), "TCB info: about: got SGX, expected TDX")
    foreign.tdx = False
    alien = foreign.quote(3, sgx_body())
    assert case.but(evidence=alien, endorsements=Endorsements(crls=SGX.crls())).verify().tcb_status is None


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [
        (0, b"\x02\0", "got version 2"),
        (0, b"\x06\0", "got version 6"),
        (2, b"\x03\0", "kind of attestation key .* got 0x3, expected 0x2"),
        (4, b"\x81", "TEE: got 0x81"),
        (4, b"\x01", "TEE: got 0x1"),
        (12, b"\0", "vendor of the quoting enclave"),
        (28, b"U", "quote: signature: got does not hold"),
        (60, b"\x01", "quote: signature: got does not hold"),
        (432, b"\x01\0\0", "got bytes that are set, expected zeros|bytes follow its signatures|quote signatures:"),
    ],
)
def test_frames_that_do_not_fit_are_refused(offset: int, value: bytes, text: str) -> None:
    case = SGX.case(3)
    quote = bytearray(case.evidence)
    quote[offset : offset + len(value)] = value
    refused(case.but(evidence=bytes(quote)), text)


def test_a_body_of_another_type_is_refused() -> None:
    case = TDX.case(5)
    for kind, size in ((1, 384), (4, 648), (3, 584), (2, 648)):
        quote = case.evidence[:48] + struct.pack("<HI", kind, size) + case.evidence[54:]
        refused(case.but(evidence=quote), "body type|body size")


def test_swapped_attestation_keys_are_refused() -> None:
    one, other = SGX.quote(), SGX.quote()
    start = 436  # header, body, size
    for first, last, text in (
        (start, start + 64, "quote: signature"),
        (start + 64, start + 128, "quoting enclave: attestation key"),
        (start + 128, start + 576, "quoting enclave: attestation key"),
        (start + 128 + 384, start + 128 + 448, "report signed by PCK"),
    ):
        mixed = one[:first] + other[first:last] + one[last:]
        refused(SGX.case().but(evidence=mixed), text)


def with_chain(quote: bytes, pem: bytes) -> bytes:
    """Return a quote of version 3 with another chain."""
    at = quote.index(b"-----BEGIN")
    tail = quote[436 : at - 4] + struct.pack("<I", len(pem)) + pem
    return quote[:432] + struct.pack("<I", len(tail)) + tail


def test_chains_of_other_people_are_refused() -> None:
    case, other = SGX.case(), Intel()
    quote = case.evidence
    assert case.but(evidence=with_chain(quote, SGX.pck.pem + SGX.ca.pem + SGX.root.pem)).verify()
    refused(case.but(evidence=with_chain(quote, other.pck.pem + other.ca.pem + other.root.pem)), "root key")
    extra = SGX.pck.pem + SGX.ca.pem + SGX.root.pem + other.root.pem
    refused(case.but(evidence=with_chain(quote, extra)), "certificates beside it in the quote: got some")
    refused(case.but(evidence=with_chain(quote, SGX.tcb.pem + SGX.root.pem)), "PCK chain: names: got Intel SGX TCB")
    leaf = issue("Intel SGX PCK Certificate", p256(), SGX.root, Wish(extensions=[pck_extension()]))
    refused(case.but(evidence=with_chain(quote, leaf.pem + SGX.root.pem)), "PCK chain: names")


def test_a_chain_may_come_with_the_collateral() -> None:
    case = SGX.case()
    collateral = case.endorsements.collateral
    assert collateral is not None
    both = replace(collateral, pck_chain=(SGX.ca.der, SGX.root.der))
    quote = with_chain(case.evidence, SGX.pck.pem)
    refused(case.but(evidence=quote), "signatures up to a root")
    endorsed = case.but(evidence=quote, endorsements=replace(case.endorsements, collateral=both))
    assert endorsed.verify().tcb_status is TcbStatus.UP_TO_DATE


def test_the_revoked_are_refused() -> None:
    intel = Intel()
    for issuer, revoked, text in (
        (intel.ca, intel.pck, "CN=Intel SGX PCK Certificate: got revoked"),
        (intel.root, intel.ca, "CN=Intel SGX PCK Platform CA: got revoked"),
        (intel.root, intel.tcb, "CN=Intel SGX TCB Signing: got revoked"),
    ):
        issuer.revoked.append(revoked.certificate.serial_number)
        refused(intel.case(), text)
        issuer.revoked.clear()
    case = intel.case()
    for lists in ((), case.endorsements.crls[:1], case.endorsements.crls[1:]):
        refused(case.but(endorsements=replace(case.endorsements, crls=lists)), "got no list")
    stale = (crl(intel.root, days=30), crl(intel.ca))
    refused(case.but(endorsements=replace(case.endorsements, crls=stale)), "list in date")


@pytest.mark.parametrize("days", [-2, 30, 400])
def test_collateral_out_of_date_is_refused(days: int) -> None:
    refused(SGX.case().but(now=NOW + days * 86400), "TCB info: in date")


def test_old_qe_identities_are_refused() -> None:
    refused(with_collateral(SGX, identity={"nextUpdate": stamp(0)}), "QE identity: in date")
    refused(with_collateral(SGX, identity={"issueDate": stamp(1)}), "QE identity: in date")


def test_collateral_is_signed_by_the_tcb_signer_alone() -> None:
    intel = Intel()
    intel.tcb = issue("Intel SGX PCK Certificate", p256(), intel.root)
    refused(intel.case(), "TCB signing chain: signer: got Intel SGX PCK Certificate")
    intel.tcb = issue("Intel SGX TCB Signing", p256(), intel.root)
    collateral = replace(SGX.collateral(), tcb_chain=(intel.tcb.der, intel.root.der))
    case = intel.case(3).but(endorsements=Endorsements(crls=intel.crls(), collateral=collateral))
    refused(case, "TCB info: signature: got does not hold")
    refused(case.but(endorsements=Endorsements(crls=intel.crls(), collateral=replace(collateral, tcb_chain=()))),
            "TCB signing chain: got no certificates")  # fmt: skip


LEVELS = SGX.tcb_info()["tcbLevels"]


@pytest.mark.parametrize(
    ("changes", "status", "advisories"),
    [
        ({"tcb_info": {"tcbLevels": [LEVELS[0] | {"tcbStatus": "Revoked"}]}}, TcbStatus.REVOKED, ()),
        ({"tcb_info": {"tcbLevels": [LEVELS[1]]}}, TcbStatus.OUT_OF_DATE, ("INTEL-SA-00001",)),
        ({"identity": {"tcbLevels": [enclave_level(9), enclave_level(2, "OutOfDate")]}}, TcbStatus.OUT_OF_DATE, ()),
        (
            {"tcb_info": {"tcbLevels": [LEVELS[0] | {"tcbStatus": "ConfigurationNeeded", "advisoryIDs": ["SA-2"]}]},
             "identity": {"tcbLevels": [enclave_level(2, "OutOfDate")]}},
            TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED, ("SA-2",),
        ),
    ],
)  # fmt: skip
def test_a_platform_stands_as_intel_s_list_says(
    changes: dict[str, Any], status: TcbStatus, advisories: tuple[str, ...]
) -> None:
    claims = with_collateral(SGX, **changes).verify()
    assert (claims.tcb_status, claims.advisories) == (status, advisories)


def test_an_older_platform_falls_to_a_lower_level() -> None:
    intel = Intel(pck_wish=Wish(extensions=[pck_extension(pce_svn=12)]))
    assert intel.case().verify().tcb_status is TcbStatus.OUT_OF_DATE
    intel = Intel(pck_wish=Wish(extensions=[pck_extension((10, *COMPONENTS[1:]))]))
    refused(intel.case(), r"platform TCB level: got SVNs \(10, 11.*expected one of 2 levels")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tcb_info": {"fmspc": "00A067110001"}}, "TCB info: FMSPC: got 00a067110000, expected 00a067110001"),
        ({"tcb_info": {"pceId": "0001"}}, "TCB info: PCE id"),
        ({"tcb_info": {"id": "TDX"}}, "TCB info.tdxModule: got NoneType|expected an object"),
        ({"tcb_info": {"id": "XXX"}}, "TCB info: about: got XXX, expected SGX"),
        ({"tcb_info": {"version": 2}}, "TCB info.version: got 2, expected 3"),
        ({"tcb_info": {"tcbType": 1}}, "TCB info.tcbType: got 1, expected 0"),
        ({"tcb_info": {"tcbLevels": []}}, "expected one of 0 levels"),
        ({"tcb_info": {"tcbLevels": [LEVELS[0] | {"tcbStatus": "Fine"}]}}, "got 'Fine', expected one of UpToDate"),
        ({"tcb_info": {"issueDate": "yesterday"}}, "issueDate: got 'yesterday', expected a time"),
        ({"tcb_info": {"tcbEvaluationDataNumber": "17"}}, "tcbEvaluationDataNumber: got str, expected int"),
        ({"identity": {"id": "TD_QE"}}, "QE identity: about: got TD_QE, expected QE"),
        ({"identity": {"mrsigner": "00" * 32}}, "quoting enclave: MRSIGNER"),
        ({"identity": {"mrsigner": "00" * 31}}, "mrsigner: got .* expected 32 bytes in hexadecimal"),
        ({"identity": {"isvprodid": 2}}, "quoting enclave: ISVPRODID: got 1, expected 2"),
        ({"identity": {"miscselect": "00000001"}}, "quoting enclave: MISCSELECT"),
        ({"identity": {"attributes": "13" + "00" * 15}}, "quoting enclave: attributes"),
        ({"identity": {"tcbLevels": [enclave_level(9)]}}, "quoting enclave: SVN: got 8, expected at least one of 9"),
    ],
)
def test_collateral_about_something_else_is_refused(changes: dict[str, Any], text: str) -> None:
    refused(with_collateral(SGX, **changes), text)


def test_tdx_modules_of_later_versions_have_their_own_levels() -> None:
    def case(svn: bytes, identities: list[dict[str, Any]]) -> Case:
        quote = TDX.case(4, body=td_body(tcb_svn=svn))
        return with_collateral(TDX, quote, tcb_info={"tdxModuleIdentities": identities})

    module = {"id": "TDX_01", "mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    levels = [enclave_level(4), enclave_level(2, "OutOfDate") | {"advisoryIDs": ["INTEL-SA-00003"]}]
    known = [module | {"tcbLevels": levels}]
    assert case(b"\x04\x01\x02", known).verify().tcb_status is TcbStatus.UP_TO_DATE
    old = case(b"\x03\x01\x02", known).verify()
    assert (old.tcb_status, old.advisories) == (TcbStatus.OUT_OF_DATE, ("INTEL-SA-00003",))
    refused(case(b"\x01\x01\x02", known), "TDX module: SVN: got 1, expected at least one of 4, 2")
    refused(case(b"\x04\x02\x02", known), "TDX module: version: got TDX_02, expected one of TDX_00, TDX_01")
    refused(case(b"\x04\0\x02", known), "platform TCB level")
    refused(case(b"\x04\x01\x02", [known[0] | {"mrsigner": "01" * 48}]), "TDX module: MRSIGNERSEAM")
    refused(case(b"\x04\x01\x02", [known[0] | {"attributes": "01" * 8}]), "TDX module: SEAM attributes")


def test_the_worst_counts() -> None:
    for status in TcbStatus:
        assert worst([status]) is status
        assert worst([status, TcbStatus.UP_TO_DATE]) is status
        assert worst([TcbStatus.REVOKED, status]) is TcbStatus.REVOKED
    both = [TcbStatus.SW_HARDENING_NEEDED, TcbStatus.CONFIGURATION_NEEDED]
    assert worst(both) is TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED
    assert worst([*both, TcbStatus.OUT_OF_DATE]) is TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED


@pytest.mark.parametrize(
    ("extension", "text"),
    [
        (None, "got no SGX extension"),
        (b"\x30\0", "member 2 is missing"),
        (b"\x04\0", "expected one 0x30"),
        (b"\x30\x02\x05\0", "a member that is not an Intel OID and a value"),
        (b"\x30\x20" + (b"\x30\x0e\x06\x0a" + ARC + b"\x01\x05\0") * 2, "has member 1 twice"),
    ],
)
def test_pck_certificates_of_other_layouts_are_refused(extension: bytes | None, text: str) -> None:
    extensions = [] if extension is None else [raw("1.2.840.113741.1.13.1", extension)]
    refused(Intel(pck_wish=Wish(extensions=extensions)).case(), text)


def test_collateral_is_read_from_a_file() -> None:
    found = SGX.collateral()
    chain = (SGX.tcb.certificate.public_bytes(Encoding.PEM) + SGX.root.pem).decode()
    members = {
        "pck_crl_issuer_chain": (SGX.ca.pem + SGX.root.pem).decode(), "root_ca_crl": crl(SGX.root).hex(),
        "pck_crl": crl(SGX.ca).hex(), "tcb_info_issuer_chain": chain, "qe_identity_issuer_chain": chain,
        "tcb_info": found.tcb_info.decode(), "tcb_info_signature": found.tcb_info_signature.hex(),
        "qe_identity": found.qe_identity.decode(), "qe_identity_signature": found.qe_identity_signature.hex(),
    }  # fmt: skip
    endorsements = parse_collateral(json.dumps(members).encode())
    assert SGX.case().but(endorsements=endorsements).verify().tcb_status is TcbStatus.UP_TO_DATE
    for name in members:
        with pytest.raises(EvidenceRefused):
            parse_collateral(json.dumps(members | {name: 1 if name in ("tcb_info", "qe_identity") else "zz"}).encode())
        with pytest.raises(EvidenceRefused):
            parse_collateral(json.dumps({key: value for key, value in members.items() if key != name}).encode())
    with pytest.raises(EvidenceRefused, match="not JSON"):
        parse_collateral(b"[" * 100_000)


def test_bodies_of_intel_s_service_are_split_as_they_are_signed() -> None:
    body = b'{"tcbInfo":{"a": 1},"signature":"' + b"ab" * 64 + b'"}'
    assert split_signed(body) == (b'{"a": 1}', b"\xab" * 64)
    for other in (body[:-1], body + b" ", body.replace(b"tcbInfo", b"other"), b""):
        with pytest.raises(EvidenceRefused, match=re.escape("expected") + "|something else"):
            split_signed(other)


def test_a_root_that_is_not_pinned_signs_no_collateral() -> None:
    other = Intel()
    endorsements = Endorsements(crls=(*SGX.crls(), *other.crls()), collateral=other.collateral())
    refused(SGX.case().but(endorsements=endorsements), "TCB signing chain: root key")
    usurper = Authority(key=p256(), certificate=SGX.root.certificate)
    assert usurper.pin == SGX.root.pin
    assert issue("x", p256(), usurper, Wish(extensions=authority())).certificate != SGX.root.certificate

"""Our own evidence: what holds in both encodings and with every algorithm, and what must not be believed."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.cbor import Cbor, Tagged, decode, encode
from belljar.attestation.claims import Claims, Purpose, Task, Tee
from belljar.attestation.dice.certificate import PlatformFacts
from belljar.attestation.dice.enclave import Enclave
from belljar.attestation.eat.attester import Attester, Request, Run, attest, make_evidence, wrapped_cwt, wrapped_jwt
from belljar.attestation.eat.cmw import Wrapped, unwrap, wrap, wrap_json
from belljar.attestation.eat.report_data import platform_data, report_data
from belljar.attestation.eat.statement import PROFILE, from_cbor, oid_contents, to_cbor, to_json
from belljar.attestation.eat.token import open_token, sign_cwt, sign_jwt
from belljar.attestation.eat.verify import EatFormat, Expected, verify_evidence
from belljar.attestation.errors import EvidenceRefused, RootCannot
from belljar.attestation.evidence import Endorsements, Trust, key_digest
from belljar.attestation.keys import ALGORITHM_NAMES, generate
from belljar.attestation.roots.root import HardwareQuote
from belljar.attestation.steps import Trail
from support.roots import NOW, FixedRoot, trust_in

VECTORS = Path(__file__).parents[2] / "vectors/attestation"
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
RUN = Run(
    enclave=ENCLAVE, instance=b"i" * 16, runtime="belljar", runtime_version="1.2", kernel="Linux 6.12",
    data_consistency=b"d" * 32, task=Task(argv=b"a" * 32, environment=b"e" * 32),
)  # fmt: skip
REQUEST = Request(nonce=b"n" * 32, purpose=Purpose.CHANNEL, body=b"binder", now=NOW)
EXPECTED = Expected(nonce=REQUEST.nonce, purpose=REQUEST.purpose, body=REQUEST.body)
ROOT = FixedRoot(b"u" * 32)
TRUST = trust_in(ROOT)
ATTESTER = attest(ROOT, RUN)
CWT, JWT = ATTESTER.cwt(REQUEST), ATTESTER.jwt(REQUEST)

forms = pytest.mark.parametrize("form", ["cwt", "jwt", "wrapped_cwt", "wrapped_jwt"])


def made(attester: Attester, form: str, request: Request = REQUEST) -> bytes:
    if form.endswith("jwt"):
        token = attester.jwt(request)
        return wrapped_jwt(token) if form.startswith("wrapped") else token
    token = attester.cwt(request)
    return wrapped_cwt(token) if form.startswith("wrapped") else token


def verified(evidence: bytes, expected: Expected = EXPECTED, trust: Trust = TRUST, **words: Any) -> Claims:
    return verify_evidence(evidence, expected, trust, formats=words.pop("formats", EatFormat()), **words)


@forms
@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_evidence_holds_in_every_form_and_algorithm(name: str, form: str) -> None:
    root = FixedRoot(b"u" * 32, name)
    evidence = made(attest(root, RUN), form)
    assert EatFormat().recognises(evidence)
    claims = verified(evidence, trust=trust_in(root))
    assert claims == dataclasses.replace(
        verified(CWT), format=claims.format, root=claims.root, provider=root.platform, platform=claims.platform
    )
    assert claims.platform["algorithm"] == name
    assert claims.format == f"belljar-eat-{form[-3:]}-v1"


def test_every_claim_of_7_2_3_is_there() -> None:
    claims = verified(CWT)
    assert claims == Claims(
        tee=Tee.SOFT, format="belljar-eat-cwt-v1", measurement=b"m" * 32, debug=True, simulated=True,
        root=next(iter(TRUST.roots)), signer=b"s" * 32, product_id=7, svn=3, provider=ROOT.platform,
        report_data=report_data(Purpose.CHANNEL, b"binder"), nonce=b"n" * 32, purpose=Purpose.CHANNEL,
        data_consistency=b"d" * 32, task=RUN.task, runtime="belljar 1.2", kernel="Linux 6.12", instance_id=b"i" * 16,
        issued_at=NOW, platform=claims.platform,
    )  # fmt: skip
    assert claims.platform["kind"] == "soft"
    assert claims.plain()["measurement"] == (b"m" * 32).hex()


def test_what_is_not_told_is_none() -> None:
    run = dataclasses.replace(RUN, data_consistency=None, task=None, enclave=dataclasses.replace(ENCLAVE, signer=None))
    claims = verified(make_evidence(ROOT, run, REQUEST))
    assert (claims.signer, claims.data_consistency, claims.task) == (None, None, None)


# --- replay and misuse


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"nonce": b"x" * 32}, "nonce: got 6e6e.*, expected 7878"),
        ({"nonce": b"n" * 31}, "nonce: got"),
        ({"purpose": Purpose.KEY_RELEASE}, "purpose: got Purpose.CHANNEL, expected Purpose.KEY_RELEASE"),
        ({"body": b"other"}, "report data: got"),
    ],
)
@forms
def test_evidence_for_something_else_is_refused(form: str, expected: dict[str, Any], message: str) -> None:
    with pytest.raises(EvidenceRefused, match=message):
        verified(made(ATTESTER, form), dataclasses.replace(EXPECTED, **expected))


def test_a_guests_own_bytes_cannot_pass_as_a_channel() -> None:
    """Whatever body a program chooses, its evidence says `guest-data`, in words and in the report data."""
    wanted = report_data(Purpose.CHANNEL, b"binder")
    for body in (b"binder", wanted, b"belljar.report-data/1\x00\x07channel" + (6).to_bytes(8, "big") + b"binder"):
        token = ATTESTER.cwt(dataclasses.replace(REQUEST, purpose=Purpose.GUEST, body=body))
        with pytest.raises(EvidenceRefused, match=r"purpose: got Purpose.GUEST, expected Purpose.CHANNEL"):
            verified(token)
        assert verified(token, dataclasses.replace(EXPECTED, purpose=Purpose.GUEST, body=body)).report_data != wanted


def test_report_data_differs_by_purpose_and_body_alone() -> None:
    found = {report_data(purpose, body) for purpose in Purpose for body in (b"", b"x", b"xx")}
    assert len(found) == len(Purpose) * 3
    assert platform_data(b"k" * 32, b"n") not in found


def test_a_nonce_has_a_size() -> None:
    for size in (0, 7, 65):
        with pytest.raises(EvidenceRefused, match=f"a nonce of {size} bytes, expected 8 to 64"):
            ATTESTER.cwt(dataclasses.replace(REQUEST, nonce=bytes(size)))


# --- who signs, and when


def test_another_platforms_evidence_is_refused() -> None:
    other = FixedRoot(b"o" * 32, ca=b"x" * 32)
    with pytest.raises(EvidenceRefused, match="root of the chain"):
        verified(make_evidence(other, RUN, REQUEST))


@pytest.mark.parametrize("later", [7 * 24 * 3600 + 1, 10_000_000])
def test_evidence_ends_with_its_certificate(later: int) -> None:
    with pytest.raises(EvidenceRefused, match="validity of the evidence certificate"):
        verified(CWT, trust=dataclasses.replace(TRUST, now=NOW + later))


def test_evidence_from_the_future_is_refused() -> None:
    with pytest.raises(EvidenceRefused, match="time of the token: got"):
        verified(ATTESTER.cwt(dataclasses.replace(REQUEST, now=NOW + 301)))
    assert verified(attest(ROOT, RUN).cwt(dataclasses.replace(REQUEST, now=NOW + 299))).issued_at == NOW + 299


def test_a_certificate_is_renewed_before_it_ends() -> None:
    attester = attest(ROOT, RUN)
    attester.cwt(REQUEST)
    later = NOW + 7 * 24 * 3600
    token = attester.cwt(dataclasses.replace(REQUEST, now=later))
    assert verified(token, trust=dataclasses.replace(TRUST, now=later)).issued_at == later


def test_each_run_has_a_key_of_its_own() -> None:
    assert open_token(attest(ROOT, RUN).cwt(REQUEST)).key != open_token(CWT).key


# --- claims that certificates contradict

SWAPPED: list[tuple[str, Any]] = [
    ("measurement", b"x" * 32), ("signer", b"x" * 32), ("signer", None), ("product_id", 8), ("svn", 4),
    ("provider", b"x" * 20), ("ueid", b"\x01" + b"x" * 32), ("simulated", False), ("debug", 1), ("tee", "tpm"),
]  # fmt: skip


@pytest.mark.parametrize(("attribute", "value"), SWAPPED)
@pytest.mark.parametrize("form", ["cwt", "jwt"])
def test_claims_that_the_certificates_do_not_bear_out_are_refused(attribute: str, value: object, form: str) -> None:
    """Somebody with the evidence key of one run still cannot claim to be another enclave."""
    change: dict[str, Any] = {attribute: value}
    statement = dataclasses.replace(ATTESTER._statement(REQUEST), **change)
    key, chain = ATTESTER._key, ATTESTER._certificates(NOW)
    token = sign_jwt(to_json(statement), key, chain) if form == "jwt" else sign_cwt(to_cbor(statement), key, chain)
    with pytest.raises(EvidenceRefused, match="in token and certificates: got"):
        verified(token)


def resigned(change: Callable[[dict[Any, Any]], object]) -> bytes:
    """Sign other claims by the book, with the run's key."""
    claims = to_cbor(ATTESTER._statement(REQUEST))
    change(claims)
    return sign_cwt(claims, ATTESTER._key, ATTESTER._certificates(NOW))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda claims: claims.pop(10), "does not claim eat_nonce"),
        (lambda claims: claims.pop(-76012), "does not claim belljar.simulated"),
        (lambda claims: claims.update({-76012: 0}), "claim belljar.simulated is not as the profile has it"),
        (lambda claims: claims.update({263: 4}), "claim dbgstat is not as the profile has it"),
        (lambda claims: claims.update({-76003: True}), "claim belljar.svn is not as the profile has it"),
        (lambda claims: claims.update({-76003: 65_536}), "claim belljar.svn is not as the profile has it"),
        (lambda claims: claims.update({265: b"\x2a"}), "claim eat_profile is not as the profile has it"),
        (lambda claims: claims.update({270: "a\nb"}), "claim swname is not as the profile has it"),
        (lambda claims: claims.update({271: ["1", "2"]}), "claim swversion is not as the profile has it"),
        (lambda claims: claims.update({6: -1}), "claim iat is not as the profile has it"),
        (lambda claims: claims.update({1: "iss"}), "1 claims that the profile does not know"),
        (lambda claims: claims.update({-76006: "party"}), "'party' is not a valid Purpose"),
        (lambda claims: claims.pop(-76008), "arguments or environment alone"),
    ],
)
def test_claims_out_of_the_profile_are_refused(change: Callable[[dict[Any, Any]], object], message: str) -> None:
    with pytest.raises(EvidenceRefused, match=message):
        verified(resigned(change))


# --- envelopes


def parts_of(token: bytes) -> list[Cbor]:
    outer = decode(token, tags=frozenset({61, 18}))
    assert isinstance(outer, Tagged)
    assert isinstance(outer.value, Tagged)
    assert isinstance(outer.value.value, list)
    return outer.value.value


def rebuilt(change: Callable[[dict[Any, Any], list[Any]], object]) -> bytes:
    """Change headers or parts of a token and sign it anew by the book."""
    parts: list[Any] = parts_of(CWT)
    headers = decode(parts[0])
    assert isinstance(headers, dict)
    change(headers, parts)
    parts[0] = encode(headers)
    parts[3] = ATTESTER._key.sign(encode(["Signature1", parts[0], b"", parts[2]]))
    return encode(Tagged(tag=61, value=Tagged(tag=18, value=parts)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda headers, _: headers.update({1: -7}), "says algorithm -7, its key is for -19"),
        (lambda headers, _: headers.update({1: -8}), "says algorithm -8, its key is for -19"),
        (lambda headers, _: headers.update({1: 5}), "signed with algorithm 5, expected one of"),
        (lambda headers, _: headers.update({16: "application/cwt"}), "type is 'application/cwt', expected"),
        (lambda headers, _: headers.update({4: b"kid"}), "headers are not algorithm, type, and chain or key"),
        (lambda headers, _: headers.pop(33), "headers are not algorithm, type, and chain or key"),
        (lambda headers, _: headers.update({33: []}), "not a list of 2 to 8 certificates"),
        (lambda headers, _: headers.update({33: ["a", "b"]}), "holds something that is no certificate"),
        (lambda headers, _: headers.update({33: [b"a", b"b"]}), "not one of version 3"),
        (lambda headers, _: headers[33].pop(), "certificates in the chain: got 3, expected 4"),
        (lambda _, parts: parts.__setitem__(1, {4: b"x"}), "no header that nobody signed"),
        (lambda _, parts: parts.append(b""), "four parts"),
    ],
)
def test_other_envelopes_are_refused(change: Callable[[dict[Any, Any], list[Any]], object], message: str) -> None:
    with pytest.raises(EvidenceRefused, match=message):
        verified(rebuilt(change))


def test_a_bare_key_needs_hardware_to_vouch_for_it() -> None:
    """Dropping the chain and naming any key instead must lead nowhere."""
    key = generate()
    with pytest.raises(EvidenceRefused, match="quote of the hardware: got none, expected one of none"):
        verified(sign_cwt(to_cbor(ATTESTER._statement(REQUEST)), key, ()))


def test_jwt_headers_are_exact() -> None:
    header, payload, signature = JWT.split(b".")
    fields = json.loads(base64.urlsafe_b64decode(header + b"=="))
    for change, message in (
        ({"alg": "none"}, "says algorithm 'none'"), ({"alg": "HS256"}, "says algorithm 'HS256'"),
        ({"typ": "JWT"}, "header is not algorithm, type"), ({"jku": "http://x"}, "header is not algorithm, type"),
        ({"x5c": "x"}, "not a list of 2 to 8"), ({"x5c": [1, 2]}, "no certificate"),
        ({"x5c": ["!", "!"]}, "not base64"),
    ):  # fmt: skip
        text = json.dumps({**fields, **change}, sort_keys=True, separators=(",", ":")).encode()
        forged = base64.urlsafe_b64encode(text).rstrip(b"=")
        with pytest.raises(EvidenceRefused, match=message):
            verified(b".".join((forged, payload, signature)))
    spaced = base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=")
    for forged in (b".".join((spaced, payload, signature)), JWT + b".", JWT + b"=", header + b"." + payload):
        with pytest.raises(EvidenceRefused):
            verified(forged)


def test_wrappers_are_exact() -> None:
    for record in (wrap(Wrapped(media_type="application/eat+cwt", content=CWT)), wrapped_cwt(CWT), wrapped_jwt(JWT)):
        assert verified(record).nonce == REQUEST.nonce
    assert unwrap(wrapped_cwt(CWT)).media_type == f'application/eat+cwt; eat_profile="{PROFILE}"'
    for record, message in (
        (wrap(Wrapped(media_type="text/plain", content=CWT)), "a wrapper of 'text/plain'"),
        (wrap(Wrapped(media_type="application/eat+jwt", content=CWT)), "around something else"),
        (wrap_json(Wrapped(media_type="application/eat+cwt", content=JWT)), "around something else"),
        (encode(["application/eat+cwt", CWT, 8]), "messages of kind 8, expected evidence"),
        (encode(["application/eat+cwt", "text", 4]), "content is not bytes"),
        (encode([263, CWT, 4]), "without the media type"),
        (encode(["application/eat+cwt", CWT]), "not a token"),
        (b'["application/eat+jwt", "", 4]', "not canonical JSON"),
        (b"[1.5]", "not canonical JSON"),
        (b"[" * 100_000, "not canonical JSON"),
    ):
        with pytest.raises(EvidenceRefused, match=message):
            verified(record)


# --- bytes from anybody


@settings(deadline=None)  # others use this machine, too
@given(st.sampled_from([CWT, JWT, wrapped_cwt(CWT), wrapped_jwt(JWT)]), st.data())
def test_no_bit_can_be_flipped(evidence: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(evidence) - 1))
    changed = bytearray(evidence)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = verified(bytes(changed))
    except EvidenceRefused:
        return
    # what no signature covers: the wrapper's text, where it still names the same kind of content
    assert found.nonce == REQUEST.nonce
    assert unwrap(bytes(changed)).media_type != unwrap(evidence).media_type


@settings(deadline=None)
@given(st.sampled_from([CWT, JWT, wrapped_cwt(CWT), wrapped_jwt(JWT)]), st.data())
def test_no_byte_can_be_missing(evidence: bytes, data: st.DataObject) -> None:
    with pytest.raises(EvidenceRefused):
        verified(evidence[: data.draw(st.integers(0, len(evidence) - 1))])


@settings(deadline=None)
@given(st.sampled_from([b"", b"\xd8\x3d\xd2", b"ey", b"[", b"\x83", b"\xd8\x3d\xd2\x84"]), st.binary(max_size=200))
def test_nothing_but_evidence_is_read(start: bytes, content: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        verified(start + content)
    with pytest.raises(EvidenceRefused):
        from_cbor(content)
    assert isinstance(EatFormat().recognises(start + content), bool)


def test_what_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(EvidenceRefused, match="expected at most 262144"):
        verified(b"\xd8\x3d\xd2" + bytes(1 << 18))
    with pytest.raises(EvidenceRefused, match="expected at most 2097152"):
        verified(b"[" + bytes(1 << 21))


# --- hardware

MEDIA_TYPE = "application/vnd.test.quote"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FakeQuotes:
    """A kind of hardware whose quotes are 32 bytes of a key's digest and 64 of report data, for the seam alone."""

    name: str = "test hardware"
    media_types: frozenset[str] = frozenset({MEDIA_TYPE})
    tee: Tee = Tee.TPM

    def recognises(self, evidence: bytes) -> bool:
        return len(evidence) == 96

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        trail.check("quoting key", evidence[:32], "a pinned one", passed=evidence[:32] in trust.roots)
        return Claims(
            tee=self.tee, format="test", measurement=b"h" * 32, debug=False, simulated=False, root=evidence[:32],
            report_data=evidence[32:], provider=b"chip", platform={"extra": len(endorsements.certificates)},
        )  # fmt: skip


class HardwareRoot(FixedRoot):
    """A fixed root with quotes."""

    kind = "tpm"
    tee = Tee.TPM
    simulated = False
    quoting = b"q" * 32

    def quote(self, report_data: bytes) -> HardwareQuote | None:
        return HardwareQuote(media_type=MEDIA_TYPE, content=self.quoting + report_data, auxiliary=b"aux")


class BareRoot(HardwareRoot):
    """A root that certifies nothing."""

    kind = "tsm"
    tee = Tee.SEV_SNP

    def __init__(self) -> None:
        super().__init__(b"u" * 32)
        self.chain = ()


FORMATS = EatFormat(platforms={MEDIA_TYPE: FakeQuotes()})
TPM = HardwareRoot(b"u" * 32, facts=PlatformFacts(kind="tpm", attestation_key=b"q" * 32))


def test_hardware_vouches_for_the_key_and_the_nonce() -> None:
    claims = verified(make_evidence(TPM, RUN, REQUEST), trust=trust_in(TPM), formats=FORMATS)
    assert (claims.tee, claims.simulated, claims.debug) == (Tee.TPM, False, False)
    assert claims.platform["hardware-measurement"] == b"h" * 32
    assert claims.platform["hardware-extra"] == 1


def test_a_platform_with_hardware_needs_its_quote() -> None:
    with pytest.raises(
        EvidenceRefused, match=r"quote of the hardware: got application/vnd.test.quote, expected one of none"
    ):
        verified(make_evidence(TPM, RUN, REQUEST), trust=trust_in(TPM))
    statement = dataclasses.replace(attest(TPM, RUN)._statement(REQUEST), quote=None, quote_type=None)
    attester = attest(TPM, RUN)
    token = sign_cwt(to_cbor(statement), attester._key, attester._certificates(NOW))
    with pytest.raises(EvidenceRefused, match="quote of the hardware: got none"):
        verified(token, trust=trust_in(TPM), formats=FORMATS)


def test_a_quote_over_another_key_is_refused() -> None:
    first, second = attest(TPM, RUN), attest(TPM, RUN)
    token = sign_cwt(to_cbor(first._statement(REQUEST)), second._key, second._certificates(NOW))
    with pytest.raises(EvidenceRefused, match="key and nonce in the quote"):
        verified(token, trust=trust_in(TPM), formats=FORMATS)


def test_a_quote_by_another_key_than_certified_is_refused() -> None:
    other = HardwareRoot(b"u" * 32, facts=PlatformFacts(kind="tpm", attestation_key=b"x" * 32))
    with pytest.raises(EvidenceRefused, match=r"quoting key: got 7171.*, expected a pinned one"):
        verified(make_evidence(other, RUN, REQUEST), trust=trust_in(other), formats=FORMATS)


def test_a_tpm_without_a_certified_key_is_refused() -> None:
    other = HardwareRoot(b"u" * 32, facts=PlatformFacts(kind="tpm"))
    with pytest.raises(EvidenceRefused, match="key for quotes of the platform: got none certified"):
        verified(make_evidence(other, RUN, REQUEST), trust=trust_in(other), formats=FORMATS)


def test_a_software_tpm_is_a_simulation() -> None:
    other = HardwareRoot(b"u" * 32, facts=PlatformFacts(kind="swtpm", attestation_key=b"q" * 32))
    with pytest.raises(EvidenceRefused, match="simulated in token and certificates: got False, expected True"):
        verified(make_evidence(other, RUN, REQUEST), trust=trust_in(other), formats=FORMATS)


def test_hardware_alone_can_vouch() -> None:
    root = BareRoot()
    formats = EatFormat(platforms={MEDIA_TYPE: FakeQuotes(tee=Tee.SEV_SNP)})
    trust = Trust(roots=frozenset({b"q" * 32}), now=NOW)
    claims = verified(make_evidence(root, RUN, REQUEST), trust=trust, formats=formats)
    assert (claims.tee, claims.root, claims.provider, claims.debug) == (Tee.SEV_SNP, b"q" * 32, b"chip", False)
    with pytest.raises(EvidenceRefused, match="environment: got amd-snp, expected tpm"):
        verified(make_evidence(root, RUN, REQUEST), trust=trust, formats=FORMATS)
    with pytest.raises(EvidenceRefused, match="quoting key"):
        verified(make_evidence(root, RUN, REQUEST), formats=formats)
    with pytest.raises(RootCannot, match="certifies no keys, and a JWT needs a chain"):
        attest(root, RUN).jwt(REQUEST)


# --- golden vectors


def test_report_data_is_that_of_the_first_release() -> None:
    lines = (VECTORS / "report-data.hex").read_text().split()
    assert lines == [report_data(purpose, b"body").hex() for purpose in Purpose] + [
        platform_data(b"k" * 32, b"n").hex()
    ]


def test_evidence_of_the_first_release_is_still_verified() -> None:
    for name in ("evidence.cwt", "evidence.jwt"):
        evidence = bytes.fromhex((VECTORS / f"{name}.hex").read_text())
        claims = verified(evidence)
        assert claims.platform["kind"] == "soft"
        assert claims == dataclasses.replace(verified(CWT), format=claims.format, platform=claims.platform)


def test_the_profile_is_an_identifier() -> None:
    assert oid_contents("1.2.840.113549").hex() == "2a864886f70d"
    assert len(oid_contents(PROFILE)) < 24


def test_trust_is_a_key() -> None:
    assert trust_in(ROOT).roots == {key_digest(ROOT.ca_key.public.key)}

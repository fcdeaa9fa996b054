"""A real software TPM, end to end: activation, quotes, sealing for a future measurement, counters, and crashes."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.claims import Claims, Purpose, Tee
from belljar.attestation.dice.certificate import Validity, ca_certificate
from belljar.attestation.dice.enclave import Enclave
from belljar.attestation.eat.attester import Request, Run, make_evidence
from belljar.attestation.eat.verify import EatFormat, Expected, verify_evidence
from belljar.attestation.errors import AttestationError, EvidenceRefused, PlatformRefused, SealRefused
from belljar.attestation.evidence import Endorsements, Trust, key_digest
from belljar.attestation.keys import generate
from belljar.attestation.roots.choose import Places, choose, connected
from belljar.attestation.roots.root import HardwareQuote
from belljar.attestation.roots.soft import Birth
from belljar.attestation.roots.tpm import MEDIA_TYPE, NAME, TpmBirth, TpmRoot, make_tpm, open_tpm
from belljar.attestation.sealing import Policy, Sealer
from belljar.attestation.steps import Trail
from belljar.attestation.tpm import counter
from belljar.attestation.tpm.client import Tpm
from belljar.attestation.tpm.codes import (
    ENDORSEMENT,
    LOADED_SESSION,
    OWNER,
    PASSWORD,
    TRANSIENT,
    Command,
    response_name,
)
from belljar.attestation.tpm.credential import make_credential
from belljar.attestation.tpm.enrolment import Offer, answer, challenge, offer
from belljar.attestation.tpm.objects import AK_TEMPLATE, EK_TEMPLATE, SRK_TEMPLATE, name_of, parse_public
from belljar.attestation.tpm.policy import extended, pcr_digest, pcr_policy
from belljar.attestation.tpm.sealing import SealedObject, seal, unseal
from belljar.attestation.tpm.transport import connect
from belljar.attestation.tpm.wire import Reader, TpmError, sized
from support.running import has
from support.swtpm import Swtpm, needs_swtpm, swtpm

NOW = 1_795_000_000
BIRTH = Birth(random=os.urandom, now=NOW)
DIGEST = hashlib.sha256(b"measurement").digest()
INDEX = counter.index_of(DIGEST)


@pytest.fixture(scope="module")
def running() -> Iterator[Swtpm]:
    with swtpm() as made:
        yield made


@pytest.fixture
def tpm(running: Swtpm) -> Iterator[Tpm]:
    with connected(running.address) as found:
        yield found
        assert not found.handles(TRANSIENT)
        assert not found.handles(LOADED_SESSION)


@needs_swtpm
def test_keys_are_what_their_names_say(tpm: Tpm) -> None:
    assert len(tpm.random(16)) == 16
    assert tpm.random(16) != tpm.random(16)
    for hierarchy, template in ((ENDORSEMENT, EK_TEMPLATE), (ENDORSEMENT, AK_TEMPLATE), (OWNER, SRK_TEMPLATE)):
        with tpm.primary(hierarchy, template) as key:
            assert name_of(key.public) == key.name
            assert tpm.read_public(key.handle).name == key.name
            assert isinstance(parse_public(key.public).key, ec.EllipticCurvePublicKey)


# --- activation


def flipped(content: bytes) -> bytes:
    """Return bytes of which the last bit is another."""
    return content[:-1] + bytes((content[-1] ^ 1,))


@needs_swtpm
def test_a_credential_is_activated_by_the_tpm_that_has_both_keys(tpm: Tpm) -> None:
    asked = challenge(offer(tpm), (), NOW, os.urandom)
    asked.check(answer(tpm, asked.credential))
    assert asked.kind == "swtpm"


@needs_swtpm
def test_a_credential_for_an_rsa_endorsement_key_is_activated(tpm: Tpm) -> None:
    """The template L-1 of the TCG's profile: most chips have a certificate for this one."""
    template = bytes.fromhex("0001000b000300b20020") + EK_TEMPLATE[10:42]
    template += bytes.fromhex("00060080004300100800") + bytes(4) + sized(bytes(256))
    with tpm.primary(ENDORSEMENT, template) as endorsement, tpm.primary(ENDORSEMENT, AK_TEMPLATE) as attestation:
        made = make_credential(endorsement.public, attestation.name, b"secret")
        with tpm.policy_session() as session:
            tpm.policy_secret(session, ENDORSEMENT)
            handles = (attestation.handle, endorsement.handle, session)
            assert tpm.activate(handles, made.blob, made.secret) == b"secret"


@needs_swtpm
def test_a_credential_for_another_key_or_tpm_is_not_activated(tpm: Tpm) -> None:
    shown = offer(tpm)
    other = flipped(name_of(shown.attestation))
    with pytest.raises(TpmError, match=r"refused ACTIVATE_CREDENTIAL: TPM_RC_INTEGRITY"):
        answer(tpm, make_credential(shown.endorsement, other, b"secret"))
    asked = challenge(shown, (), NOW, os.urandom)
    with pytest.raises(TpmError, match="refused ACTIVATE_CREDENTIAL"):
        answer(tpm, dataclasses.replace(asked.credential, secret=flipped(asked.credential.secret)))
    with swtpm() as second, connected(second.address) as theirs, pytest.raises(TpmError):
        answer(theirs, asked.credential)
    with pytest.raises(EvidenceRefused, match="the credential was not activated"):
        asked.check(b"another secret")


@needs_swtpm
def test_a_key_that_signs_anything_is_not_enrolled(tpm: Tpm) -> None:
    shown = offer(tpm)
    unrestricted = bytearray(shown.attestation)
    unrestricted[5] &= 0xFE  # the bit `restricted` of the attributes
    with pytest.raises(EvidenceRefused, match="not restricted to quotes"):
        challenge(dataclasses.replace(shown, attestation=bytes(unrestricted)), (), NOW, os.urandom)
    with pytest.raises(EvidenceRefused, match="not restricted to quotes"):
        challenge(dataclasses.replace(shown, attestation=shown.endorsement), (), NOW, os.urandom)


def endorsed(shown: Offer) -> tuple[Offer, x509.Certificate]:
    """Return an offer with an endorsement certificate, and its maker's."""
    key = generate("es256")
    ca = x509.load_der_x509_certificate(ca_certificate(key, "maker", Validity(start=NOW - 60, end=NOW + 60)))
    public = parse_public(shown.endorsement).key
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    from cryptography.hazmat.primitives.hashes import SHA256

    certificate = (
        x509.CertificateBuilder()
        .issuer_name(ca.subject)
        .subject_name(x509.Name([]))
        .public_key(public)
        .serial_number(7)
        .not_valid_before(ca.not_valid_before_utc)
        .not_valid_after(ca.not_valid_after_utc)
        .sign(key.private, SHA256())
    )
    return dataclasses.replace(shown, certificate=certificate.public_bytes(Encoding.DER)), ca


@needs_swtpm
def test_a_chip_is_what_its_maker_vouches_for(tpm: Tpm) -> None:
    shown, maker = endorsed(offer(tpm))
    _, stranger = endorsed(offer(tpm))
    assert challenge(shown, (stranger, maker), NOW, os.urandom).kind == "tpm"
    assert challenge(shown, (stranger,), NOW, os.urandom).kind == "swtpm"
    assert challenge(shown, (maker,), NOW + 61, os.urandom).kind == "swtpm"
    with swtpm() as second, connected(second.address) as theirs:
        mixed = dataclasses.replace(offer(theirs), certificate=shown.certificate)
    with pytest.raises(EvidenceRefused, match="endorsement certificate is of another key"):
        challenge(mixed, (maker,), NOW, os.urandom)
    with pytest.raises(EvidenceRefused, match="cannot be read"):
        challenge(dataclasses.replace(shown, certificate=b"x"), (maker,), NOW, os.urandom)


# --- sealing under PCRs


@needs_swtpm
def test_a_secret_can_be_sealed_for_a_measurement_that_is_not_there_yet(tpm: Tpm) -> None:
    future = {9: extended(tpm.pcrs([9])[9], DIGEST)}
    sealed = seal(tpm, b"secret", pcr_policy(future))
    with pytest.raises(SealRefused, match="sealed for another state of PCRs 9"):
        unseal(tpm, sealed, [9])
    tpm.extend(9, DIGEST)
    assert tpm.pcrs([9]) == future
    assert unseal(tpm, sealed, [9]) == b"secret"
    tpm.extend(9, DIGEST)
    with pytest.raises(SealRefused, match="sealed for another state of PCRs 9"):
        unseal(tpm, sealed, [9])


@needs_swtpm
def test_the_policy_is_that_of_the_tpm(tpm: Tpm) -> None:
    numbers = (0, 7, 8, 15, 23)
    with tpm.policy_session() as session:
        tpm.policy_pcr(session, numbers)
        reader = tpm.execute(Command.POLICY_GET_DIGEST, handles=(session,))
        assert reader.sized() == pcr_policy(tpm.pcrs(numbers))


@needs_swtpm
def test_what_another_tpm_sealed_is_refused(tpm: Tpm) -> None:
    policy = pcr_policy(tpm.pcrs([23]))
    sealed = seal(tpm, b"secret", policy)
    with swtpm() as second, connected(second.address) as theirs:
        with pytest.raises(SealRefused, match="sealed by another TPM, or changed"):
            unseal(theirs, sealed, [23])
        assert not theirs.handles(TRANSIENT)
    changed = SealedObject(public=sealed.public, private=flipped(sealed.private))
    with pytest.raises(SealRefused, match="sealed by another TPM, or changed"):
        unseal(tpm, changed, [23])


def test_policies_and_sizes_have_bounds(tmp_path: Path) -> None:
    with pytest.raises(AttestationError, match="a policy without PCRs would hold always"):
        pcr_policy({})
    with pytest.raises(AttestationError, match="PCR 24, expected 0 to 23"):
        pcr_policy({24: bytes(32)})
    with pytest.raises(AttestationError, match="PCR 1 of 20 bytes, expected 32"):
        pcr_policy({1: bytes(20)})
    for size in (0, 129):
        with pytest.raises(SealRefused, match="bytes to seal in a TPM, expected 1 to 128"):
            seal(Tpm(_Recorded(b"")), bytes(size), bytes(32))
    with pytest.raises(PlatformRefused, match="a credential of 33 bytes"):
        make_credential(b"", b"", bytes(33))
    assert not list(tmp_path.iterdir())


# --- quotes


@needs_swtpm
@pytest.mark.skipif(not has("tpm2_checkquote"), reason="tpm2-tools is not installed, whose verifier this asks")
def test_tpm2_tools_verify_our_quote(tpm: Tpm, tmp_path: Path) -> None:
    nonce = os.urandom(32)
    with tpm.primary(ENDORSEMENT, AK_TEMPLATE) as key:
        made = tpm.quote(key.handle, nonce, range(24))
        pem = parse_public(key.public).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ak.pem").write_bytes(pem)
    (tmp_path / "msg").write_bytes(made.attest)
    (tmp_path / "sig").write_bytes(made.signature)
    words = ["tpm2_checkquote", "-u", "ak.pem", "-m", "msg", "-s", "sig", "-g", "sha256", "-q"]
    for given_nonce, code in ((nonce, 0), (bytes(32), 1)):
        done = subprocess.run([*words, given_nonce.hex()], cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode != 0) is bool(code), done.stderr


# --- the counter


@needs_swtpm
def test_a_counter_goes_on_past_its_removal(tpm: Tpm) -> None:
    index = counter.FIRST_INDEX
    counter.define(tpm, index)
    counter.define(tpm, index)
    value = counter.increment(tpm, index)
    assert counter.read(tpm, index) == value
    counter.remove(tpm, index)
    counter.define(tpm, index)
    assert counter.read(tpm, index) > value
    counter.remove(tpm, index)
    with pytest.raises(TpmError, match="TPM_RC_HANDLE"):
        counter.read(tpm, index)


@needs_swtpm
def test_a_software_tpm_can_be_set_back(tmp_path: Path) -> None:
    """What the documents say of its strength: copying its state back takes its counter back."""
    with swtpm() as made:
        with connected(made.address) as found:
            counter.define(found, INDEX)
            before = counter.read(found, INDEX)
        made.stop()
        shutil.copytree(made.state, tmp_path / "copy")
        made.start()
        with connected(made.address) as found:
            assert counter.increment(found, INDEX) == before + 1
        made.stop()
        shutil.rmtree(made.state)
        shutil.copytree(tmp_path / "copy", made.state)
        made.start()
        with connected(made.address) as found:
            assert counter.read(found, INDEX) == before


# --- the root


@pytest.fixture
def root(running: Swtpm, tmp_path: Path) -> Iterator[TpmRoot]:
    with make_tpm(str(tmp_path / "p"), connected(running.address), TpmBirth(birth=BIRTH)) as made:
        yield made


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quotes:
    """Verifies what this root quotes, as little as the seam needs; the house has a room of its own for it."""

    name: str = "TPM quotes"
    media_types: frozenset[str] = frozenset({MEDIA_TYPE})

    def recognises(self, evidence: bytes) -> bool:
        return b"tpm_quote" in evidence

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        del endorsements
        told = json.loads(evidence)
        key = load_der_public_key(base64.b64decode(told["ak_public"]))
        trail.check("quoting key", key_digest(key), "a pinned one", passed=key_digest(key) in trust.roots)
        attest, signature = (base64.b64decode(told["tpm_quote"][name]) for name in ("message", "signature"))
        reader = Reader(signature)
        assert (reader.number(2), reader.number(2)) == (0x18, 0x0B)
        numbers = [int.from_bytes(reader.sized(), "big") for _ in range(2)]
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(encode_dss_signature(*numbers), attest, ec.ECDSA(SHA256()))
        values = {number: bytes.fromhex(value) for number, value in enumerate(told["tpm_quote"]["pcrs"])}
        assert attest.endswith(pcr_digest(values))
        reader = Reader(attest)
        assert reader.take(6).hex() == "ff5443478018"
        reader.sized()
        return Claims(
            tee=Tee.TPM, format="tpm", measurement=pcr_digest(values), debug=False, simulated=False,
            root=key_digest(key), report_data=reader.sized(),
        )  # fmt: skip


ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
RUN = Run(enclave=ENCLAVE, instance=b"i" * 16, runtime="belljar", runtime_version="1", kernel="Linux 6")
REQUEST = Request(nonce=b"n" * 32, purpose=Purpose.CHANNEL, body=b"binder", now=NOW)
EXPECTED = Expected(nonce=REQUEST.nonce, purpose=REQUEST.purpose, body=REQUEST.body)
FORMATS = EatFormat(platforms={MEDIA_TYPE: Quotes()})


def trust_in(root: TpmRoot) -> Trust:
    ca = x509.load_der_x509_certificate(root.chain[-1])
    return Trust(roots=frozenset({key_digest(ca.public_key())}), now=NOW)


@needs_swtpm
def test_evidence_holds_from_the_pinned_ca_to_the_tpms_quote(root: TpmRoot) -> None:
    claims = verify_evidence(make_evidence(root, RUN, REQUEST), EXPECTED, trust_in(root), formats=FORMATS)
    assert (claims.tee, claims.simulated, claims.debug) == (Tee.TPM, True, True)
    assert claims.platform["kind"] == "swtpm"
    assert claims.platform["hardware-format"] == "tpm"
    assert "software TPM" in root.strength


class MixedRoot(TpmRoot):
    """A platform's certificates with another TPM's quotes."""

    other: TpmRoot

    def quote(self, report_data: bytes) -> HardwareQuote | None:
        return self.other.quote(report_data)


@needs_swtpm
def test_another_tpm_cannot_quote_for_this_platform(root: TpmRoot, tmp_path: Path) -> None:
    with (
        swtpm() as second,
        make_tpm(str(tmp_path / "q"), connected(second.address), TpmBirth(birth=BIRTH)) as other,
    ):
        mixed = MixedRoot(root._tpm, root._memory, root._state)
        mixed.other = other
        with pytest.raises(EvidenceRefused, match="quoting key"):
            verify_evidence(make_evidence(mixed, RUN, REQUEST), EXPECTED, trust_in(root), formats=FORMATS)


@needs_swtpm
def test_a_root_opens_again_and_seals(running: Swtpm, tmp_path: Path) -> None:
    path = str(tmp_path / "p")
    with make_tpm(path, connected(running.address), TpmBirth(birth=BIRTH)) as made:
        blob = Sealer(root=made, enclave=ENCLAVE, random=os.urandom).seal(b"secret", Policy.SIGNER)
        count = made.count_up()
        platform = made.platform
    places = Places(state=path, random=os.urandom, tpm=running.address, tsm=str(tmp_path / "none"))
    choose("tpm", places).close()
    with choose(None, places) as found:
        assert found.kind == "tpm"
        newer = dataclasses.replace(ENCLAVE, svn=9, measurement=b"n" * 32)
        assert Sealer(root=found, enclave=newer, random=os.urandom).unseal(blob) == b"secret"
        assert found.platform == platform
        assert found.count() == count


@needs_swtpm
def test_a_root_under_pcrs_ends_with_them(running: Swtpm, tmp_path: Path) -> None:
    path = str(tmp_path / "p")
    make_tpm(path, connected(running.address), TpmBirth(birth=BIRTH, pcrs=(10,))).close()
    with open_tpm(path, connected(running.address)) as found:
        assert found.derive(b"", b"x")
    with connected(running.address) as tpm:
        tpm.extend(10, DIGEST)
        with pytest.raises(SealRefused, match="sealed for another state of PCRs 10"):
            open_tpm(path, tpm)


@needs_swtpm
def test_files_that_are_not_ours_are_refused(running: Swtpm, tmp_path: Path) -> None:
    make_tpm(str(tmp_path / "p"), connected(running.address), TpmBirth(birth=BIRTH)).close()
    file = tmp_path / "p" / NAME
    content = file.read_bytes()
    with connected(running.address) as tpm:
        for bit in range(0, 8 * len(content), 307):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            with pytest.raises(PlatformRefused, match="damaged"):
                open_tpm(str(tmp_path / "p"), tpm)
        file.unlink()
        with pytest.raises(PlatformRefused, match="there is no platform"):
            open_tpm(str(tmp_path / "p"), tpm)


def load(tpm: Tpm) -> None:
    """Load a key and forget about it, as a process that is killed does."""
    parameters = sized(sized(b"") + sized(b"")) + sized(SRK_TEMPLATE) + sized(b"") + bytes(4)
    tpm.execute(
        Command.CREATE_PRIMARY, handles=(OWNER,), sessions=(PASSWORD,), parameters=parameters, answers_handle=True
    )


@needs_swtpm
def test_what_a_killed_client_left_is_flushed(running: Swtpm) -> None:
    """Three keys are all a software TPM holds: without the flush at the start the next client could load none."""
    with connected(running.address) as tpm:
        for _ in range(3):
            load(tpm)
        assert len(tpm.handles(TRANSIENT)) == 3
        with pytest.raises(TpmError, match="TPM_RC_OBJECT_MEMORY"):
            load(tpm)
    with connected(running.address) as tpm:
        assert tpm.handles(TRANSIENT) == tpm.handles(LOADED_SESSION) == ()


@needs_swtpm
def test_a_second_client_is_told_to_wait(running: Swtpm) -> None:
    with (
        connected(running.address),
        Tpm(connect(running.address, timeout_s=0.2)) as second,
        pytest.raises(PlatformRefused, match="does not answer in time") as caught,
    ):
        second.random(1)
    assert "one client at a time" in str(caught.value.hint)


@needs_swtpm
def test_roots_that_are_open_share_a_tpm(running: Swtpm, tmp_path: Path) -> None:
    """A software TPM serves one client at a time: a root lets go of it when it is not asked."""
    path = str(tmp_path / "p")
    with (
        make_tpm(path, connected(running.address), TpmBirth(birth=BIRTH)) as one,
        open_tpm(path, connected(running.address)) as other,
    ):
        assert one.count_up() + 1 == other.count_up() == one.count()
        assert one.quote(bytes(64)) is not None
        assert other.quote(bytes(64)) is not None
        running.stop()
        with pytest.raises(PlatformRefused, match="No such file or directory"):
            one.count()
        running.start()
        assert one.count() == other.count()


@needs_swtpm
def test_a_killed_tpm_does_not_lock_our_keys() -> None:
    with swtpm() as made:
        for _ in range(4):
            with connected(made.address) as tpm:
                sealed = seal(tpm, b"secret", pcr_policy(tpm.pcrs([23])))
                assert unseal(tpm, sealed, [23]) == b"secret"
            made.stop(signal.SIGKILL)
            made.start()


# --- answers from anybody


class _Recorded:
    """A transport that gives one answer to everything."""

    shared = True

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def transact(self, command: bytes) -> bytes:
        del command
        return self.answer

    def close(self) -> None:
        return


def framed(tag: int, code: int, body: bytes) -> bytes:
    return tag.to_bytes(2, "big") + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body


@settings(deadline=None)  # others use this machine, too
@given(st.sampled_from([0x8001, 0x8002, 0]), st.binary(max_size=80))
def test_malformed_answers_are_refused(tag: int, body: bytes) -> None:
    tpm = Tpm(_Recorded(framed(tag, 0, body)))
    for act in (
        lambda: tpm.handles(TRANSIENT), lambda: tpm.pcrs([1]), lambda: tpm.read_public(1), lambda: offer(tpm),
        lambda: seal(tpm, b"x", bytes(32)), lambda: tpm.random(8),
    ):  # fmt: skip
        try:
            act()
        except PlatformRefused:
            continue


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_nothing_but_an_answer_is_read(content: bytes) -> None:
    with pytest.raises(PlatformRefused):
        Tpm(_Recorded(content)).flush(1)
    try:
        parse_public(content)
    except PlatformRefused:
        return
    raise AssertionError("a public area out of nothing")


def test_response_codes_have_names() -> None:
    names = {
        0x99D: "TPM_RC_POLICY_FAIL (0x99d)", 0x921: "TPM_RC_LOCKOUT (0x921)", 0x100: "TPM_RC_INITIALIZE (0x100)",
        0x18B: "TPM_RC_HANDLE (0x18b)", 0x14A: "TPM_RC_NV_UNINITIALIZED (0x14a)", 0x902: "TPM_RC_OBJECT_MEMORY (0x902)",
        0x1DF: "TPM_RC_INTEGRITY (0x1df)", 0x17F: "response code 0x17f", 0x086: "response code 0x86",
    }  # fmt: skip
    assert {code: response_name(code) for code in names} == names
    with pytest.raises(TpmError, match=r"refused FLUSH_CONTEXT: TPM_RC_LOCKOUT \(0x921\)") as caught:
        Tpm(_Recorded(framed(0x8001, 0x921, b""))).flush(1)
    assert "locked after too many failures" in str(caught.value.hint)
    with pytest.raises(TpmError, match="TPM_RC_RETRY"):
        Tpm(_Recorded(framed(0x8001, 0x922, b""))).flush(1)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("unix:/nowhere/s", "unix:/nowhere/s: No such file or directory"),
        ("tcp:localhost", "expected unix:/path, tcp:host:port or a device"),
        ("/dev/tpmrm-none", "No such file or directory"),
        ("/dev/null/x", "Not a directory"),
        ("/etc/passwd", "/etc/passwd: not a device"),
    ],
)
def test_places_without_a_tpm_say_so(address: str, message: str) -> None:
    with pytest.raises(PlatformRefused, match=message):
        connect(address)


@pytest.mark.parametrize(
    "sent", [b"", b"\x80\x01\x00\x00", framed(0x8001, 0, b"")[:9], b"\x80\x01\xff\xff\xff\xff\0\0\0\0"]
)
def test_a_server_that_is_no_tpm_is_noticed(sent: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        with Tpm(connect(address)) as tpm, pytest.raises(PlatformRefused, match=r"hung up|announces 4294967295 bytes"):
            tpm.random(4)
        thread.join()

"""DICE: secrets, keys and certificates that follow from what runs, and chains that must not be believed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice import extension
from belljar.attestation.dice.certificate import (
    PlatformFacts,
    Validity,
    ca_certificate,
    evidence_certificate,
    layer_certificate,
    platform_certificate,
)
from belljar.attestation.dice.chain import VerifiedChain, verify_chain
from belljar.attestation.dice.enclave import MAX_SVN, Enclave, shown_enclave
from belljar.attestation.dice.inputs import ATTEST_INFO, SEAL_INFO, DiceInputs, Mode
from belljar.attestation.dice.keypair import key_id, key_pair
from belljar.attestation.dice.reading import Reading
from belljar.attestation.errors import EvidenceRefused, KeyRefused
from belljar.attestation.evidence import Trust, key_digest
from belljar.attestation.keys import ALGORITHM_NAMES, generate
from belljar.attestation.steps import Trail

NOW = 1_795_000_000
HOUR = Validity(start=NOW - 60, end=NOW + 3600)
YEARS = Validity(start=NOW - 60, end=NOW + 300_000_000)
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)

names = pytest.mark.parametrize("name", ALGORITHM_NAMES)


class Platform:
    """A platform with fixed secrets, and one enclave on it."""

    def __init__(self, name: str = "ed25519", enclave: Enclave = ENCLAVE, secret: bytes = b"u" * 32) -> None:
        self.name = name
        self.ca_key = key_pair(name, b"c" * 32)
        self.key = key_pair(name, secret)
        self.layer_key = key_pair(name, derive(32, secret, enclave.inputs.attest_salt, ATTEST_INFO))
        self.evidence_key = key_pair(name, b"e" * 32)
        self.ca = ca_certificate(self.ca_key, "soft", YEARS)
        self.platform = platform_certificate(self.ca_key, self.ca, self.key.public, PlatformFacts(kind="soft"), YEARS)
        self.layer = layer_certificate(self.key, self.layer_key.public, enclave.inputs)
        self.evidence = evidence_certificate(self.layer_key, self.evidence_key.public, HOUR)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return self.evidence, self.layer, self.platform, self.ca

    @property
    def trust(self) -> Trust:
        return Trust(roots=frozenset({key_digest(self.ca_key.public.key)}), now=NOW)


PLATFORM = Platform()


READING = Reading()


def verified(chain: tuple[bytes, ...], trust: Trust = PLATFORM.trust) -> VerifiedChain:
    """Verify a chain, and again as who remembers all that was read in these tests: nothing may come out otherwise."""
    trail, again = Trail(), Trail()
    remembering = dataclasses.replace(trust, reading=READING)
    try:
        found = verify_chain(chain, trust, trail)
    except EvidenceRefused as error:
        with pytest.raises(EvidenceRefused, match=f"^{re.escape(str(error))}$"):
            verify_chain(chain, remembering, again)
        assert again.steps == trail.steps
        raise
    assert verify_chain(chain, remembering, again) == found
    assert again.steps == trail.steps
    return found


@names
def test_a_chain_holds_with_every_algorithm(name: str) -> None:
    platform = Platform(name)
    found = verified(platform.chain, platform.trust)
    assert shown_enclave(found.layer) == ENCLAVE
    assert found.key.signer == platform.evidence_key.public.signer
    assert found.platform == key_id(platform.key.public)
    assert (found.kind, found.attestation_key, found.not_after) == ("soft", None, HOUR.end)
    assert found.root == key_digest(platform.ca_key.public.key)


@names
def test_keys_follow_from_secrets_and_from_nothing_else(name: str) -> None:
    def public(secret: bytes) -> bytes:
        return key_pair(name, secret).public.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert public(b"1" * 32) == public(b"1" * 32) != public(b"2" * 32)


def test_no_key_of_an_unknown_algorithm_is_derived() -> None:
    with pytest.raises(KeyRefused, match="no key of algorithm rsa can be derived"):
        key_pair("rsa", bytes(32))


CHANGES: dict[str, Any] = {"measurement": b"x" * 32, "signer": b"x" * 32, "product_id": 8, "svn": 4, "debug": True}


@pytest.mark.parametrize("attribute", CHANGES)
def test_identity_changes_with_everything_and_sealing_with_what_stays(attribute: str) -> None:
    other = dataclasses.replace(ENCLAVE, **{attribute: CHANGES[attribute]})
    assert other.inputs.attest_salt != ENCLAVE.inputs.attest_salt or attribute == "product_id"
    assert (other.inputs.seal_salt == ENCLAVE.inputs.seal_salt) is (attribute in {"measurement", "svn"})


def test_inputs_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 64 each"):
        DiceInputs(code=b"", configuration=b"", authority=bytes(64), mode=Mode.NORMAL, hidden=bytes(64))
    wrongs: list[dict[str, Any]] = [
        {"measurement": b"x"}, {"signer": b"x"}, {"svn": MAX_SVN + 1}, {"svn": -1}, {"product_id": 1 << 32},
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"expected|must have"):
            dataclasses.replace(ENCLAVE, **wrong)


enclaves = st.builds(
    Enclave,
    measurement=st.binary(min_size=32, max_size=32),
    signer=st.none() | st.binary(min_size=32, max_size=32),
    product_id=st.integers(0, (1 << 32) - 1),
    svn=st.integers(0, MAX_SVN),
    debug=st.booleans(),
)


@settings(deadline=None)  # others use this machine, too
@given(enclaves)
def test_what_a_certificate_shows_is_the_enclave(enclave: Enclave) -> None:
    assert shown_enclave(extension.decode(extension.encode(enclave.inputs))) == enclave


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_nothing_but_the_extension_is_read_as_one(content: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        extension.decode(content)


ENCODED = extension.encode(ENCLAVE.inputs)


@settings(deadline=None)
@given(st.integers(0, 8 * len(ENCODED) - 1))
def test_no_bit_of_what_is_shown_can_change_alone(bit: int) -> None:
    changed = bytearray(ENCODED)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = shown_enclave(extension.decode(bytes(changed)))
    except EvidenceRefused:
        return
    assert found.debug  # the mode is described by nothing else: only the signature protects it


def test_inputs_that_are_no_enclave_are_refused() -> None:
    inputs = dataclasses.replace(ENCLAVE.inputs, configuration=b"\xa0")
    with pytest.raises(EvidenceRefused, match="names no security version and product"):
        shown_enclave(extension.decode(extension.encode(inputs)))
    inputs = dataclasses.replace(ENCLAVE.inputs, code=bytes(64))
    with pytest.raises(EvidenceRefused, match="not those of what it describes"):
        shown_enclave(extension.decode(extension.encode(inputs)))
    inputs = dataclasses.replace(ENCLAVE.inputs, mode=Mode.RECOVERY)
    with pytest.raises(EvidenceRefused, match="not those of what it describes"):
        shown_enclave(extension.decode(extension.encode(inputs)))


# --- chains that must not be believed


def test_a_root_that_is_not_pinned_is_refused() -> None:
    with pytest.raises(EvidenceRefused, match=r"root of the chain: got .*, expected a pinned one"):
        verified(PLATFORM.chain, Trust(roots=frozenset({bytes(32)}), now=NOW))
    with pytest.raises(EvidenceRefused, match="a pinned one"):
        verified(PLATFORM.chain, Trust(roots=frozenset(), now=NOW))


@pytest.mark.parametrize(
    ("now", "name"), [(HOUR.end + 1, "evidence"), (HOUR.start - 1, "evidence"), (YEARS.end + 1, "evidence")]
)
def test_a_certificate_out_of_its_time_is_refused(now: int, name: str) -> None:
    with pytest.raises(EvidenceRefused, match=f"validity of the {name} certificate"):
        verified(PLATFORM.chain, dataclasses.replace(PLATFORM.trust, now=now))


def test_an_expired_platform_is_refused() -> None:
    other = Platform()
    past = Validity(start=NOW - 10, end=NOW - 1)
    other.platform = platform_certificate(other.ca_key, other.ca, other.key.public, PlatformFacts(kind="soft"), past)
    with pytest.raises(EvidenceRefused, match="validity of the platform certificate"):
        verified(other.chain)


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_another_number_of_certificates_is_refused(count: int) -> None:
    with pytest.raises(EvidenceRefused, match=f"certificates in the chain: got {count}, expected 4"):
        verified((*PLATFORM.chain, PLATFORM.ca)[:count])


def test_certificates_in_another_order_are_refused() -> None:
    evidence, layer, platform, ca = PLATFORM.chain
    with pytest.raises(EvidenceRefused, match="signature of the evidence certificate"):
        verified((layer, evidence, platform, ca))
    with pytest.raises(EvidenceRefused, match="signature of the layer certificate"):
        verified((evidence, layer, ca, ca))


def test_a_layer_of_another_platform_is_refused() -> None:
    other = Platform(secret=b"o" * 32)
    with pytest.raises(EvidenceRefused, match="signature of the layer certificate"):
        verified((other.evidence, other.layer, PLATFORM.platform, PLATFORM.ca))


def test_evidence_of_another_enclave_is_refused() -> None:
    other = Platform(enclave=dataclasses.replace(ENCLAVE, svn=4))
    with pytest.raises(EvidenceRefused, match="signature of the evidence certificate"):
        verified((other.evidence, PLATFORM.layer, PLATFORM.platform, PLATFORM.ca))


def test_a_layer_cannot_certify_a_layer() -> None:
    """The layer's certificate ends the path: who holds its key cannot make itself another enclave's."""
    key = generate()
    forged = layer_certificate(PLATFORM.layer_key, key.public, dataclasses.replace(ENCLAVE, svn=9).inputs)
    leaf = evidence_certificate(key, PLATFORM.evidence_key.public, HOUR)
    with pytest.raises(EvidenceRefused, match="signature of the platform certificate"):
        verified((leaf, forged, PLATFORM.layer, PLATFORM.ca))
    trust = Trust(roots=frozenset({key_digest(PLATFORM.key.public.key)}), now=NOW)  # even if that were pinned
    with pytest.raises(EvidenceRefused, match=r"constraints of the layer|extensions of the platform"):
        verified((leaf, forged, PLATFORM.layer, PLATFORM.platform), trust)


def test_an_evidence_key_cannot_certify() -> None:
    key = generate()
    leaf = evidence_certificate(PLATFORM.evidence_key, key.public, HOUR)
    with pytest.raises(EvidenceRefused, match=r"extensions of the layer certificate|signature of the layer"):
        verified((leaf, PLATFORM.evidence, PLATFORM.layer, PLATFORM.ca))


def test_a_longer_path_is_refused() -> None:
    other = Platform()
    other.layer = layer_certificate(other.key, other.layer_key.public, ENCLAVE.inputs, path_length=None)
    with pytest.raises(EvidenceRefused, match="constraints of the layer certificate"):
        verified(other.chain)


def test_a_platform_of_unknown_kind_is_refused() -> None:
    other = Platform()
    facts = PlatformFacts(kind="sgx")
    other.platform = platform_certificate(other.ca_key, other.ca, other.key.public, facts, YEARS)
    with pytest.raises(EvidenceRefused, match="kind of root certified"):
        verified(other.chain)


def test_a_weaker_hash_is_refused() -> None:
    """A CA whose key may sign with SHA-384 must not be taken with SHA-256."""
    platform = Platform("es384")
    key, subject = platform.key.private, platform.layer_key.public.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(subject, ec.EllipticCurvePublicKey)
    builder = x509.CertificateBuilder()
    parsed = x509.load_der_x509_certificate(platform.layer)
    builder = (
        builder.issuer_name(parsed.issuer)
        .subject_name(parsed.subject)
        .public_key(subject)
        .serial_number(parsed.serial_number)
        .not_valid_before(parsed.not_valid_before_utc)
        .not_valid_after(parsed.not_valid_after_utc)
    )
    for item in parsed.extensions:
        builder = builder.add_extension(item.value, item.critical)
    weak = builder.sign(key, SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(EvidenceRefused, match="hash in the signature of the layer certificate: got sha256"):
        verified((platform.evidence, weak, platform.platform, platform.ca), platform.trust)


FLIPS = sum(map(len, PLATFORM.chain)) * 8


@settings(deadline=None)
@example(3596)  # cryptography 50 raises TypeError for this name
@example(2648)  # and accepts a signature that says one of its bits is unused
@given(st.integers(0, FLIPS - 1))
def test_no_bit_of_a_chain_can_be_flipped(bit: int) -> None:
    chain = bytearray(b"".join(PLATFORM.chain))
    chain[bit // 8] ^= 1 << bit % 8
    parts, start = [], 0
    for certificate in PLATFORM.chain:
        parts.append(bytes(chain[start : start + len(certificate)]))
        start += len(certificate)
    with pytest.raises(EvidenceRefused):
        verified(tuple(parts))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=64), min_size=4, max_size=4))
def test_nothing_but_certificates_is_read_as_a_chain(parts: list[bytes]) -> None:
    with pytest.raises(EvidenceRefused):
        verified(tuple(parts))
    with pytest.raises(EvidenceRefused, match="expected at most 16384"):
        verified((bytes(20_000), *parts[1:]))


# --- the vectors of the profile's own implementation (open-dice, include/dice/known_test_values.h, Apache-2.0)

ZERO = DiceInputs(
    code=bytes(64),
    configuration=bytes(64),
    authority=bytes(64),
    mode=Mode.NOT_CONFIGURED,
    hidden=bytes(64),
    inline=True,
)
CDI_ATTEST = "fbfc679771342eeacb908659ce49d6b63b4535da2c51433d7f04efa6319e0c19"
CDI_SEAL = "8ff8b22571325e7defefbfea8df1c9f34bf4d9ee03b75b788219c6b1ef49bdc5"


def test_secrets_are_those_of_the_profiles_vectors() -> None:
    assert derive(32, bytes(32), ZERO.attest_salt, ATTEST_INFO).hex() == CDI_ATTEST
    assert derive(32, bytes(32), ZERO.seal_salt, SEAL_INFO).hex() == CDI_SEAL


@pytest.mark.parametrize(
    ("name", "issuer", "subject", "beginning"),
    [
        ("ed25519", "7a06eee41b789f4863d86b8778b1a201a6fedd56", "67c22a8859062b986818e8e72b0bcd9f59349c89",
         "0d14e5de292eb1c8b31beae43ab55d8e9dc014b73eaa83b925a0788cc62e5c8d"),
        ("es256", "672d0053ae4513fbb3bac8209daeb3e8897681cd", "2e75b6e7230c20f2960bde4acf1288d4ab665b9b",
         "044f3b4e82c45ada084589c2197baf1f376eac40e1fd49b0240602aec269541c6b"),
        ("es384", "04c265fe06ff230e39b6322eea9e010711fb66b4", "40cb4f064a68d407a0b390abcc05a34bfc8af33f",
         "0477196ba584eb7946d2fbb0d5c831c7ad91375e1128db238cc1c67fae5e0710955b17b5d508123106ba313110437151de"),
    ],
)  # fmt: skip
def test_keys_are_those_of_the_profiles_vectors(name: str, issuer: str, subject: str, beginning: str) -> None:
    assert key_id(key_pair(name, bytes(32)).public).hex() == issuer
    key = key_pair(name, bytes.fromhex(CDI_ATTEST)).public
    assert key_id(key).hex() == subject
    form = (Encoding.Raw, PublicFormat.Raw) if name == "ed25519" else (Encoding.X962, PublicFormat.UncompressedPoint)
    assert key.key.public_bytes(*form).hex().startswith(beginning)


def test_the_certificate_is_that_of_the_profiles_vectors() -> None:
    subject = key_pair("ed25519", bytes.fromhex(CDI_ATTEST)).public
    found = layer_certificate(key_pair("ed25519", bytes(32)), subject, ZERO, path_length=None)
    assert len(found) == 638
    assert found[-64:].hex() == (  # an Ed25519 signature covers every byte before it
        "7023a8a378fe5f8c8d834995ffeee612399c4da049f64b4ff7021e9f970cbd3b"
        "7f94782609fef2917ca4dd9007cc95a8bc4af48469ec24a49eb7010e813aa30a"
    )


def test_our_own_vectors_hold() -> None:
    """An enclave keeps its identity and its keys from one release of belljar to the next."""
    wanted = (Path(__file__).parents[2] / "vectors/attestation/chain.sha256").read_text().split()
    found = [
        hashlib.sha256(b"".join(Platform().chain)).hexdigest(),
        ENCLAVE.inputs.attest_salt.hex(),
        ENCLAVE.inputs.seal_salt.hex(),
    ]
    assert found == wanted

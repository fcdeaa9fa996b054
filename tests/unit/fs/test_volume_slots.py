"""Key slots: each kind opens with its own credential and nothing else; nobody's header makes us work without bound."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.errors import CredentialRefused, VolumeRefused
from belljar.fs.volume.header.change import add_slot
from belljar.fs.volume.header.model import Header
from belljar.fs.volume.header.unlock import _open, format_header, make_slot, unlock
from belljar.fs.volume.slots import kinds, sealed
from belljar.fs.volume.slots import passphrase as passphrases
from belljar.fs.volume.slots.key_file import KeyFile
from belljar.fs.volume.slots.owner_keys import (
    X25519,
    XWING,
    OwnerPrivateKey,
    generate_owner_key,
    load_owner_private,
    load_owner_public,
)
from belljar.fs.volume.slots.passphrase import Cost, Passphrase, check_cost, passphrase_bytes
from belljar.fs.volume.slots.public_key import Owner, Recipient
from belljar.fs.volume.slots.sealed import SealedBy
from belljar.fs.volume.slots.secret import SecretKey, secret_of
from support.headers import KEY_FILE, MemoryRegion, counted_random, passphrase


class LocalSealer:
    """A sealer whose sealing key is an argument."""

    name = "local"

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        return bytes(12) + self._cipher.encrypt(bytes(12), secret, purpose)

    def unseal(self, sealed: bytes, purpose: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], purpose)
        except InvalidTag:
            raise CredentialRefused("another enclave or another machine") from None


OWNER = {kem: generate_owner_key(counted_random(b"owner"), kem) for kem in (X25519, XWING)}
OTHER = {kem: generate_owner_key(counted_random(b"other"), kem) for kem in (X25519, XWING)}


def sealed_by(key: bytes) -> SealedBy:
    return SealedBy(sealer=LocalSealer(key))


KINDS: dict[str, tuple[kinds.Enrolment, kinds.Credential, kinds.Credential]] = {
    "passphrase": (passphrase(), passphrase(), passphrase(b"wrong")),
    "x25519": (Recipient(key=OWNER[X25519].public), Owner(key=OWNER[X25519]), Owner(key=OTHER[X25519])),
    "xwing": (Recipient(key=OWNER[XWING].public), Owner(key=OWNER[XWING]), Owner(key=OTHER[XWING])),
    "key file": (KEY_FILE, KEY_FILE, KeyFile(content=b"w" * 64)),
    "sealed": (sealed_by(b"s" * 32), sealed_by(b"s" * 32), sealed_by(b"t" * 32)),
}
"""Whom a slot is made for, who opens it, who does not."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_opens_with_its_credential_only(kind: str) -> None:
    enrolment, right, wrong = KINDS[kind]
    region = MemoryRegion()
    made = format_header(region, enrolment, label=kind, created_s=1, random=os.urandom)
    with made, unlock(region, right) as opened:
        assert bytes(opened.key.view()) == bytes(made.key.view())
        assert bytes(made.key.view()) not in bytes(region.content)
        slot = opened.header.slot(0)
        assert slot.kind == enrolment.kind == right.kind
        assert kinds.describe(slot.kind, slot.parameters)
    with pytest.raises(CredentialRefused, match="it is wrong, or the slots were changed, which cannot be told apart"):
        unlock(region, wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_of_any_kind_with_any_byte_changed_does_not_open(kind: str) -> None:
    enrolment, right, _ = KINDS[kind]
    with secret_of(b"v" * 32) as key:
        slot = make_slot(b"i" * 16, key, enrolment, number=3, label="l", random=os.urandom)
    header = Header(volume_id=b"i" * 16, generation=1, created_s=0, slots=(slot,))
    opened, number = _open(header, right, None)
    assert (bytes(opened.view()), number) == (b"v" * 32, 3)
    step = 1 if kind in ("key file", "sealed") else 11
    first = 16 if kind == "passphrase" else 0  # what stands before is the cost, which may take long to try
    changed = [
        replace(slot, parameters=flipped(slot.parameters, at)) for at in range(first, len(slot.parameters), step)
    ]
    changed += [replace(slot, wrapped=flipped(slot.wrapped, at)) for at in range(0, 60, step)]
    changed += [replace(slot, label="m"), replace(slot, number=4)]
    for other in changed:
        with pytest.raises(VolumeRefused):
            _open(replace(header, slots=(other,)), right, None)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "cost",
    [
        Cost(memory_kib=100 * 1024 * 1024),
        Cost(memory_kib=1024),
        Cost(iterations=1),
        Cost(iterations=1000),
        Cost(lanes=0),
        Cost(lanes=17),
        Cost(memory_kib=1024 * 1024, iterations=5),
        Cost(memory_kib=0xFFFFFFFF, iterations=0xFFFFFFFF, lanes=0xFFFFFFFF),
    ],
)
def test_a_cost_out_of_bounds_is_refused_before_any_work(cost: Cost) -> None:
    with pytest.raises(VolumeRefused, match="Argon2id cost out of bounds: got "):
        check_cost(cost)
    region = MemoryRegion()
    with pytest.raises(VolumeRefused, match="Argon2id cost out of bounds"):
        format_header(region, Passphrase(secret=b"x", cost=cost), created_s=0, random=os.urandom)
    assert not region.writes
    raw = passphrases._PARAMETERS.pack(cost.memory_kib, cost.iterations, cost.lanes, 0x13, 0, bytes(16))
    with pytest.raises(VolumeRefused, match="Argon2id cost out of bounds"):
        passphrase().open(raw, b"")


def test_all_passphrase_slots_together_are_bounded() -> None:
    raw = passphrases._PARAMETERS.pack(1024 * 1024, 4, 4, 0x13, 0, bytes(16))
    kinds.check_slots([(passphrases.NUMBER, raw)] * 8)
    with pytest.raises(VolumeRefused, match="trying every passphrase slot would work through 37748736 KiB"):
        kinds.check_slots([(passphrases.NUMBER, raw)] * 9)


def test_the_default_cost_is_at_least_what_rfc_9106_recommends() -> None:
    default = passphrases.DEFAULT_COST
    check_cost(default)
    assert default.memory_kib >= 64 * 1024
    assert default.iterations >= 3
    kinds.check_slots([(passphrases.NUMBER, passphrases._PARAMETERS.pack(262144, 3, 4, 0x13, 0, bytes(16)))] * 32)


@given(st.integers(0, 6), st.binary(max_size=1300))
@settings(max_examples=300)
def test_parameters_of_any_kind_are_read_or_refused(kind: int, parameters: bytes) -> None:
    try:
        assert isinstance(kinds.describe(kind, parameters), str)
    except VolumeRefused:
        pass


def test_passphrases_are_the_same_from_every_keyboard() -> None:
    assert passphrase_bytes("Ame\u0301lie") == passphrase_bytes("Am\u00e9lie") == "Am\u00e9lie".encode()
    for wrong, said in (("", "is empty"), ("x" * 5000, "5000 bytes, expected at most 4096"), ("\ud800", "is not text")):
        with pytest.raises(VolumeRefused, match=said):
            passphrase_bytes(wrong)


@pytest.mark.parametrize("size", [0, 31, 65537])
def test_a_key_file_that_is_too_short_or_too_long_is_refused(size: int) -> None:
    with pytest.raises(VolumeRefused, match=f"the key file has {size} bytes, expected 32 to 65536"):
        format_header(MemoryRegion(), KeyFile(content=bytes(size)), created_s=0, random=os.urandom)


def test_a_slot_of_another_sealer_names_it() -> None:
    region = MemoryRegion()
    other = LocalSealer(b"s" * 32)
    other.name = "tpm"
    format_header(region, SealedBy(sealer=other), created_s=0, random=os.urandom).close()
    with pytest.raises(CredentialRefused, match="sealed by tpm, and this is local"):
        unlock(region, SealedBy(sealer=LocalSealer(b"s" * 32)))


@pytest.mark.parametrize("parameters", [b"", b"\x00x", b"\x05abc", b"\x21" + b"n" * 33 + b"s", b"\x01\xffs", b"\x01n"])
def test_malformed_sealed_slots_are_refused(parameters: bytes) -> None:
    with pytest.raises(VolumeRefused, match="sealed slot with"):
        sealed.parse_parameters(parameters)


@pytest.mark.parametrize("kem", [X25519, XWING])
def test_owner_keys_go_through_pem(kem: int) -> None:
    key = OWNER[kem]
    assert load_owner_private(key.pem()) == key
    assert load_owner_public(key.public.pem()) == key.public
    assert key.seed.hex() not in repr(key)
    for wrong in (key.pem().replace(b"PRIVATE", b"PUBLIC"), key.pem()[:-40], b"", os.urandom(99), b"\xff" * 20000):
        with pytest.raises(VolumeRefused):
            load_owner_private(wrong)
        with pytest.raises(VolumeRefused):
            load_owner_public(wrong)


def test_x25519_keys_are_those_of_everybody() -> None:
    theirs = X25519PrivateKey.generate()
    from cryptography.hazmat.primitives.serialization import NoEncryption, load_pem_private_key

    plain = theirs.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = theirs.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    ours = load_owner_private(plain)
    assert load_owner_private(locked, b"pw") == ours
    assert ours.pem() == plain
    assert ours.public.pem() == theirs.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(load_pem_private_key(ours.pem(), None), X25519PrivateKey)
    for wrong in (b"no", None):
        with pytest.raises(VolumeRefused, match="cannot be decrypted"):
            load_owner_private(locked, wrong)


def test_a_key_is_never_printed_and_is_wiped() -> None:
    key = secret_of(b"s" * 32)
    assert repr(key) == "<SecretKey of 32 bytes>"
    with pytest.raises(TypeError, match="a key is not pickled"):
        pickle.dumps(key)
    view = key.view()
    key.close()
    assert bytes(view) == bytes(32)
    view.release()
    key.close()
    with SecretKey(16) as other:
        assert len(other) == 16
    assert other.closed
    with pytest.raises(ValueError, match="closed"):
        other.view()


def test_a_forked_process_neither_has_the_key_nor_takes_it_away() -> None:
    with secret_of(b"s" * 32) as key:
        child = os.fork()
        if child == 0:
            with key.view() as view:
                found = bytes(view)
            key.close()
            os._exit(0 if found == bytes(32) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert bytes(key.view()) == b"s" * 32


def test_credentials_do_not_print_their_secrets() -> None:
    assert "horse" not in repr(passphrase(b"correct horse"))
    assert "kkk" not in repr(KEY_FILE)
    assert OWNER[XWING].seed.hex() not in repr(Owner(key=OWNER[XWING]))


def test_one_slot_can_be_asked_for() -> None:
    region = MemoryRegion()
    with format_header(region, KEY_FILE, created_s=0, random=os.urandom) as made:
        add_slot(region, made, passphrase(), random=os.urandom)
        with unlock(region, KEY_FILE, slot=0) as opened:
            assert opened.slot == 0
        with pytest.raises(CredentialRefused, match="no key-file slot to try"):
            unlock(region, KEY_FILE, slot=1)


def test_hybrid_keys_are_those_of_x_wing() -> None:
    """The first vector of draft-connolly-cfrg-xwing-kem-08, appendix C, as OpenJDK's conformance test has it."""
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    public = OwnerPrivateKey(kem=XWING, seed=seed).public.raw
    assert public.hex().startswith(
        "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3da5fa1a92c49f25513e0fd30d6b1611c9ab9635d7"
    )

"""Golden vectors of the volume's header, anchor and backup, written down from docs/formats and nothing of our code.

The header in `volumes/header-1.json` was made once; every later version opens it with each of its four credentials.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.anchors import layout as anchors
from belljar.fs.volume.anchors import ledger_layout as ledger
from belljar.fs.volume.anchors.layout import Reset, State
from belljar.fs.volume.backup import layout as backups
from belljar.fs.volume.backup.layout import ZERO, Backup, Digest
from belljar.fs.volume.header.change import add_slot
from belljar.fs.volume.header.unlock import format_header, unlock
from belljar.fs.volume.slots.key_file import KeyFile
from belljar.fs.volume.slots.kinds import Credential
from belljar.fs.volume.slots.owner_keys import X25519, XWING, OwnerPrivateKey
from belljar.fs.volume.slots.passphrase import Cost, Passphrase
from belljar.fs.volume.slots.public_key import Owner
from support.headers import MemoryRegion

FILES = Path(__file__).with_name("volumes")
PASSPHRASE, KEY_FILE = b"correct horse battery staple", bytes(range(64))
SEEDS = {X25519: b"\x11" * 32, XWING: b"\x22" * 32}
CREDENTIALS: dict[str, Credential] = {
    "passphrase": Passphrase(secret=PASSPHRASE),
    "key file": KeyFile(content=KEY_FILE),
    "x25519": Owner(key=OwnerPrivateKey(kem=X25519, seed=SEEDS[X25519])),
    "mlkem768-x25519": Owner(key=OwnerPrivateKey(kem=XWING, seed=SEEDS[XWING])),
}


def slot_by_the_book(
    volume_id: bytes, number: int, kind: int, label: bytes, parameters: bytes, kek: bytes, nonce: bytes, key: bytes
) -> bytes:
    binding = b"belljar volume slot 1\0" + volume_id + struct.pack("<HHH", number, kind, len(label)) + label
    wrapped = nonce + AESGCM(kek).encrypt(nonce, key, binding + parameters)
    head = struct.pack("<HHHH8x", kind, len(label), len(parameters), 0) + label.ljust(64, b"\0") + wrapped + bytes(4)
    return (head + parameters).ljust(1536, b"\0")


def test_a_header_is_what_the_document_says() -> None:
    drawn: list[bytes] = []

    def random(size: int) -> bytes:
        drawn.append(bytes([len(drawn) + 1]) * size)
        return drawn[-1]

    region = MemoryRegion()
    cost = Cost(memory_kib=19456, iterations=2, lanes=1)
    made = format_header(region, Passphrase(secret=PASSPHRASE, cost=cost), label="first", created_s=99, random=random)
    add_slot(region, made, KeyFile(content=KEY_FILE), label="clé", random=random)
    made.close()
    key, volume_id, salt, nonce, file_salt, file_nonce = drawn

    kek = Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19456).derive(PASSPHRASE)
    parameters = struct.pack("<IIIHH16s", 19456, 2, 1, 0x13, 0, salt)
    first = slot_by_the_book(volume_id, 0, 1, b"first", parameters, kek, nonce, key)
    label = "clé".encode()
    info = b"belljar volume slot 1\0" + volume_id + struct.pack("<HHH", 1, 3, len(label)) + label
    kek = HKDF(algorithm=SHA256(), length=32, salt=file_salt, info=info).derive(KEY_FILE)
    second = slot_by_the_book(volume_id, 1, 3, label, file_salt, kek, file_nonce, key)

    prelude = struct.pack("<8sHHHHIIQ16sQ", b"BELLJVOL", 1, 1, 1, 0, 32, 1536, 2, volume_id, 99).ljust(256, b"\0")
    body = (prelude + first + second).ljust(65472, b"\0")
    mac_key = HKDF(algorithm=SHA256(), length=32, salt=volume_id, info=b"belljar volume header mac 1").derive(key)
    body += hmac.digest(mac_key, body, "sha256")
    body += hashlib.sha256(body).digest()
    assert bytes(region.content) == body * 2
    assert hashlib.sha256(body).hexdigest() == "86d56208f09d2bc4da5b1ce2c7784f65c3840e6b0c66a9438a397ff85166f575"


def stored() -> MemoryRegion:
    """Return the header that was made once: prelude, the slots in use, MAC and checksum, both copies alike."""
    parts = json.loads((FILES / "header-1.json").read_text())["copy"]
    copy = bytearray(65536)
    for offset, content in parts.items():
        raw = base64.b64decode(content)
        copy[int(offset) : int(offset) + len(raw)] = raw
    return MemoryRegion(content=bytearray(copy * 2))


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_header_of_an_earlier_version_opens(name: str) -> None:
    region = stored()
    with unlock(region, CREDENTIALS[name]) as opened:
        assert bytes(opened.key.view()) == b"\xa5" * 32
        assert opened.notes == ()
        assert opened.header.slot(opened.slot).label == name
    assert not region.writes


def test_an_anchor_is_what_the_document_says() -> None:
    volume_id, key, digest = b"v" * 16, b"p" * 32, b"d" * 32
    body = struct.pack("<8sHHI16sQQQ32sQ", b"BELLJANC", 1, 1, 0, volume_id, 7, 5, 2, digest, 6).ljust(448, b"\0")
    body += hmac.digest(key, b"belljar volume anchor 1\0" + body, "sha256")
    state = State(sequence=7, anchored=Anchored(5, digest), resets=2, epoch=6)
    assert anchors.encode_state(volume_id, state, key) == body + hashlib.sha256(body).digest()
    body = struct.pack("<8sHHI16sQQQ32s", b"BELLJANC", 1, 0, 0, volume_id, 7, 5, 2, digest).ljust(480, b"\0")
    state = State(sequence=7, anchored=Anchored(5, digest), resets=2)
    assert anchors.encode_state(volume_id, state, None) == body + hashlib.sha256(body).digest()

    reason = "zurück".encode()
    body = struct.pack("<8sHHI16sQQQ", b"BELLJANR", 1, 0, 0, volume_id, 3, 9, 5)
    body += (b"o" * 32 + digest + struct.pack("<QH", 77, len(reason)) + reason).ljust(480 - len(body), b"\0")
    reset = Reset(number=3, before=Anchored(9, b"o" * 32), after=Anchored(5, digest), time_s=77, reason="zurück")
    assert anchors.encode_reset(volume_id, reset, None) == body + hashlib.sha256(body).digest()
    assert (anchors.SLOT_AT, anchors.LOG_AT, anchors.FILE_BYTES) == ((0, 4096), 8192, 8192 + 64 * 512)


def test_a_ledger_is_what_the_document_says() -> None:
    key, digest = b"p" * 32, b"d" * 32
    volumes = [(b"a" * 16, 1, 6, 5, digest), (b"b" * 16, 2, 7, 0, bytes(32)), (b"c" * 16, 3, 0, 9, digest)]
    body = struct.pack("<8sHHIQ", b"BELLJLED", 1, 3, 0, 7)
    body += b"".join(struct.pack("<16sH6xQQ32s", *volume) for volume in volumes)
    body += hmac.digest(key, b"belljar volume ledger 1\0" + body, "sha256")
    raw = body + hashlib.sha256(body).digest()
    standings = ledger.Standing.CLOSED, ledger.Standing.OPEN, ledger.Standing.ADOPTED
    entries = tuple(
        ledger.Entry(volume_id=volume_id, standing=standing, epoch=epoch, anchored=Anchored(generation, root))
        for (volume_id, _, epoch, generation, root), standing in zip(volumes, standings, strict=True)
    )
    page = ledger.Page(value=7, entries=entries)
    assert ledger.encode_page(page, key) == raw
    assert ledger.parse_page(raw, (key,)) == page
    assert [hashlib.sha256(raw).hexdigest(), len(raw)] == [
        "32771548c13c165f853df1220d1ab1b27143ec71edef422ab140d998a31273be",
        304,
    ]
    assert (ledger.Standing.ADOPTING, ledger.MAX_ENTRIES) == (4, 909)
    assert [ledger.slot_at(value) for value in (7, 8)] == [65536, 0]
    assert (ledger.NAME, ledger.FILE_BYTES) == ("ledger", 131072)


def test_a_backup_is_what_the_document_says() -> None:
    block = hashlib.sha256(b"\0content").digest()
    assert backups.block_digest(b"content") == block
    node = struct.pack("<8sHBBI", b"BELLJBKN", 1, 1, 0, 2) + block + bytes(32)
    assert backups.encode_node(1, [Digest(block), ZERO]) == node
    root = hashlib.sha256(b"\1" + node).digest()
    assert backups.node_digest(node) == root
    backup = Backup(
        volume_id=b"v" * 16, container_bytes=1048583, root=Digest(root), number=1, parent=ZERO, created_s=12
    )
    record = (
        f'{{"block_bytes":1048576,"container_bytes":1048583,"created_s":12,"format":"belljar.backup/1","number":1,'
        f'"parent":"{"00" * 32}","root":"{root.hex()}","volume":"{"76" * 16}"}}'
    ).encode()
    assert backups.encode_backup(backup) == record
    assert backups.backup_digest(record) == hashlib.sha256(b"\2" + record).digest()
    assert backups.encode_marker() == b'{"block_bytes":1048576,"format":"belljar.backup/1"}'

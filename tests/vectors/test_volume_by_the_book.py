"""The golden volume, read from what docs/formats/volume.md says and from nothing of our code."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

VOLUME_ID, KEY = bytes(range(16)), bytes(range(100, 132))
CONTENT = gzip.decompress((Path(__file__).parent / "volumes/volume-1.gz").read_bytes())
ROOT_DIGEST = "317b4f1c8fae3ae8db088bbb57e593edd892a05bf48effb04cc3115210c62169"


def expand(purpose: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, b"belljar volume 1 " + purpose).derive(KEY)


def unseal(sealed: bytes, epoch: bytes, scope: int, counter: int, context: bytes) -> bytes:
    key = expand(b"seal" + epoch + scope.to_bytes(8, "big"))
    return AESGCM(key).decrypt(counter.to_bytes(12, "big"), sealed, VOLUME_ID + context)


def root() -> tuple[int, bytes, bytes, int]:
    """Return (generation, previous, pointer, level) of the newest root record."""
    found: list[tuple[int, bytes, bytes, int, bytes]] = []
    for slot, offset in enumerate((131072, 135168)):
        record = CONTENT[offset : offset + 4096]
        magic, version, algorithm, its_slot, epoch, counter = struct.unpack(">8sHHI16sI28x", record[:64])
        assert (magic, version, algorithm, its_slot) == (b"BELLJVOL", 1, 1, slot)
        body = unseal(record[64:], epoch, 2**64 - 1, counter, b"R" + record[:64])
        generation, previous, pointer, level = struct.unpack_from(">Q32s54sB", body)
        assert generation % 2 == slot
        assert not any(body[135:])
        found.append((generation, previous, pointer, level, hashlib.sha256(record).digest()))
    older, newer = sorted(found)
    assert newer[0] == older[0] + 1
    assert newer[1] == older[4]
    assert newer[4].hex() == ROOT_DIGEST
    return newer[:4]


def target(pointer: bytes, scope: int, context: bytes) -> bytes:
    block, blocks, generation, epoch, counter, tag = struct.unpack(">QHQ16sI16s", pointer)
    sealed = CONTENT[block * 4096 : (block + blocks) * 4096] + tag
    kind, rest = context[:1], context[1:]
    order = rest + generation.to_bytes(8, "big") if kind == b"N" else generation.to_bytes(8, "big") + rest
    return unseal(sealed, epoch, scope, counter, kind + order)


def items(pointer: bytes, level: int) -> Iterator[tuple[bytes, bytes]]:
    node = target(pointer, 0, b"N" + bytes([level]))
    its_level, zero, count = struct.unpack_from(">BBH", node)
    assert (its_level, zero) == (level, 0)
    lengths = struct.unpack_from(f">{count}H", node, 4)
    at = 4 + 2 * count
    sizes = (54,) * count if level else struct.unpack_from(f">{count}H", node, at)
    at += 0 if level else 2 * count
    keys: list[bytes] = []
    values: list[bytes] = []
    for into, parts in ((keys, lengths), (values, sizes)):
        for length in parts:
            into.append(node[at : at + length])
            at += length
    assert not any(node[at:])
    assert level or keys == sorted(set(keys))
    for key, value in zip(keys, values, strict=True):
        if level:
            yield from items(value, level - 1)
        else:
            yield key, value


def test_the_document_is_enough_to_read_the_golden_volume() -> None:
    _, _, pointer, level = root()
    tree = {(*struct.unpack(">QB", key[:9]), key[9:]): value for key, value in items(pointer, level)}
    names = {(key[0], value[9:]): key[2] + value[:9] for key, value in tree.items() if key[1] == 20}
    folder, large, small = (
        struct.unpack(">QQB", names[key])[1] for key in ((1, b"folder"), (1, b"large"), (1, b"other name"))
    )
    assert struct.unpack(">QQB", names[folder, b"small"])[1] == small
    inode = struct.unpack(">IIIIIIQQQqqq", tree[large, 16, b""])
    assert inode[:9] == (0o104755, 1, 0, 0, 0, 2, 200_013, 3, 0)
    assert tree[small, 18, b""] == b"HELLO\n"
    assert tree[large, 19, b"user.note"] == b"\0\xff"
    chunks = {key[2]: value for key, value in tree.items() if key[:2] == (large, 21)}
    assert [int.from_bytes(chunk, "big") for chunk in sorted(chunks)] == [0, 3]
    content = {chunk: target(value, large, b"C" + large.to_bytes(8, "big") + chunk) for chunk, value in chunks.items()}
    assert content[bytes(8)] == bytes(range(256)) * 20 + bytes(8192 - 5120)
    assert content[(3).to_bytes(8, "big")][200_000 - 196_608 :].rstrip(b"\0") == b"behind a hole"
    hashed = int.from_bytes(hashlib.blake2b(b"large", digest_size=8, key=expand(b"names")).digest(), "big")
    assert names[1, b"large"][:8] == ((hashed >> 4) << 3).to_bytes(8, "big")
    snapshot = tree[0, 1, b"first"]
    before = dict(items(snapshot[8:62], snapshot[62]))
    assert before[struct.pack(">QB", small, 18)] == b"hello\n"


def test_the_bitmap_marks_what_is_referred_to_and_nothing_else() -> None:
    _, _, pointer, level = root()
    used: set[int] = set()

    def mark(pointer: bytes, level: int) -> None:
        block, blocks = struct.unpack_from(">QH", pointer)
        used.update(range(block, block + blocks))
        if level:
            node = target(pointer, 0, b"N" + bytes([level]))
            count = struct.unpack_from(">H", node, 2)[0]
            at = 4 + 2 * count + sum(struct.unpack_from(f">{count}H", node, 4))
            for number in range(count):
                mark(node[at + 54 * number : at + 54 * (number + 1)], level - 1)

    tree = dict(items(pointer, level))
    snapshot = tree[struct.pack(">QB", 0, 1) + b"first"]
    for top, its_level in ((pointer, level), (snapshot[8:62], snapshot[62])):
        mark(top, its_level)
        for key, value in items(top, its_level):
            if key[8] == 21:
                mark(value, 0)
    bitmap = tree[struct.pack(">QBQ", 0, 2, 0)]
    assert {i for i in range(16384) if bitmap[i // 8] >> (i % 8) & 1} == used

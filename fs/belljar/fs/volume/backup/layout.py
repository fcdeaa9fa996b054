"""The bytes of a backup repository; documented in docs/formats/volume-backup.md. Pure.

    belljar-backup            canonical JSON: format, size of blocks
    blocks/ab/ab…             1 MiB of a container's ciphertext each, the last one shorter, named by its digest
    nodes/ab/ab…              up to 256 digests each, of blocks or of nodes one level below
    backups/…                 canonical JSON: one backup, named by its digest

Digests are SHA-256 over a byte that says what it is (0 block, 1 node, 2 backup) and the content. 32 zero bytes stand
for a block, or a whole subtree, of zeros, which is not stored.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from struct import Struct
from typing import NewType, cast

from belljar.fs.errors import BackupRefused

Digest = NewType("Digest", bytes)

MARKER = "belljar-backup"
FORMAT = "belljar.backup/1"
BLOCK_BYTES = 1024 * 1024  # a change of one byte costs one block; smaller ones cost names
FAN_OUT = 256
ZERO = Digest(bytes(32))
MAX_MANIFEST_BYTES = 4096
MAX_CONTAINER_BYTES = 1 << 60
_NODE = Struct("<8sHBBI")  # magic version level zero count, then the digests
_NODE_MAGIC = b"BELLJBKN"
_VERSION = 1
MAX_NODE_BYTES = _NODE.size + FAN_OUT * 32
_MEMBERS = {"block_bytes", "container_bytes", "created_s", "format", "number", "parent", "root", "volume"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One backup of one container.

    Attributes:
        volume_id: of the volume in it, from its header, which nobody has verified.
        container_bytes: its length.
        root: digest of the topmost node, or ZERO.
        number: counts the backups of this volume in this repository, from 1.
        parent: digest of the backup before, or ZERO.
        created_s: when, in seconds since 1970, by the clock of who made it.
    """

    volume_id: bytes
    container_bytes: int
    root: Digest
    number: int
    parent: Digest
    created_s: int


def block_digest(content: bytes) -> Digest:
    """Return the name of a block."""
    digest = hashlib.sha256(b"\0")
    digest.update(content)
    return Digest(digest.digest())


def node_digest(content: bytes) -> Digest:
    """Return the name of a node."""
    return Digest(hashlib.sha256(b"\1" + content).digest())


def backup_digest(content: bytes) -> Digest:
    """Return the name of a backup."""
    return Digest(hashlib.sha256(b"\2" + content).digest())


def block_count(container_bytes: int) -> int:
    """Return the number of blocks of a container, the short one at its end included."""
    return -(-container_bytes // BLOCK_BYTES)


def block_length(container_bytes: int, number: int) -> int:
    """Return the length of a block of a container."""
    return min(BLOCK_BYTES, container_bytes - number * BLOCK_BYTES)


def levels(blocks: int) -> int:
    """Return the level of the topmost node over so many blocks: 1 up to 256 blocks, 2 up to 65536…"""
    level = 1
    while FAN_OUT**level < blocks:
        level += 1
    return level


def encode_node(level: int, digests: list[Digest]) -> bytes:
    """Return the bytes of a node."""
    return _NODE.pack(_NODE_MAGIC, _VERSION, level, 0, len(digests)) + b"".join(digests)


def parse_node(content: bytes, level: int, count: int) -> list[Digest]:
    """Return the digests in a node.

    Raises:
        BackupRefused: it is not a node of that level with so many digests.
    """
    expected = _NODE.pack(_NODE_MAGIC, _VERSION, level, 0, count)
    if content[: _NODE.size] != expected or len(content) != _NODE.size + count * 32:
        raise BackupRefused(f"a node is not one of level {level} with {count} digests")
    return [Digest(content[at : at + 32]) for at in range(_NODE.size, len(content), 32)]


def encode_backup(backup: Backup) -> bytes:
    """Return the bytes of a backup's own record."""
    members: dict[str, str | int] = {
        "block_bytes": BLOCK_BYTES,
        "container_bytes": backup.container_bytes,
        "created_s": backup.created_s,
        "format": FORMAT,
        "number": backup.number,
        "parent": backup.parent.hex(),
        "root": backup.root.hex(),
        "volume": backup.volume_id.hex(),
    }
    return _canonical(members)


def parse_backup(content: bytes) -> Backup:
    """Return what a backup's record says.

    Raises:
        BackupRefused: it is malformed, not in its one canonical form, or of another version.
    """
    members = _object(content)
    if members.get("format") != FORMAT or members.get("block_bytes") != BLOCK_BYTES:
        raise BackupRefused(f"a backup has format {members.get('format')!r}, expected {FORMAT!r} with 1 MiB blocks")
    if set(members) != _MEMBERS:
        raise BackupRefused("a backup has other members than this version knows")
    backup = Backup(
        volume_id=_hex(members["volume"], 16),
        container_bytes=_number(members["container_bytes"], MAX_CONTAINER_BYTES),
        root=Digest(_hex(members["root"], 32)),
        number=_number(members["number"], MAX_CONTAINER_BYTES),
        parent=Digest(_hex(members["parent"], 32)),
        created_s=_number(members["created_s"], MAX_CONTAINER_BYTES),
    )
    if backup.number == 0 or (backup.parent == ZERO and backup.number != 1) or encode_backup(backup) != content:
        raise BackupRefused("a backup is not in its canonical form")
    return backup


def encode_marker() -> bytes:
    """Return the content of the file that says what the folder is."""
    return _canonical({"block_bytes": BLOCK_BYTES, "format": FORMAT})


def _canonical(members: dict[str, str | int]) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def _object(content: bytes) -> dict[str, object]:
    if len(content) > MAX_MANIFEST_BYTES:
        raise BackupRefused(f"a backup's record has {len(content)} bytes, expected at most {MAX_MANIFEST_BYTES}")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise BackupRefused("a backup's record is not JSON") from None
    if not isinstance(found, dict):
        raise BackupRefused("a backup's record is not a JSON object")
    return cast("dict[str, object]", found)


def _hex(value: object, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size or set(value) - set("0123456789abcdef"):
        raise BackupRefused(f"a backup's record has {value!r} where {size} bytes in hexadecimal were expected")
    return bytes.fromhex(value)


def _number(value: object, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise BackupRefused(f"a backup's record has {value!r} where a number was expected")
    return value

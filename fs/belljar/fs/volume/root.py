"""The root record: which tree is the volume, authenticated and encrypted, and which record is the newest.

Two slots are written in turn, so a torn write leaves the record before. A record names the digest of the one it
follows; with the anchor that decides what may be mounted: the anchored record, or its direct successor when a crash
fell between writing and anchoring (and `recovery.py` finds it whole). Anything older, forked or missing is refused with
what was expected and what was found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume import layout
from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.sealing import ROOTS, InvalidTag, Sealer

if TYPE_CHECKING:
    from belljar.fs.volume.container import Container

_RESTORED = "if you restored a backup or moved the volume on purpose, anchor it anew as its owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRecord:
    """What one commit says. `end` is the length of the container in blocks, `previous` the digest before it."""

    generation: int
    previous: bytes
    pointer: bytes
    level: int
    next_ino: int
    inodes: int
    used: int
    end: int
    time_ns: int


def encode(record: RootRecord, sealer: Sealer) -> bytes:
    """Return the 4096 bytes of a record."""
    nonce = sealer.next_nonce()
    head = layout.ROOT_HEAD.pack(
        layout.MAGIC, layout.VERSION, layout.AES_256_GCM, record.generation % 2, nonce[0], nonce[1]
    )
    body = layout.ROOT_BODY.pack(
        record.generation, record.previous, record.pointer, record.level, record.next_ino,
        record.inodes, record.used, record.end, record.time_ns,
    )  # fmt: skip
    body += bytes(layout.ROOT_BODY_BYTES - len(body))
    return head + sealer.seal(body, ROOTS, nonce, sealer.root_context(head))


def decode(content: bytes, slot: int, sealer: Sealer) -> RootRecord:
    """Return the record in a slot.

    Raises:
        VolumeRefused: it is not one that the holder of this key wrote there.
    """
    if len(content) != layout.BLOCK_BYTES:
        raise VolumeRefused(f"root slot {slot}: got {len(content)} bytes, expected {layout.BLOCK_BYTES}")
    head = content[: layout.ROOT_HEAD.size]
    magic, version, algorithm, its_slot, epoch, counter = layout.ROOT_HEAD.unpack(head)
    if magic != layout.MAGIC:
        raise VolumeRefused(f"root slot {slot}: got {magic!r}, expected {layout.MAGIC!r}")
    if version != layout.VERSION:
        raise VolumeRefused(
            f"root slot {slot}: format version {version}, this Belljar knows {layout.VERSION}",
            hint="open it with a newer Belljar",
        )
    if algorithm not in layout.ALGORITHMS:
        raise VolumeRefused(f"root slot {slot}: unknown algorithm {algorithm}", hint="open it with a newer Belljar")
    sealed = content[layout.ROOT_HEAD.size :]
    try:
        body = sealer.open(sealed, ROOTS, (epoch, counter), sealer.root_context(head))
    except InvalidTag:
        raise VolumeRefused(f"root slot {slot}: does not verify under this volume's key") from None
    generation, previous, pointer, level, next_ino, inodes, used, end, time_ns = layout.ROOT_BODY.unpack_from(body)
    if its_slot != slot or generation % 2 != slot:
        raise VolumeRefused(f"root slot {slot}: holds a record of slot {generation % 2}")
    return RootRecord(
        generation=generation, previous=previous, pointer=pointer, level=level, next_ino=next_ino, inodes=inodes,
        used=used, end=end, time_ns=time_ns,
    )  # fmt: skip


def take_back(container: Container, generation: int) -> None:
    """Overwrite the record of a commit whose sync failed.

    After such a failure the host's cache shows what the disk may not have, and the next sync says that all is well
    (fsync(2)): nobody may find the record there and believe it.

    Raises:
        OSError: it could not be written.
    """
    container.pwrite(bytes(layout.BLOCK_BYTES), layout.ROOT_OFFSETS[generation % 2])


def records(container: Container, sealer: Sealer) -> list[tuple[RootRecord, Anchored]]:
    """Return each record that verifies, and what an anchor would hold of it; the newest first.

    Raises:
        VolumeRefused: no slot holds one.
    """
    found: list[tuple[RootRecord, Anchored]] = []
    faults: list[VolumeRefused] = []
    for slot, offset in enumerate(layout.ROOT_OFFSETS):
        content = container.pread(layout.BLOCK_BYTES, offset)
        try:
            record = decode(content, slot, sealer)
        except VolumeRefused as fault:
            faults.append(fault)
        else:
            found.append((record, Anchored(record.generation, hashlib.sha256(content).digest())))
    if not found:
        said = "; ".join(str(fault) for fault in faults)
        hint = next((fault.hint for fault in faults if fault.hint), "is this the key of this volume?")
        raise VolumeRefused(f"no root record verifies: {said}", hint=hint)
    return sorted(found, key=lambda pair: pair[0].generation, reverse=True)


def verify_freshness(record: RootRecord, found: Anchored, expected: Anchored | None) -> bool:
    """Say whether the anchor must still be advanced to this record: a crash fell between writing and anchoring.

    Raises:
        VolumeRefused: the record is not the newest one that was anchored, nor its direct successor.
    """
    if expected is None:
        raise VolumeRefused(
            "the anchor has never seen this volume: nothing says that this is its newest state", hint=_RESTORED
        )
    if found == expected:
        return False
    if found.generation == expected.generation + 1 and record.previous == expected.digest:
        return True
    if found.generation < expected.generation:
        raise VolumeRefused(
            f"the volume went back in time: found generation {found.generation}, "
            f"expected {expected.generation}, which the anchor has seen",
            hint=_RESTORED,
        )
    raise VolumeRefused(
        f"the volume was forked: found generation {found.generation} with digest {found.digest.hex()[:16]}, "
        f"expected generation {expected.generation} with digest {expected.digest.hex()[:16]} or its direct successor",
        hint=_RESTORED,
    )

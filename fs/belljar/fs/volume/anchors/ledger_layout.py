"""The bytes of the ledger: which state of which volume counts, at one value of the platform's counter. Pure.

    0        slot 0       65536   slot 1        that of value C is number C mod 2

    slot        0  8  magic "BELLJLED"       8  2  version          10  2  number of volumes
               12  4  zero                  16  8  value of the counter
               24  n  72 for each volume, by their ids; then HMAC-SHA-256 under the platform's key, then SHA-256

Everything is little endian; documented in docs/formats/volume-anchor.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from struct import Struct

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchored

from .layout import TornRecord, opened, sealed

NAME = "ledger"
MAGIC = b"BELLJLED"
VERSION = 1
SLOT_BYTES = 1 << 16
FILE_BYTES = 2 * SLOT_BYTES
_HEAD = Struct("<8sHHIQ")
_ENTRY = Struct("<16sH6xQQ32s")
_TAIL_BYTES = 64
MAX_ENTRIES = (SLOT_BYTES - _HEAD.size - _TAIL_BYTES) // _ENTRY.size
_DOMAIN = b"belljar volume ledger 1\0"


class Standing(IntEnum):
    """How the ledger last saw a volume.

    `CLOSED`: its mount ended well; exactly this root counts. `OPEN`: it is mounted, or its last mount never ended; what
    that mount wrote counts, or what it began with. `ADOPTED`: it was anchored before there was a platform, and nothing
    was written since; `ADOPTING`: its first mount since then is not known to have ended.
    """

    CLOSED = 1
    OPEN = 2
    ADOPTED = 3
    ADOPTING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the ledger knows of one volume.

    Attributes:
        volume_id: 16 bytes.
        standing: see there.
        epoch: the counter's value since when it stands so.
        anchored: its newest root then; generation 0 if it had none.
    """

    volume_id: bytes
    standing: Standing
    epoch: int
    anchored: Anchored


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The ledger at one value of the counter, entries by their volume's id."""

    value: int
    entries: tuple[Entry, ...]

    def entry(self, volume_id: bytes) -> Entry | None:
        """Return what is known of a volume."""
        return next((entry for entry in self.entries if entry.volume_id == volume_id), None)


def slot_at(value: int) -> int:
    """Return where the slot of a counter's value is."""
    return value % 2 * SLOT_BYTES


def encode_page(page: Page, key: bytes) -> bytes:
    """Return a slot, without the unused rest of it.

    Raises:
        VolumeRefused: more volumes than it can hold.
    """
    entries = sorted(page.entries, key=lambda entry: entry.volume_id)
    if len(entries) > MAX_ENTRIES:
        raise VolumeRefused(
            f"{len(entries)} volumes are anchored on this platform, expected at most {MAX_ENTRIES}",
            hint="destroy volumes that are not needed: belljar volume destroy",
        )
    body = _HEAD.pack(MAGIC, VERSION, len(entries), 0, page.value)
    for entry in entries:
        root = entry.anchored
        body += _ENTRY.pack(entry.volume_id, entry.standing, entry.epoch, root.generation, root.digest)
    return sealed(body, _DOMAIN, key)


def parse_page(raw: bytes, keys: tuple[bytes, ...]) -> Page:
    """Return what a slot says.

    Args:
        raw: the slot, with or without its unused rest.
        keys: of the platform's generations.

    Raises:
        TornRecord: there is none, or it is not whole.
        VolumeRefused: it is whole, but of another platform or version.
    """
    if len(raw) < _HEAD.size:
        raise TornRecord("a slot is not whole")
    magic, version, count, zero, value = _HEAD.unpack_from(raw)
    if magic != MAGIC or count > MAX_ENTRIES:
        raise TornRecord("a slot is not whole")
    if version != VERSION or zero:
        raise VolumeRefused(f"the ledger has format version {version}, expected {VERSION}")
    body = opened(raw[: _HEAD.size + count * _ENTRY.size + _TAIL_BYTES], _DOMAIN, keys)
    if len(body) != _HEAD.size + count * _ENTRY.size:
        raise TornRecord("a slot is not whole")
    entries = tuple(_entry(*fields) for fields in _ENTRY.iter_unpack(body[_HEAD.size :]))
    ids = [entry.volume_id for entry in entries]
    if any(first >= second for first, second in pairwise(ids)):
        raise VolumeRefused("the ledger's volumes are not in order")
    return Page(value=value, entries=entries)


def _entry(volume_id: bytes, standing: int, epoch: int, generation: int, digest: bytes) -> Entry:
    try:
        known = Standing(standing)
    except ValueError:
        raise VolumeRefused(f"the ledger says {standing} of a volume, expected 1 to {max(Standing)}") from None
    return Entry(volume_id=volume_id, standing=known, epoch=epoch, anchored=Anchored(generation, digest))

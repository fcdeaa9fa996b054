"""From the bytes of a copy to a header; the inverse of `encode`. Pure, and strict: one header has one encoding.

Nothing here is authenticated yet: the checksum finds accidents, and only `verify_mac` with a key of the volume says
that somebody who had that key wrote it.
"""

from __future__ import annotations

import hashlib
import hmac

from belljar.fs.errors import VolumeRefused

from . import layout
from .model import Header, Slot


class DamagedCopy(VolumeRefused):
    """A copy is damaged, was never finished, or is none; the other one may be whole."""


def parse_copy(raw: bytes) -> Header:
    """Return the header in a copy whose checksum holds.

    Raises:
        DamagedCopy: the copy is cut short, damaged, or not a header at all.
        VolumeRefused: it is whole, and of another version.
    """
    if len(raw) != layout.COPY_BYTES:
        raise DamagedCopy(f"cut off after {len(raw)} bytes, expected {layout.COPY_BYTES}")
    if raw[:8] != layout.MAGIC:
        raise DamagedCopy("does not begin as a volume does")
    if hashlib.sha256(raw[: layout.CHECKSUM_AT]).digest() != raw[layout.CHECKSUM_AT :]:
        raise DamagedCopy("its checksum does not hold")
    header = _prelude(raw)
    if _dirty(raw[layout.PRELUDE.size + layout.SLOTS * layout.SLOT_BYTES : layout.MAC_AT]):
        raise DamagedCopy("bytes behind the key slots that should be zero are not")
    return header


def verify_mac(raw: bytes, mac_key: bytes | bytearray) -> bool:
    """Say whether a copy was written by somebody who had the volume key."""
    return hmac.compare_digest(hmac.digest(mac_key, raw[: layout.MAC_AT], "sha256"), raw[layout.MAC_AT :][:32])


def _prelude(raw: bytes) -> Header:
    _, version, cipher, derivation, zero, slots, slot_bytes, generation, volume_id, created_s = (
        layout.PRELUDE.unpack_from(raw)
    )
    if version != layout.VERSION:
        hint = "it was made by a newer belljar" if version > layout.VERSION else None
        raise VolumeRefused(f"the volume has format version {version}, expected {layout.VERSION}", hint=hint)
    if (cipher, derivation) != (layout.AES_256_GCM, layout.HKDF_HMAC_SHA256):
        raise DamagedCopy(f"the header has algorithms {cipher} and {derivation}, expected 1 and 1")
    if (zero, slots, slot_bytes) != (0, layout.SLOTS, layout.SLOT_BYTES) or _dirty(raw[56 : layout.PRELUDE.size]):
        raise DamagedCopy("the header's fixed fields are not those of version 1")
    if not 1 <= generation <= layout.MAX_GENERATION or created_s > layout.MAX_GENERATION:
        raise DamagedCopy(f"the header has generation {generation} and time {created_s}: out of bounds")
    found = (_slot(raw, number) for number in range(layout.SLOTS))
    return Header(
        volume_id=volume_id,
        generation=generation,
        created_s=created_s,
        slots=tuple(slot for slot in found if slot is not None),
    )


def _slot(raw: bytes, number: int) -> Slot | None:
    at = layout.PRELUDE.size + number * layout.SLOT_BYTES
    content = raw[at : at + layout.SLOT_BYTES]
    kind, label_length, parameter_length, zero, label, wrapped = layout.SLOT.unpack_from(content)
    if kind == 0:
        if _dirty(content):
            raise DamagedCopy(f"key slot {number} is empty but not zero")
        return None
    if label_length > layout.MAX_LABEL_BYTES or parameter_length > layout.MAX_PARAMETER_BYTES:
        raise DamagedCopy(f"key slot {number} has lengths {label_length} and {parameter_length}: out of bounds")
    end = layout.SLOT.size + parameter_length
    if (
        zero
        or _dirty(content[8:16])
        or _dirty(label[label_length:])
        or _dirty(content[140:144])
        or _dirty(content[end:])
    ):
        raise DamagedCopy(f"key slot {number} has bytes that should be zero and are not")
    return Slot(
        number=number,
        kind=kind,
        label=_label(label[:label_length], number),
        parameters=content[layout.SLOT.size : end],
        wrapped=wrapped,
    )


def _label(raw: bytes, number: int) -> str:
    try:
        label = raw.decode()
    except UnicodeDecodeError:
        raise DamagedCopy(f"the label of key slot {number} is not UTF-8") from None
    if label and not label.isprintable():
        raise DamagedCopy(f"the label of key slot {number} has characters that do not print")
    return label


def _dirty(content: bytes) -> bool:
    """Say whether bytes that should be zero are not; quicker than asking each."""
    return content.count(0) != len(content)

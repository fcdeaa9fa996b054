"""From a header to the bytes of a copy. Pure; the inverse is `parse`."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeRefused

from . import layout

if TYPE_CHECKING:
    from .model import Header, Slot


def encode_copy(header: Header, mac_key: bytes | bytearray) -> bytes:
    """Return the 65536 bytes of a copy.

    Raises:
        VolumeRefused: a label is too long, or the header has been changed too often.
    """
    body = _body(header)
    body += hmac.digest(mac_key, body, "sha256")
    return body + hashlib.sha256(body).digest()


def _body(header: Header) -> bytes:
    if not 1 <= header.generation <= layout.MAX_GENERATION:
        raise VolumeRefused(f"header generation {header.generation} is out of bounds")
    body = bytearray(layout.MAC_AT)
    layout.PRELUDE.pack_into(
        body,
        0,
        layout.MAGIC,
        layout.VERSION,
        layout.AES_256_GCM,
        layout.HKDF_HMAC_SHA256,
        0,
        layout.SLOTS,
        layout.SLOT_BYTES,
        header.generation,
        header.volume_id,
        header.created_s,
    )
    for slot in header.slots:
        at = layout.PRELUDE.size + slot.number * layout.SLOT_BYTES
        body[at : at + layout.SLOT_BYTES] = encode_slot(slot)
    return bytes(body)


def encode_slot(slot: Slot) -> bytes:
    """Return the 1536 bytes of a slot."""
    label = label_bytes(slot.label)
    if len(slot.parameters) > layout.MAX_PARAMETER_BYTES:
        found = f"{len(slot.parameters)} bytes of parameters, expected at most {layout.MAX_PARAMETER_BYTES}"
        raise VolumeRefused(f"key slot {slot.number} has {found}")
    head = layout.SLOT.pack(slot.kind, len(label), len(slot.parameters), 0, label, slot.wrapped)
    return (head + slot.parameters).ljust(layout.SLOT_BYTES, b"\0")


def label_bytes(label: str) -> bytes:
    """Return a label as it is stored.

    Raises:
        VolumeRefused: it is too long, or would not print on one line.
    """
    if label and not label.isprintable():
        raise VolumeRefused(f"the label {label!r} has characters that do not print")
    encoded = label.encode()
    if len(encoded) > layout.MAX_LABEL_BYTES:
        raise VolumeRefused(f"the label {label!r} has {len(encoded)} bytes, expected at most {layout.MAX_LABEL_BYTES}")
    return encoded

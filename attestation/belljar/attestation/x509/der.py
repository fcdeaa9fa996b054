"""DER, one level at a time: what `cryptography` leaves raw in vendors' extensions (X.690 8.1, 10.1).

In come bytes; out come the tags and contents of the values in them, or `EvidenceRefused`. Lengths must be definite and
minimal. A caller opens each level itself, so nothing here recurses. Pure.
"""

from __future__ import annotations

from typing import Literal

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.fields import Fields

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, ENUMERATED = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A
SEQUENCE = 0x30
MAX_VALUES = 64
_MAX_LENGTH_BYTES = 3
_BIG: Literal["big"] = "big"


def values(content: bytes, what: str) -> list[tuple[int, bytes]]:
    """Return (tag, content) of each value in `content`.

    Raises:
        EvidenceRefused: it is not DER, or holds more than `MAX_VALUES`.
    """
    fields = Fields(content, what, _BIG)
    found: list[tuple[int, bytes]] = []
    while fields.offset < len(content):
        if len(found) == MAX_VALUES:
            raise EvidenceRefused(f"{what}: got more than {MAX_VALUES} values")
        tag = fields.number(1, "tag")
        found.append((tag, fields.take(_length(fields, what), "value")))
    return found


def _length(fields: Fields, what: str) -> int:
    first = fields.number(1, "length")
    if first < 0x80:
        return first
    size = first & 0x7F
    if not 1 <= size <= _MAX_LENGTH_BYTES:
        raise EvidenceRefused(f"{what}: got a length of {size} bytes, expected 1 to {_MAX_LENGTH_BYTES}")
    length = fields.number(size, "length")
    if length < max(0x80, 1 << 8 * (size - 1)):
        raise EvidenceRefused(f"{what}: got a length that DER spells in another way")
    return length


def only(content: bytes, tag: int, what: str) -> bytes:
    """Return the content of the one value in `content`.

    Raises:
        EvidenceRefused: there is another number of values, or another tag.
    """
    found = values(content, what)
    if len(found) != 1 or found[0][0] != tag:
        raise EvidenceRefused(f"{what}: got tags {[f'{tag:#x}' for tag, _ in found]}, expected one {tag:#x}")
    return found[0][1]


def spell(tag: int, content: bytes) -> bytes:
    """Return one value in DER."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else b""
    if not length:
        number = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(number)]) + number
    return bytes([tag]) + length + content

"""Conceptual message wrapper: says what a message is, around it (RFC 9999), as a CBOR record or a JSON record.

    [media type, content (JSON: base64url), 4]        4 is bit 2: evidence

In come a media type and bytes; out comes the record, and back. Only records are read: no collections, no tags.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from belljar.attestation.canonical import canonical_bytes
from belljar.attestation.cbor import decode, encode
from belljar.attestation.errors import CborRefused, EvidenceRefused

if TYPE_CHECKING:
    from belljar.attestation.canonical import Json

EVIDENCE = 1 << 2  # RFC 9999, the indicator's bits: reference values, endorsements, evidence, results, policy
MAX_BYTES = 1 << 21
_MAX_TYPE_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A message and what it is."""

    media_type: str
    content: bytes


def wrap(message: Wrapped) -> bytes:
    """Return evidence as a CBOR record."""
    return encode([message.media_type, message.content, EVIDENCE])


def wrap_json(message: Wrapped) -> bytes:
    """Return evidence as a JSON record."""
    return canonical_bytes([message.media_type, base64url(message.content), EVIDENCE])


def unwrap(record: bytes) -> Wrapped:
    """Return what is in a record, of either kind.

    Raises:
        EvidenceRefused: it is no record, or not one of evidence.
    """
    if len(record) > MAX_BYTES:
        raise EvidenceRefused(f"a wrapper of {len(record)} bytes, expected at most {MAX_BYTES}")
    media_type, content, indicator = _json(record) if record.startswith(b"[") else _cbor(record)
    if not isinstance(media_type, str) or not 0 < len(media_type) <= _MAX_TYPE_BYTES:
        raise EvidenceRefused("a wrapper without the media type of its content")
    if not isinstance(content, bytes):
        raise EvidenceRefused("a wrapper whose content is not bytes")
    if indicator != EVIDENCE or isinstance(indicator, bool):
        raise EvidenceRefused(f"a wrapper of messages of kind {indicator!r}, expected evidence ({EVIDENCE})")
    return Wrapped(media_type=media_type, content=content)


def _cbor(record: bytes) -> tuple[object, object, object]:
    try:
        value = decode(record)
    except CborRefused as error:
        raise EvidenceRefused(f"not a wrapper: {error}") from error
    if not isinstance(value, list) or len(value) != 3:
        raise EvidenceRefused("not a wrapper: expected media type, content and kind")
    return value[0], value[1], value[2]


def _json(record: bytes) -> tuple[object, object, object]:
    value = strict_json(record, "a wrapper")
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[1], str):
        raise EvidenceRefused("not a wrapper: expected media type, content and kind")
    return value[0], from_base64url(value[1]), value[2]


def strict_json(content: bytes, name: str) -> Json:
    """Return the value of canonical JSON.

    Raises:
        EvidenceRefused: it is anything but the canonical form of one value.
    """
    try:
        value = cast("Json", json.loads(content, parse_float=_refused, parse_constant=_refused))
        same = canonical_bytes(value) == content  # it looks at every part
    except (ValueError, RecursionError) as error:
        raise EvidenceRefused(f"{name} is not canonical JSON") from error
    if not same:
        raise EvidenceRefused(f"{name} is not canonical JSON: spaces, order or spelling")
    return value


def _refused(text: str) -> object:
    raise ValueError(f"{text} is not a whole number")


def base64url(content: bytes) -> str:
    """Return bytes in base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Return the bytes in base64url.

    Raises:
        EvidenceRefused: it is not the one spelling of some bytes.
    """
    try:
        content = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise EvidenceRefused("not base64url") from error
    if base64url(content) != text:
        raise EvidenceRefused("not base64url: another spelling of the same bytes")
    return content

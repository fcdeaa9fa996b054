"""The bytes of an anchor's state file; documented in docs/formats/volume-anchor.md. Pure.

    0      slot 0       4096   slot 1        512 bytes each, written alternately
    8192   reset log    64 records of 512 bytes, a ring

    record      up to 448 what it says, then zeros
                448       HMAC-SHA-256 under the platform's key, or zeros if there is none
                480       SHA-256 over all before it

Everything is little endian. The checksum finds what was torn by a crash; the HMAC finds what somebody without the
platform's key has written.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from struct import Struct

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchored

VERSION = 1
STATE_MAGIC = b"BELLJANC"
RESET_MAGIC = b"BELLJANR"
RECORD_BYTES = 512
SLOT_AT = (0, 4096)
LOG_AT = 8192
LOG_RECORDS = 64
FILE_BYTES = LOG_AT + LOG_RECORDS * RECORD_BYTES
KEYED = 1
MAX_REASON_BYTES = 256
MIN_KEY_BYTES = 32
_HEAD = Struct("<8sHHI16s")  # magic version flags zero volume_id
_STATE = Struct("<QQQ32s")  # sequence generation resets digest
_RESET = Struct("<QQQ32s32sQH")  # number from_generation to_generation from_digest to_digest time_s reason_bytes
_BODY_BYTES = 448
_DOMAIN = b"belljar volume anchor 1\0"
_MAX_NUMBER = (1 << 63) - 1


class TornRecord(VolumeRefused):
    """A record was never finished, or is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a slot says.

    Attributes:
        sequence: counts the writes of this file; slot number is sequence mod 2.
        anchored: the newest root.
        resets: how often it was set anew on purpose.
    """

    sequence: int
    anchored: Anchored
    resets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """One entry of the log: when the owner set the anchor on purpose, from what to what, and why."""

    number: int
    before: Anchored
    after: Anchored
    time_s: int
    reason: str


def encode_state(volume_id: bytes, state: State, key: bytes | None) -> bytes:
    """Return the 512 bytes of a slot."""
    anchored = state.anchored
    body = _STATE.pack(state.sequence, anchored.generation, state.resets, anchored.digest)
    return _record(STATE_MAGIC, volume_id, body, key)


def encode_reset(volume_id: bytes, reset: Reset, key: bytes | None) -> bytes:
    """Return the 512 bytes of an entry of the log.

    Raises:
        VolumeRefused: the reason is too long or empty.
    """
    reason = reset.reason.encode()
    if not reset.reason.isprintable() or not 1 <= len(reason) <= MAX_REASON_BYTES:
        raise VolumeRefused(
            f"the reason of a reset has {len(reason)} bytes, expected 1 to {MAX_REASON_BYTES} of one line"
        )
    before, after = reset.before, reset.after
    numbers = (reset.number, before.generation, after.generation)
    body = _RESET.pack(*numbers, before.digest, after.digest, reset.time_s, len(reason))
    return _record(RESET_MAGIC, volume_id, body + reason, key)


def _record(magic: bytes, volume_id: bytes, body: bytes, key: bytes | None) -> bytes:
    head = _HEAD.pack(magic, VERSION, 0 if key is None else KEYED, 0, volume_id)
    raw = (head + body).ljust(_BODY_BYTES, b"\0")
    raw += _authentic(raw, key)
    return raw + hashlib.sha256(raw).digest()


def _authentic(body: bytes, key: bytes | None) -> bytes:
    return bytes(32) if key is None else hmac.digest(key, _DOMAIN + body, "sha256")


def parse_state(raw: bytes, volume_id: bytes, key: bytes | None) -> State:
    """Return what a slot says.

    Raises:
        TornRecord: it is not whole.
        VolumeRefused: it is whole, but of another volume, platform or version.
    """
    body = _body(raw, STATE_MAGIC, volume_id, key)
    sequence, generation, resets, digest = _STATE.unpack_from(body)
    if any(body[_STATE.size :]) or not (1 <= sequence <= _MAX_NUMBER and 1 <= generation <= _MAX_NUMBER):
        raise VolumeRefused("the anchor's slot is out of bounds")
    return State(sequence=sequence, anchored=Anchored(generation, digest), resets=resets)


def parse_reset(raw: bytes, volume_id: bytes, key: bytes | None) -> Reset:
    """Return what an entry of the log says; raises as `parse_state` does."""
    body = _body(raw, RESET_MAGIC, volume_id, key)
    number, old, new, old_digest, new_digest, time_s, length = _RESET.unpack_from(body)
    reason, rest = body[_RESET.size : _RESET.size + length], body[_RESET.size + length :]
    if not 1 <= length <= MAX_REASON_BYTES or any(rest) or not 1 <= number <= _MAX_NUMBER:
        raise VolumeRefused("an entry of the anchor's log is out of bounds")
    try:
        text = reason.decode()
    except UnicodeDecodeError:
        raise VolumeRefused("an entry of the anchor's log is not UTF-8") from None
    before, after = Anchored(old, old_digest), Anchored(new, new_digest)
    return Reset(number=number, before=before, after=after, time_s=time_s, reason=text)


def _body(raw: bytes, magic: bytes, volume_id: bytes, key: bytes | None) -> bytes:
    if len(raw) != RECORD_BYTES or hashlib.sha256(raw[:480]).digest() != raw[480:]:
        raise TornRecord("a record is not whole")
    found_magic, version, flags, zero, found_id = _HEAD.unpack_from(raw)
    if found_magic != magic or zero:
        raise VolumeRefused("a record is not one of an anchor")
    if version != VERSION:
        raise VolumeRefused(f"the anchor has format version {version}, expected {VERSION}")
    if found_id != volume_id:
        raise VolumeRefused(f"the anchor is of volume {found_id.hex()}, expected {volume_id.hex()}")
    if flags != (0 if key is None else KEYED):
        made = "with" if flags & KEYED else "without"
        raise VolumeRefused(f"the anchor was written {made} a platform key, expected the opposite")
    if not hmac.compare_digest(raw[_BODY_BYTES:480], _authentic(raw[:_BODY_BYTES], key)):
        raise VolumeRefused("the anchor was not written by this platform: its MAC does not hold")
    return raw[_HEAD.size : _BODY_BYTES]

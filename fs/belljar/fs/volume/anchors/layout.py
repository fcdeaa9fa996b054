"""The bytes of an anchor's state file; documented in docs/formats/volume-anchor.md. Pure.

    0      slot 0       4096   slot 1        512 bytes each, written alternately
    8192   reset log    64 records of 512 bytes, a ring

    record      up to 448 what it says, then zeros
                448       HMAC-SHA-256 under the platform's key, or zeros if there is none
                480       SHA-256 over all before it

Everything is little endian. The checksum finds what was torn by a crash; the HMAC finds what somebody without the
platform's key has written. Several keys are those of one platform's generations: the newest, which writes, is first.
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
_HASH_BYTES = 32
_HEAD = Struct("<8sHHI16s")  # magic version flags zero volume_id
_STATE = Struct("<QQQ32sQ")  # sequence generation resets digest epoch
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
        epoch: which mount wrote it, by the platform's counter; 0, and only then, if no platform's key authenticates it.
    """

    sequence: int
    anchored: Anchored
    resets: int
    epoch: int = 0


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
    if (state.epoch == 0) != (key is None):
        raise ValueError(f"epoch {state.epoch} {'without' if key is None else 'with'} a key")
    anchored = state.anchored
    body = _STATE.pack(state.sequence, anchored.generation, state.resets, anchored.digest, state.epoch)
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
    return sealed((head + body).ljust(_BODY_BYTES, b"\0"), _DOMAIN, key)


def sealed(body: bytes, domain: bytes, key: bytes | None) -> bytes:
    """Return a body with its HMAC (zeros without a key), and the SHA-256 over both."""
    raw = body + (bytes(_HASH_BYTES) if key is None else hmac.digest(key, domain + body, "sha256"))
    return raw + hashlib.sha256(raw).digest()


def opened(raw: bytes, domain: bytes, keys: tuple[bytes, ...]) -> bytes:
    """Return the body of what `sealed` made under one of the keys, or of zeros as HMAC if there are none.

    Raises:
        TornRecord: it is not whole.
        VolumeRefused: it was written under no such key.
    """
    body, tag, checksum = raw[: -2 * _HASH_BYTES], raw[-2 * _HASH_BYTES : -_HASH_BYTES], raw[-_HASH_BYTES:]
    if len(raw) <= 2 * _HASH_BYTES or hashlib.sha256(raw[:-_HASH_BYTES]).digest() != checksum:
        raise TornRecord("a record is not whole")
    wanted = [hmac.digest(key, domain + body, "sha256") for key in keys] or [bytes(_HASH_BYTES)]
    if not any(hmac.compare_digest(tag, each) for each in wanted):
        raise VolumeRefused("not written by this platform: its MAC does not hold")
    return body


def parse_state(raw: bytes, volume_id: bytes, keys: tuple[bytes, ...]) -> State:
    """Return what a slot says. One that no key authenticates is read, too: whether it counts, the ledger says.

    Raises:
        TornRecord: it is not whole.
        VolumeRefused: it is whole, but of another volume, platform or version.
    """
    keyed, body = _body(raw, STATE_MAGIC, volume_id, keys)
    sequence, generation, resets, digest, epoch = _STATE.unpack_from(body)
    numbers = (sequence, generation, epoch if keyed else 1)
    if any(body[_STATE.size :]) or not all(1 <= number <= _MAX_NUMBER for number in numbers) or bool(epoch) != keyed:
        raise VolumeRefused("the anchor's slot is out of bounds")
    return State(sequence=sequence, anchored=Anchored(generation, digest), resets=resets, epoch=epoch)


def parse_reset(raw: bytes, volume_id: bytes, keys: tuple[bytes, ...]) -> Reset:
    """Return what an entry of the log says; raises as `parse_state` does, and if it has no key where there are some."""
    keyed, body = _body(raw, RESET_MAGIC, volume_id, keys)
    if keyed != bool(keys):
        raise VolumeRefused("an entry of the anchor's log was written without a platform key, expected one with it")
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


def _body(raw: bytes, magic: bytes, volume_id: bytes, keys: tuple[bytes, ...]) -> tuple[bool, bytes]:
    """Return whether a record was written under a key, and what it says."""
    if len(raw) != RECORD_BYTES or hashlib.sha256(raw[:480]).digest() != raw[480:]:
        raise TornRecord("a record is not whole")
    found_magic, version, flags, zero, found_id = _HEAD.unpack_from(raw)
    if found_magic != magic or zero or flags & ~KEYED:
        raise VolumeRefused("a record is not one of an anchor")
    if version != VERSION:
        raise VolumeRefused(f"the anchor has format version {version}, expected {VERSION}")
    if found_id != volume_id:
        raise VolumeRefused(f"the anchor is of volume {found_id.hex()}, expected {volume_id.hex()}")
    if flags and not keys:
        raise VolumeRefused("the anchor was written with a platform key, and there is no platform here now")
    return bool(flags), opened(raw, _DOMAIN, keys if flags else ())[_HEAD.size :]

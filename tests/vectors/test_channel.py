"""The bytes of channels, version 1: every frame, and the binder, as another program has to make them.

docs/formats/channel.md says what they are; the file is made once and kept.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from belljar.attestation.attesting import CWT_TYPE, Purpose, media_type, report_data
from belljar.attestation.channel import Role
from belljar.attestation.channels.binding import LABELS, binder
from belljar.attestation.channels.frames import FrameReader, Kind, framed
from belljar.attestation.channels.messages import Hello, Proof, Verdict, challenge, failure
from belljar.attestation.channels.tls import ALPN, HYBRID_GROUP
from belljar.attestation.eat.cmw import Wrapped, wrap

KEPT = json.loads((Path(__file__).parent / "channel/version-1.json").read_text())
NONCE = bytes(range(32))
FRAMES = {
    "hello of a client": (Kind.HELLO, Hello(nonce=NONCE, asks=frozenset({Proof.EVIDENCE}), shows=frozenset()).encode()),
    "hello with everything": (Kind.HELLO, Hello(nonce=NONCE, asks=frozenset(Proof), shows=frozenset(Proof)).encode()),
    "evidence": (Kind.EVIDENCE, wrap(Wrapped(media_type=media_type(CWT_TYPE), content=b"a token"))),
    "verdict, accepted": (Kind.VERDICT, Verdict(accepted=True).encode()),
    "verdict, refused": (Kind.VERDICT, Verdict(accepted=False, reason="evidence-refused").encode()),
    "data": (Kind.DATA, b"hello"),
    "finish": (Kind.FINISH, b""),
    "challenge": (Kind.CHALLENGE, challenge(NONCE)),
    "error": (Kind.ERROR, failure("too-late")),
    "token": (Kind.TOKEN, b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
}


def test_frames_have_the_bytes_they_had() -> None:
    assert {name: framed(*frame).hex() for name, frame in FRAMES.items()} == KEPT["frames"]


def test_kept_frames_are_read_as_they_were_written() -> None:
    for name, content in KEPT["frames"].items():
        frames = list(FrameReader().feed(bytes.fromhex(content)))
        assert [(frame.kind, frame.body) for frame in frames] == [FRAMES[name]]


def test_binders_are_what_they_were() -> None:
    key, exported = bytes.fromhex(KEPT["public_key"]), bytes.fromhex(KEPT["exported"])
    for role in Role:
        found = binder(role, key, exported, NONCE)
        assert found.hex() == KEPT["binders"][role.value]
        assert report_data(Purpose.CHANNEL, found).hex() == KEPT["report_data"][role.value]
        assert LABELS[role].decode() == KEPT["labels"][role.value]
    assert (ALPN.decode(), HYBRID_GROUP) == (KEPT["alpn"], KEPT["group"])


def test_a_binder_by_the_book() -> None:
    """As the format's page has it, without our code."""
    key, exported = bytes.fromhex(KEPT["public_key"]), bytes.fromhex(KEPT["exported"])
    for role in ("client", "server"):
        parts = (b"belljar.channel/1", role.encode(), key, exported, NONCE)
        content = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        assert hashlib.sha256(content).hexdigest() == KEPT["binders"][role]

"""What the frames of the exchange say, in deterministic CBOR (docs/formats/channel.md).

    hello      {1: 1, 2: nonce, 3: [what is asked of the other], 4: [what can be shown]}
    verdict    {1: accepted, 2: reason}            challenge  {1: nonce}            error  {1: reason}

In come bodies from anybody, strictly read; out come values. A reason is a short word for the other side: what a policy
wanted stays here. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from belljar.attestation.cbor import decode, encode
from belljar.attestation.errors import CborRefused, ChannelRefused

if TYPE_CHECKING:
    from belljar.attestation.cbor import Cbor

VERSION = 1
NONCE_BYTES = 32
_REASON = re.compile(r"[a-z][a-z-]{0,47}")


class Proof(Enum):
    """What one side may ask of the other, beside the certificate that each has shown."""

    EVIDENCE = "evidence"
    TOKEN = "token"  # noqa: S105 - the word on the wire, no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """How a side opens.

    Attributes:
        nonce: 32 random bytes: what the other's evidence must answer.
        asks: what the other must prove.
        shows: what this side can prove.
    """

    nonce: bytes
    asks: frozenset[Proof]
    shows: frozenset[Proof]

    def encode(self) -> bytes:
        """Return the body of the frame."""
        return encode({1: VERSION, 2: self.nonce, 3: _words(self.asks), 4: _words(self.shows)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a side makes of what the other has shown; the reason is empty if it accepts."""

    accepted: bool
    reason: str = ""

    def encode(self) -> bytes:
        """Return the body of the frame."""
        return encode({1: self.accepted, 2: self.reason})


def read_hello(body: bytes) -> Hello:
    """Return how the other side opens.

    Raises:
        ChannelRefused: it is malformed, or of another version.
    """
    members = _members("hello", body, 4)
    version, nonce = members[1], members[2]
    if version != VERSION or isinstance(version, bool):
        raise ChannelRefused(f"hello: got version {version!r}, expected {VERSION}", code="other-version")
    return Hello(nonce=_nonce("hello", nonce), asks=_proofs(members[3]), shows=_proofs(members[4]))


def read_verdict(body: bytes) -> Verdict:
    """Return what the other side says of this one.

    Raises:
        ChannelRefused: it is malformed.
    """
    members = _members("verdict", body, 2)
    accepted, reason = members[1], members[2]
    if not isinstance(accepted, bool):
        raise ChannelRefused("verdict: neither accepted nor refused", code="malformed")
    if accepted and reason == "":
        return Verdict(accepted=True)
    return Verdict(accepted=False, reason=_reason("verdict", reason, accepted=accepted))


def challenge(nonce: bytes) -> bytes:
    """Return the body of a challenge."""
    return encode({1: nonce})


def read_challenge(body: bytes) -> bytes:
    """Return the nonce in a challenge.

    Raises:
        ChannelRefused: it is malformed.
    """
    return _nonce("challenge", _members("challenge", body, 1)[1])


def failure(reason: str) -> bytes:
    """Return the body of an error."""
    return encode({1: reason})


def read_failure(body: bytes) -> str:
    """Return why the other side gives up.

    Raises:
        ChannelRefused: it is malformed.
    """
    return _reason("error", _members("error", body, 1)[1], accepted=False)


def _words(proofs: frozenset[Proof]) -> list[Cbor]:
    return [proof.value for proof in Proof if proof in proofs]


def _members(name: str, body: bytes, count: int) -> dict[int | str, Cbor]:
    try:
        found = decode(body)
    except CborRefused as error:
        raise ChannelRefused(f"{name}: {error}", code="malformed") from error
    if not isinstance(found, dict) or set(found) != set(range(1, count + 1)):
        raise ChannelRefused(f"{name}: not a map of the members 1 to {count}", code="malformed")
    return found


def _nonce(name: str, value: Cbor) -> bytes:
    if not isinstance(value, bytes) or len(value) != NONCE_BYTES:
        raise ChannelRefused(f"{name}: a nonce that has not {NONCE_BYTES} bytes", code="malformed")
    return value


def _proofs(value: Cbor) -> frozenset[Proof]:
    known: dict[Cbor, Proof] = {proof.value: proof for proof in Proof}  # pyright: ignore[reportUnhashable] - texts
    words = value if isinstance(value, list) else [None]
    found = [known[word] for word in words if isinstance(word, str) and word in known]
    if len(found) != len(words) or found != [proof for proof in Proof if proof in found]:
        raise ChannelRefused("hello: proofs that are not known, or not in their order", code="malformed")
    return frozenset(found)


def _reason(name: str, value: Cbor, *, accepted: bool) -> str:
    if accepted or not isinstance(value, str) or not _REASON.fullmatch(value):
        raise ChannelRefused(f"{name}: a reason that is not a short word", code="malformed")
    return value

"""Frames inside an established TLS connection: a type, a length, a body (docs/formats/channel.md).

    type (1) ‖ length of body (3, big endian) ‖ body

In come pieces of the stream as they arrive; out come frames, each whole but for `data`, whose content is given on in
the pieces it came in. Every type has a greatest length, looked at before anything of the body is kept. Serves IEEE
2952 5.2.2.2. Pure; says nothing about order, which is the session's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from belljar.attestation.errors import ChannelRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADER_BYTES = 4
MAX_DATA_BYTES = (1 << 16) - HEADER_BYTES  # with its header, a frame fills four TLS records


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    EVIDENCE = 2
    VERDICT = 3
    DATA = 4
    FINISH = 5
    CHALLENGE = 6
    ERROR = 7
    TOKEN = 8


MAX_BYTES: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.HELLO: 256,
        Kind.EVIDENCE: 1 << 18,  # a token with four ML-DSA-65 certificates has 27 KiB, hardware may add 128
        Kind.VERDICT: 128,
        Kind.DATA: MAX_DATA_BYTES,
        Kind.FINISH: 0,
        Kind.CHALLENGE: 64,
        Kind.ERROR: 128,
        Kind.TOKEN: 1024,
    }
)
_KINDS: Mapping[int, Kind] = MappingProxyType({kind.value: kind for kind in Kind})


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame; of `data`, a part of one."""

    kind: Kind
    body: bytes


def header(kind: Kind, length: int) -> bytes:
    """Return what stands before a body of `length` bytes."""
    return ((kind << 24) | length).to_bytes(HEADER_BYTES, "big")


def framed(kind: Kind, body: bytes) -> bytes:
    """Return a whole frame.

    Raises:
        ChannelRefused: the body is longer than frames of its type may be.
    """
    if len(body) > MAX_BYTES[kind]:
        raise ChannelRefused(f"{kind.name.lower()}: {len(body)} bytes, expected at most {MAX_BYTES[kind]}")
    return header(kind, len(body)) + body


class FrameReader:
    """Cuts one direction of a stream into frames. Keeps the beginning of at most one frame."""

    def __init__(self) -> None:
        self._head = b""
        self._kind = Kind.FINISH
        self._left = 0
        self._body = bytearray()

    def passes(self, chunk: bytes) -> bool:
        """Say whether a piece of the stream lies within one frame of data, and if so count it: most pieces do."""
        if self._kind is not Kind.DATA or len(chunk) > self._left:
            return False
        self._left -= len(chunk)
        return True

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield what a piece of the stream completes.

        Raises:
            ChannelRefused: a frame is of no known type, or longer than its type may be, or `data` without content.
        """
        start, end = 0, len(chunk)
        while start < end:
            if not self._left:
                taken = min(HEADER_BYTES - len(self._head), end - start)
                self._head += chunk[start : start + taken]
                start += taken
                if len(self._head) == HEADER_BYTES:
                    self._begin()
                    if not self._left:
                        yield Frame(self._kind, b"")
                continue
            part = chunk[start : start + self._left]
            start += len(part)
            self._left -= len(part)
            if self._kind is Kind.DATA:
                yield Frame(Kind.DATA, part)
            else:
                self._body += part
                if not self._left:
                    yield Frame(self._kind, self._ended())

    def _begin(self) -> None:
        kind, length = _KINDS.get(self._head[0]), int.from_bytes(self._head[1:], "big")
        if kind is None:
            raise ChannelRefused(f"a frame of type {self._head[0]}, expected one of 1 to {max(Kind)}", code="malformed")
        if length > MAX_BYTES[kind]:
            raise ChannelRefused(
                f"a frame {kind.name.lower()} of {length} bytes, expected at most {MAX_BYTES[kind]}", code="malformed"
            )
        if kind is Kind.DATA and not length:
            raise ChannelRefused("a frame data of 0 bytes, expected at least 1", code="malformed")
        self._head, self._kind, self._left = b"", kind, length

    def _ended(self) -> bytes:
        body, self._body = bytes(self._body), bytearray()
        return body

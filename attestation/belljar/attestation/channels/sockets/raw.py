"""A channel as Python's files see their bottom: what `Channel.makefile` puts its buffers on.

In come reads and writes of `io`; out go those of a channel. Closing it leaves the channel open.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Streams(Protocol):
    """What a file needs of a channel."""

    def recv_into(self, buffer: memoryview, most: int = 0) -> int:
        """Put content into a buffer; 0 at its end."""
        ...

    def send(self, content: memoryview) -> int:
        """Send content, and return how many bytes of it."""
        ...


class RawChannel(io.RawIOBase):
    """The bottom of a file over a channel."""

    def __init__(self, channel: Streams, *, reads: bool, writes: bool) -> None:
        super().__init__()
        self._channel = channel
        self._reads = reads
        self._writes = writes

    def readable(self) -> bool:
        """Say whether it can be read."""
        return self._reads

    def writable(self) -> bool:
        """Say whether it can be written."""
        return self._writes

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Put content into a buffer; 0 at its end."""
        return self._channel.recv_into(memoryview(buffer).cast("B"))

    def write(self, content: ReadableBuffer) -> int:
        """Send content, and return how many bytes of it."""
        return self._channel.send(memoryview(content).cast("B"))

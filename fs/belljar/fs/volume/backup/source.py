"""The container that is backed up: locked against writers, read block by block, holes skipped. No key is needed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol, Self

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume import portable
from belljar.fs.volume.header.store import unverified_header

from . import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_ZEROS = bytes(layout.BLOCK_BYTES)


class Progress(Protocol):
    """Is told what there is to do, and what has been done, in bytes."""

    def expect(self, size_bytes: int) -> None:
        """There is so much more to do."""
        ...

    def advance(self, size_bytes: int) -> None:
        """So much has been done."""
        ...


class Source:
    """A container open for reading, which nobody writes meanwhile.

    Raises:
        VolumeRefused: it is mounted writable, or is no volume.
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._data_at = 0
        self._descriptor = os.open(path, os.O_RDONLY | portable.BINARY_CLOEXEC)
        try:
            _lock(self._descriptor, path)
            self.size = os.fstat(self._descriptor).st_size
            self.volume_id = unverified_header(self).volume_id
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it and release its lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes of the container."""
        return portable.pread(self._descriptor, size, offset)

    def pwrite(self, content: bytes, offset: int) -> None:
        """Refuse: a source is only read."""
        raise OSError(errno.EBADF, f"{len(content)} bytes at {offset} of a container that is only read")

    def sync(self) -> None:
        """There is nothing to make durable."""

    def blocks(self) -> Iterator[bytes]:
        """Yield every block in order, an empty one for a block of zeros."""
        for number in range(layout.block_count(self.size)):
            length = layout.block_length(self.size, number)
            start = number * layout.BLOCK_BYTES
            if self._next_data(start) >= start + length:
                yield b""
                continue
            content = self.pread(length, start)
            if len(content) != length:
                raise VolumeRefused(f"the container became shorter while it was read: {len(content)} bytes at {start}")
            yield b"" if content == _ZEROS[:length] else content

    def _next_data(self, offset: int) -> int:
        if not hasattr(os, "SEEK_DATA"):
            return offset
        if offset < self._data_at:
            return self._data_at
        try:
            self._data_at = os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            self._data_at = self.size if error.errno == errno.ENXIO else offset
        return self._data_at


def _lock(descriptor: int, path: str) -> None:
    if not portable.take_lock(descriptor, shared=True):
        raise VolumeRefused(
            f"{path}: the volume is mounted writable, so a copy of it would be of no one moment",
            hint="end the mount first: belljar ps",
        )

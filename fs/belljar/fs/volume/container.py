"""The bytes below a volume: a file, or whatever else tests put there.

`Container` is the seam (tests inject torn writes, reordering, ENOSPC and EIO behind it); `FileContainer` is the real
one. It holds an exclusive lock while it is open for writing, so that two mounts never write one volume. It knows no
format and never interprets what it stores.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from typing import Protocol

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.portable import BINARY_CLOEXEC, pread, pwrite, sync_content, take_lock

PUNCH_HOLE = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, linux/falloc.h


class Container(Protocol):
    """A sparse array of bytes that can be made durable."""

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes, fewer at the end of the container. Raises OSError."""
        ...

    def expect(self, offset: int, length: int) -> None:
        """Be told what will be read soon: it may be fetched meanwhile. Never fails."""
        ...

    def pwrite(self, content: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of the content, growing the container where needed. Raises OSError (ENOSPC, EIO)."""
        ...

    def sync(self) -> None:
        """Make durable everything written before. Raises OSError; then nobody knows what is durable."""
        ...

    def punch(self, offset: int, length: int) -> None:
        """Give room back to the host where it can: the bytes read as zeros afterwards, or as before."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the container at its end."""
        ...

    def size(self) -> int:
        """Return the length in bytes."""
        ...

    def available(self) -> int:
        """Return how many bytes the host still has room for."""
        ...


class FileContainer:
    """A container in a file of the host.

    Args:
        path: the file; it must exist.
        writable: opened for reading and writing, under an exclusive lock; else for reading, under none.

    Raises:
        VolumeRefused: another mount holds the lock.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | bytes, *, writable: bool) -> None:
        self.path = path
        self.fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | BINARY_CLOEXEC)
        self._punches = writable and hasattr(os, "posix_fallocate")
        if writable and not take_lock(self.fd):
            os.close(self.fd)
            raise VolumeRefused(
                f"{os.fsdecode(path)}: the volume is in use: another mount holds its lock, and a volume has one writer",
                hint="end the other mount (`belljar ps` lists enclaves), or open the volume read-only",
            )

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        return pread(self.fd, size, offset)

    def expect(self, offset: int, length: int) -> None:
        """Let the host's kernel begin to read."""
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # whoever reads hears of it
                os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)

    def pwrite(self, content: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of the content."""
        pwrite(self.fd, content, offset)

    def sync(self) -> None:
        """Make content and length durable."""
        sync_content(self.fd)

    def punch(self, offset: int, length: int) -> None:
        """Punch a hole where the host's file system can; once it cannot, it is not asked again."""
        if self._punches:
            self._punches = _punch(self.fd, offset, length)

    def truncate(self, size: int) -> None:
        """Cut the file."""
        os.ftruncate(self.fd, size)

    def size(self) -> int:
        """Return the length of the file."""
        return os.fstat(self.fd).st_size

    def available(self) -> int:
        """Return the bytes the host's file system has for us."""
        if not hasattr(os, "fstatvfs"):
            return 1 << 62  # a host that does not say; its writes fail with ENOSPC all the same
        found = os.fstatvfs(self.fd)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Close the file; the lock ends with it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _punch(fd: int, offset: int, length: int) -> bool:
    """Punch a hole and say whether it makes sense to ask again. Room that is not given back is no error."""
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc.fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, PUNCH_HOLE, offset, length) == 0:
        return True
    return ctypes.get_errno() not in (errno.EOPNOTSUPP, errno.ENOSYS)

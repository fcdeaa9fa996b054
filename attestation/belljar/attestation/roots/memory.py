"""Memory for secrets: never swapped, and where Linux has memfd_secret(2), in no page that the kernel itself maps.

In comes a size; out comes a buffer that is zeroed when closed. Where the system gives less than was asked for, `kind`
says so: nothing pretends. What is derived from a secret lives in ordinary memory of Python and of OpenSSL.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_SYS_MEMFD_SECRET = (
    447  # the same number on every architecture that has it (Linux 5.14, include/uapi/asm-generic/unistd.h)
)


class SecretMemory:
    """A zeroed buffer of its own pages.

    Attributes:
        kind: `memfd_secret`, `locked` or `ordinary`, the best the system gave.
        view: the buffer.
    """

    def __init__(self, size_bytes: int) -> None:
        found = _secret_pages(size_bytes)
        self.kind = "memfd_secret" if found else "ordinary"
        self._pages = found or mmap.mmap(-1, size_bytes)
        if not found and _locked(self._pages, size_bytes):
            self.kind = "locked"
        if hasattr(mmap, "MADV_DONTDUMP") and not found:  # pages of memfd_secret are in no core file anyway
            self._pages.madvise(mmap.MADV_DONTDUMP)
        self.view = memoryview(self._pages)

    def close(self) -> None:
        """Zero the buffer and give it back."""
        if not self._pages.closed:
            self.view[:] = bytes(len(self.view))
            self.view.release()
            self._pages.close()

    def __enter__(self) -> Self:
        """Return the buffer's owner."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Zero the buffer."""
        self.close()

    def __repr__(self) -> str:
        """Return what may be printed: nothing of the content."""
        return f"SecretMemory({self.kind})"


def _secret_pages(size_bytes: int) -> mmap.mmap | None:
    """Return pages of memfd_secret(2), or None where the kernel has none: it may be switched off at boot."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(_SYS_MEMFD_SECRET, os.O_CLOEXEC))
    if fd < 0:
        return None
    try:
        os.ftruncate(fd, size_bytes)
        return mmap.mmap(fd, size_bytes, mmap.MAP_SHARED)  # private mappings of it are refused
    except OSError:  # beyond RLIMIT_MEMLOCK: locking ordinary pages will tell
        return None
    finally:
        os.close(fd)


def _locked(pages: mmap.mmap, size_bytes: int) -> bool:
    """Lock pages with mlock(2) and say whether that worked."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    place = ctypes.c_char.from_buffer(pages)
    try:
        return int(libc.mlock(ctypes.c_void_p(ctypes.addressof(place)), ctypes.c_size_t(size_bytes))) == 0
    finally:
        del place

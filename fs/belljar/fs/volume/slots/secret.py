"""A key in memory: kept in pages of its own that are not swapped where the system allows it, and wiped when closed.

Python may copy what is taken out of it (`bytes(...)`): take views, and keep them short.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_MADV_WIPEONFORK = 18  # linux/mman.h; Python does not name it


class SecretKey:
    """A key of a fixed length, writable until closed; never printed.

    Attributes:
        locked: whether its page is kept out of swap.
    """

    __slots__ = ("_length", "_pages", "locked")

    def __init__(self, length: int) -> None:
        self._length = length
        self._pages = _own_page()
        self.locked = _lock(self._pages)

    def __repr__(self) -> str:
        return f"<SecretKey of {self._length} bytes>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")

    def __len__(self) -> int:
        return self._length

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def view(self) -> memoryview:
        """Return the key itself, to be read or filled in place; release it soon.

        Raises:
            ValueError: the key is closed.
        """
        return memoryview(self._pages)[: self._length]

    @property
    def closed(self) -> bool:
        """Whether the key is gone."""
        return self._pages.closed

    def close(self) -> None:
        """Overwrite the key and give its page back. Views that are still held read zeros from here on."""
        if self._pages.closed:
            return
        self._pages[: self._length] = bytes(self._length)
        try:
            self._pages.close()  # unmapping unlocks
        except BufferError:  # somebody holds a view: it reads zeros, and the page goes with it
            pass

    def __del__(self) -> None:
        if hasattr(self, "_pages"):
            self.close()


def _own_page() -> mmap.mmap:
    """Return a page of memory that no other process shares, and that a forked one finds empty."""
    if sys.platform == "win32":
        return mmap.mmap(-1, mmap.PAGESIZE)
    pages = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        try:
            pages.madvise(_MADV_WIPEONFORK)
        except OSError:  # before Linux 4.14: the child has a copy of its own
            pass
    return pages


def _lock(pages: mmap.mmap) -> bool:
    """Keep a page out of swap and core dumps; False where that is not allowed."""
    if sys.platform == "win32":
        return False
    if hasattr(mmap, "MADV_DONTDUMP"):
        pages.madvise(mmap.MADV_DONTDUMP)
    anchor = ctypes.c_char.from_buffer(pages)
    try:
        failed: int = ctypes.CDLL(None).mlock(ctypes.c_void_p(ctypes.addressof(anchor)), ctypes.c_size_t(len(pages)))
    except (AttributeError, OSError):
        return False
    else:
        return failed == 0
    finally:
        del anchor


def secret_of(content: bytes | bytearray | memoryview) -> SecretKey:
    """Return a key that holds these bytes; the caller's own copy is the caller's to wipe."""
    key = SecretKey(len(content))
    with key.view() as view:
        view[:] = content
    return key

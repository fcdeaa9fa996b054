"""A progress bar for hashing, on a terminal only and only if it takes a while."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Generator

_DELAY_S = 0.5


class HashingProgress:
    """Adds up what several threads hash; `belljar.fs.measuring.Progress`."""

    def __init__(self, bar: tqdm[NoReturn]) -> None:
        self._bar = bar
        self._lock = threading.Lock()

    def expect(self, size_bytes: int) -> None:
        """So many bytes more will be hashed."""
        self._bar.total = (self._bar.total or 0) + size_bytes
        self._bar.refresh()

    def advance(self, size_bytes: int) -> None:
        """So many bytes have been hashed."""
        with self._lock:
            self._bar.update(size_bytes)


@contextmanager
def hashing_progress() -> Generator[HashingProgress]:
    """Show a bar while the block runs."""
    with tqdm(
        desc="belljar: measuring",
        total=0,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        delay=_DELAY_S,
        leave=False,
        disable=not sys.stderr.isatty(),
        file=sys.stderr,
    ) as bar:
        yield HashingProgress(bar)

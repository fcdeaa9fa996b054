"""A progress bar for hashing, on a terminal only and only if it takes a while."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tqdm import tqdm

    from belljar.fs.measuring import Progress

_DELAY_S = 0.5


class _Bar:
    """Adds up what several threads hash."""

    def __init__(self, bar: tqdm[NoReturn]) -> None:
        self._bar = bar
        self._lock = threading.Lock()

    def expect(self, size_bytes: int) -> None:
        self._bar.total = (self._bar.total or 0) + size_bytes

    def advance(self, size_bytes: int) -> None:
        with self._lock:
            self._bar.update(size_bytes)


@contextmanager
def hashing_progress(doing: str = "measuring") -> Generator[Progress | None]:
    """Show a bar that says what is done while the block runs; None where nobody could see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm  # 40 ms

    with tqdm(
        desc=f"belljar: {doing}",
        total=0,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        # How much is left is only known tree by tree: no percentage and no estimate, which would be wrong.
        bar_format="{desc}: {n_fmt}B of {total_fmt}B |{bar:20}| {elapsed}",
        delay=_DELAY_S,
        leave=False,
        file=sys.stderr,
    ) as bar:
        yield _Bar(bar)


def absolute(progress: Progress | None) -> Callable[[int, int], None]:
    """Return what tells a bar, which counts steps, of (bytes done, bytes there are) since the beginning."""
    told = [0, 0]

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress.expect(max(0, total - told[1]))
            progress.advance(done - told[0])
        told[:] = done, max(total, told[1])

    return tell

"""What the gateway says and counts: one line for each refused peer, as long as nobody floods it.

In come events of one thread; out go lines to a descriptor (standard error, or what `belljar logs` shows) and numbers
for `belljar stats`. Never content, never a token: addresses, names of entries, and reasons.
"""

from __future__ import annotations

import os
import queue
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LINES_PER_MINUTE = 30
_MAX_LINE = 300
_MOST_WAITING = 64
_PATIENCE_S = 0.5


class Counts:
    """Numbers of one gateway since it was started.

    Attributes:
        accepted: connections that came.
        served: connections that were led through.
        refused: connections that were not.
        cut: of those that were, how many did not end well.
        open: connections that are there now.
        received_bytes: from outside, of what the guest got.
        sent_bytes: to outside, of what the guest sent.
        questions: for names.
        unknown_names: of these, for names that are not allowed.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.served = 0
        self.refused = 0
        self.cut = 0
        self.open = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.questions = 0
        self.unknown_names = 0

    def fields(self) -> dict[str, object]:
        """Return the numbers as plain values."""
        return dict(vars(self))


class Journal:
    """Says what happened, at most so many lines a minute.

    A thread of its own writes: the reader of standard error may not read, and the program writes there, too; neither
    may hold a connection.

    Args:
        descriptor: where to; it stays the caller's.
        clock: seconds that only grow.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._window = clock()
        self._said = 0
        self._kept_back = 0
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._writer: threading.Thread | None = None
        self._is_over = False

    def say(self, line: str) -> None:
        """Write one line; what nobody can read, or is too much, is dropped, and how much is said later."""
        now = self._clock()
        if now - self._window >= 60:
            kept_back, self._window, self._said, self._kept_back = self._kept_back, now, 0, 0
            if kept_back:
                self._hand_over(f"{kept_back} more lines of the gateway were not written")
        self._said += 1
        if self._said > _LINES_PER_MINUTE:
            self._kept_back += 1
            return
        self._hand_over(line)

    def _hand_over(self, line: str) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="belljar-journal", daemon=True)
            self._writer.start()
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._kept_back += 1

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None and not self._is_over:
            self._write(line)

    def _write(self, line: str) -> None:
        plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)[:_MAX_LINE]
        end = "\r\n" if os.isatty(self._descriptor) else "\n"  # a terminal may be raw
        try:
            os.write(self._descriptor, f"belljar: gateway: {plain}{end}".encode())
        except OSError:  # nobody listens
            pass

    def close(self) -> None:
        """Wait for what was said to be written, for a moment."""
        if self._writer is None:
            return
        try:
            self._lines.put(None, timeout=_PATIENCE_S)
        except queue.Full:
            pass
        self._writer.join(_PATIENCE_S)
        self._is_over = True

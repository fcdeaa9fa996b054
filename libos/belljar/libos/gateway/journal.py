"""What the gateway says, counts and remembers: one line for each refused peer, as long as nobody floods it.

In come events of one thread; out go lines to a descriptor (standard error, or what `belljar logs` shows), numbers for
`belljar stats`, and what the program wanted in vain for `belljar explain`. Never content, never a token: addresses,
names of entries, and reasons.
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
_MOST_UNMET = 256  # a guest must not fill our memory
_MAX_NAME = 253  # RFC 1035 2.3.4


class Unmet:
    """What the program wanted of the network and its manifest does not open; written by one thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], int] = {}

    def note(self, kind: str, name: str) -> None:
        """Remember that a name was wanted in vain.

        Args:
            kind: "name" that was asked for, "server" that TLS was to reach behind another name, or "address" of a name
                that is not of the public Internet.
            name: of the host.
        """
        what = "".join(c if c.isprintable() else "?" for c in name[:_MAX_NAME])
        with self._lock:
            if (kind, what) in self._counted or len(self._counted) < _MOST_UNMET:
                self._counted[kind, what] = self._counted.get((kind, what), 0) + 1

    def noted(self) -> list[tuple[str, str, int]]:
        """Return (kind, name, how often), in their order."""
        with self._lock:
            return [(kind, what, count) for (kind, what), count in sorted(self._counted.items())]


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
        unmet: what the program wanted in vain; no number.
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
        self.unmet = Unmet()

    def fields(self) -> dict[str, object]:
        """Return the numbers as plain values."""
        return {name: value for name, value in vars(self).items() if name != "unmet"}


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

"""Bring signals and what the file servers report to the main thread's poll(2): one pipe wakes it.

File servers run in other threads, signals between any two instructions; both only note what happened and write a byte.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType

    from belljar.fs.serving import FsError
else:  # the module behind signal, without enum and what that imports (2 ms)
    import _signal as signal

_MAX_NOTED = 1000  # a guest that reads a broken file in a loop must not fill our memory


class Events:
    """What happened since somebody last looked. Use `close` when the enclave has ended."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._violations: list[str] = []
        self._failures: list[str] = []
        self._handlers: list[tuple[int, object]] = []

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something happened."""
        return self._reader

    def catch_signals(self, numbers: tuple[int, ...]) -> None:
        """Turn signals into events; those the caller had us ignore stay ignored."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._handlers.append((number, signal.signal(number, _note_nothing)))

    def on_violation(self, violation: FsError) -> None:
        """Note a host file that is not what was measured. Any thread."""
        if len(self._violations) < _MAX_NOTED:
            self._violations.append(str(violation))
        self._wake()

    def on_failure(self, failure: BaseException) -> None:
        """Note that a file server failed. Any thread."""
        self._note("a file server", failure)

    def on_gateway_failure(self, failure: BaseException) -> None:
        """Note that the gateway failed. Any thread."""
        self._note("the gateway", failure)

    def _note(self, what: str, failure: BaseException) -> None:
        if len(self._failures) < _MAX_NOTED:
            self._failures.append(f"{what} failed: {type(failure).__name__}: {failure}")
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._writer, b"\0")  # 0 is no signal
        except OSError:  # full: the main thread is awake anyway; or closed: nobody is left to tell
            pass

    def signals(self) -> list[int]:
        """Return the signals that arrived, and empty the pipe."""
        try:
            return [number for number in os.read(self._reader, 4096) if number]
        except BlockingIOError:
            return []

    def violations(self) -> list[str]:
        """Return what was noted of host files, and forget it."""
        noted, self._violations = self._violations, []
        return noted

    def failures(self) -> list[str]:
        """Return what was noted of failing servers, and forget it."""
        noted, self._failures = self._failures, []
        return noted

    def close(self) -> None:
        """Give signals back and release the pipe."""
        if self._handlers:
            signal.set_wakeup_fd(-1)
        for number, handler in self._handlers:
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal() returned before
        self._handlers = []
        os.close(self._reader)
        os.close(self._writer)
        self._writer = -1


def _note_nothing(_number: int, _frame: FrameType | None) -> None:
    """Be a handler: the wakeup descriptor has noted the signal already."""

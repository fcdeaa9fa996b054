"""Stand between the caller's terminal and the guest's: bytes, window size, raw mode.

The guest gets a pseudo-terminal of its own devpts, so it can do job control in its own session and cannot push bytes
into the caller's terminal (TIOCSTI). We copy between the two, and put the caller's terminal back as it was.
"""

from __future__ import annotations

import fcntl
import os

_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_BLOCK = 64 * 1024
_NO_WINDOW = bytes(8)


def terminals() -> tuple[int, ...]:
    """Return which of the standard descriptors are terminals."""
    return tuple(descriptor for descriptor in (0, 1, 2) if _is_terminal(descriptor))


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # not our controlling terminal: nobody does job control on it, and nobody stops us
        return True


class CallerTerminal:
    """The terminal belljar was started from. `restore` must be called, whatever happens.

    Args:
        descriptors: which of 0, 1 and 2 are terminals; at least one.
    """

    def __init__(self, descriptors: tuple[int, ...]) -> None:
        import termios

        self._termios = termios
        self._outer = descriptors[-1]
        self.attributes: list[object] = list(termios.tcgetattr(self._outer))
        self._saved = termios.tcgetattr(self._outer)
        self._raw = False
        self._master = -1
        self._slave = -1
        self._pending = b""
        # A background job may not touch the terminal: it would be stopped.
        self._reads = 0 in descriptors and _in_foreground()

    def window(self) -> bytes:
        """Return `struct winsize` of the caller's terminal."""
        try:
            return fcntl.ioctl(self._outer, _TIOCGWINSZ, _NO_WINDOW)
        except OSError:
            return _NO_WINDOW

    def connect(self, master: int, slave: int) -> None:
        """Take the guest's terminal, and make the caller's raw.

        The slave stays open here, so that the master does not hang up when the guest has closed its own for a while.
        """
        self._master, self._slave = master, slave
        os.set_blocking(master, False)
        if self._reads:
            self._make_raw()

    def _make_raw(self) -> None:
        t = self._termios
        iflag, oflag, cflag, lflag, ispeed, ospeed, cc = t.tcgetattr(self._outer)
        iflag &= ~(t.BRKINT | t.ICRNL | t.INPCK | t.ISTRIP | t.IXON)
        oflag &= ~t.OPOST
        cflag = cflag & ~(t.CSIZE | t.PARENB) | t.CS8
        lflag &= ~(t.ECHO | t.ICANON | t.IEXTEN | t.ISIG)
        cc = [*cc]
        cc[t.VMIN], cc[t.VTIME] = 1, 0
        t.tcsetattr(self._outer, t.TCSAFLUSH, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
        self._raw = True

    def restore(self) -> None:
        """Give the caller's terminal back as it was, and close the guest's."""
        if self._raw:
            self._termios.tcsetattr(self._outer, self._termios.TCSADRAIN, self._saved)
            self._raw = False
        if self._master >= 0:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    def watched(self) -> list[tuple[int, bool]]:
        """Return (descriptor, whether we want to write to it) for poll(2); reading is always wanted."""
        if self._master < 0:
            return []
        # While the guest does not read, neither do we: the caller's terminal holds what is typed meanwhile.
        typed = [(0, False)] if self._reads and not self._pending else []
        return [(self._master, bool(self._pending)), *typed]

    def ready(self, descriptor: int) -> None:
        """Move bytes after poll(2) said that `descriptor` is ready."""
        if descriptor == self._master:
            self._flush()
            self._show()
        elif self._reads:
            typed = os.read(0, _BLOCK)
            if typed:
                self._pending += typed
                self._flush()
            else:
                self._reads = False

    def _flush(self) -> None:
        if self._pending:
            try:
                self._pending = self._pending[os.write(self._master, self._pending) :]
            except OSError:  # full, or the guest has closed its end
                pass

    def _show(self) -> bool:
        try:
            shown = os.read(self._master, _BLOCK)
        except BlockingIOError:
            return False
        view = memoryview(shown)
        while view:
            view = view[os.write(self._outer, view) :]
        return bool(shown)

    def drain(self) -> None:
        """Show what the guest wrote before it ended."""
        while self._master >= 0 and self._show():
            pass

    def resize(self) -> None:
        """Pass the caller's window size on; the kernel tells the guest's foreground group."""
        if self._master >= 0:
            fcntl.ioctl(self._master, _TIOCSWINSZ, self.window())

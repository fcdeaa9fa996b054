"""What belljar says on stderr: `belljar: error: …`, `belljar: hint: …`, lower case, no full stop, never a traceback.

Hot. Standard output belongs to results and to the guest.
"""

from __future__ import annotations

import sys


def error(message: str, hint: str | None = None) -> None:
    """Say what went wrong, one line per problem, and what to do about it."""
    for line in message.splitlines() or [""]:
        _say(f"belljar: error: {line}")
    for line in (hint or "").splitlines():
        _say(f"belljar: hint: {line}")


def note(message: str) -> None:
    """Say something a person should know."""
    _say(f"belljar: {message}")


def _say(line: str) -> None:
    try:
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody listens
        pass


def printable(line: str) -> str:
    """Return a line without control characters: names of files and what guests say may hold them."""
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in line)

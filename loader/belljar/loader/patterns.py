"""Match an argument against a manifest's pattern, for no longer than a second: some patterns take for ever."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    from types import FrameType

_PATIENCE_S = 1.0


class _TookTooLong(Exception):
    pass


def matches(pattern: str, argument: str) -> bool:
    """Say whether the whole argument matches a regular expression. Runs in the main thread.

    Raises:
        UsageError: that cannot be told within a second.
    """
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)
    try:
        return re.fullmatch(pattern, argument) is not None
    except _TookTooLong as error:
        hint = "write the pattern without one repetition inside of another"
        raise UsageError(f"the manifest's pattern {pattern} takes too long for {argument!r}", hint=hint) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _TookTooLong

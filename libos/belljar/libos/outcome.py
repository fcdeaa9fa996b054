"""How a run ended, as decided by whoever ended it, never guessed from a wait status.

The exit codes of `belljar run` are an interface; all of them are here (docs/reference/exit-codes.md).
"""

from __future__ import annotations

from .values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.serving import Warmup

    from .supervisor.refusals import Refusal

EXIT_TIME_LIMIT = 124
EXIT_BELLJAR_FAILED = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNAL = 128  # plus the number of the signal


class Outcome(Value):
    """How a run ended.

    Attributes:
        reason: "exit", "signal", "time-limit", "memory-limit", "integrity", "stopped", "killed" or
            "supervisor".
        exit_code: what `belljar run` exits with.
        signal: number of the signal that ended the program, or None.
        notes: what a person should know, one line each.
    """

    reason: str
    exit_code: int
    signal: int | None = None
    notes: tuple[str, ...] = ()


class Run(Value):
    """What there is to know about a run when it is over.

    Attributes:
        name: what it was called.
        outcome: how it ended.
        refused: what it asked for and did not get.
        warmup: what it used of its tree; asking for that first makes the next run start faster.
        opened: host path -> stamp (as `belljar.fs.measuring.Stamp`) of every hashed file that was read.
    """

    name: str
    outcome: Outcome
    refused: tuple[Refusal, ...]
    warmup: Warmup
    opened: dict[str, tuple[int, int, int, int, int]]


def from_wait_status(status: int) -> Outcome:
    """Return the outcome of a program that ended by itself or by a signal (wait(2))."""
    signal = status & 0x7F
    if signal:
        return Outcome(reason="signal", exit_code=EXIT_SIGNAL + signal, signal=signal)
    return Outcome(reason="exit", exit_code=status >> 8 & 0xFF)

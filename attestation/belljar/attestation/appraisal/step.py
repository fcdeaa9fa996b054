"""One comparison of a verification as a value, and how it is shown.

In come what was found and expected; out goes a line of an explanation. Everything here is printed: no secret has a
place. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_SHOWN = 400  # characters of one value in an explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One comparison.

    Attributes:
        number: its place, from 1.
        name: what was compared, in the field's words.
        found: what the evidence has, as text.
        expected: what it was held against, as text.
        passed: whether it held.
    """

    number: int
    name: str
    found: str
    expected: str
    passed: bool

    def __str__(self) -> str:
        """Return the step as one line of an explanation."""
        verdict = "ok" if self.passed else "FAILED"
        return f"{self.number:2} {verdict:6} {self.name}: got {self.found}, expected {self.expected}"


def shown(value: object) -> str:
    """Return a value as explanations print it: bytes in hexadecimal, long ones cut, nothing that moves a cursor."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "?" for letter in text[: MAX_SHOWN + 1])
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

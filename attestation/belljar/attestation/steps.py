"""Numbered steps: what a verification compared, what it found, what it expected, and how it ended.

A `Trail` gathers the steps of one verification. `check` and `equal` are for what makes evidence unbelievable: the first
that fails raises `EvidenceRefused`, which carries all steps so far. `note` is for a policy's rules: they are all looked
at, so that one answer names every cause. Secrets have no place here: everything is printed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from .errors import EvidenceRefused

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


@dataclass(slots=True, kw_only=True)
class Trail:
    """The steps of one verification, in order; it belongs to whoever called the verifier."""

    steps: list[Step] = field(default_factory=list[Step])

    def note(self, name: str, found: object, expected: object, *, passed: bool) -> bool:
        """Write a step down and return how it ended."""
        step = Step(number=len(self.steps) + 1, name=name, found=shown(found), expected=shown(expected), passed=passed)
        self.steps.append(step)
        return passed

    def check(self, name: str, found: object, expected: object, *, passed: bool) -> None:
        """Write a step down that must hold.

        Raises:
            EvidenceRefused: it does not.
        """
        if not self.note(name, found, expected, passed=passed):
            step = self.steps[-1]
            raise EvidenceRefused(f"{name}: got {step.found}, expected {step.expected}", steps=tuple(self.steps))

    def equal(self, name: str, found: bytes, expected: bytes) -> None:
        """Write down that two byte strings must be the same; compared in constant time.

        Raises:
            EvidenceRefused: they are not.
        """
        self.check(name, found, expected, passed=hmac.compare_digest(found, expected))


def shown(value: object) -> str:
    """Return a value as explanations print it: bytes in hexadecimal, long ones cut, nothing that moves a cursor."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "?" for letter in text[: MAX_SHOWN + 1])
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

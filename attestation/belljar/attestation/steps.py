"""Numbered steps: what a verification compared, what it found, what it expected, and how it ended.

A `Trail` gathers the steps of one verification. `check` and `equal` are for what makes evidence unbelievable: the first
that fails raises `EvidenceRefused`, which carries all steps so far. `note` is for a policy's rules: they are all looked
at, so that one answer names every cause. Secrets have no place here: everything is printed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from .appraisal.step import Step, shown
from .errors import EvidenceRefused


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

"""Where a policy's rules are gathered while they are looked at: a step each, and the aspect each speaks of.

A rule that holds affirms its aspect; one that fails gives it the failure's value; one that the policy skips on purpose
is written down as skipped, and affirms nothing. `Bench` belongs to one appraisal. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .vector import APPROVED, CONTRAINDICATED, NO_CLAIM, Aspect, Vector

if TYPE_CHECKING:
    from belljar.attestation.claims import Claims
    from belljar.attestation.steps import Trail

    from .policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What the evidence must answer and bind.

    Attributes:
        nonce: the verifier's own random bytes, 8 to 64; None where it asked nothing.
        report_data: what report data must be, where the verifier knows: what eat/report_data.py makes of a purpose and
            a body. Hardware has no other place for the nonce, so there it must have been made of the nonce.
    """

    nonce: bytes | None = None
    report_data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is appraised, by what, and when."""

    claims: Claims
    policy: Policy
    challenge: Challenge
    now: int


@dataclass(slots=True, kw_only=True)
class Bench:
    """The rules of one appraisal, as they are looked at."""

    trail: Trail
    accepted: bool = True
    _worst: dict[Aspect, int] = field(default_factory=dict[Aspect, int])
    _skipped: set[Aspect] = field(default_factory=set[Aspect])

    def rule(
        self,
        aspect: Aspect,
        name: str,
        found: object,
        expected: object,
        *,
        passed: bool,
        failure: int = CONTRAINDICATED,
    ) -> None:
        """Write a rule down, with what it makes of its aspect."""
        self.trail.note(name, _word(found), _word(expected), passed=passed)
        self.accepted = self.accepted and passed
        self.grade(aspect, APPROVED if passed else failure)

    def grade(self, aspect: Aspect, value: int) -> None:
        """Give an aspect a value, if it has no worse one."""
        self._worst[aspect] = max(self._worst.get(aspect, NO_CLAIM), value)

    def skip(self, aspect: Aspect, name: str, key: str) -> None:
        """Write down that the policy does not ask."""
        self.trail.note(name, "not looked at", f"anything, by {key}", passed=True)
        self._skipped.add(aspect)

    def vector(self) -> Vector:
        """Return what the rules make of each aspect: what was skipped in part is affirmed in no part."""
        silent = (NO_CLAIM, APPROVED)
        return Vector(
            values=tuple(
                (aspect, self._worst[aspect])
                for aspect in Aspect
                if self._worst.get(aspect, NO_CLAIM) not in (silent if aspect in self._skipped else silent[:1])
            )
        )


def _word(value: object) -> object:
    return "nothing" if value is None else value

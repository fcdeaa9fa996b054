"""The verdict on one piece of evidence: every step, what it makes of each aspect, and the claims it is about.

A value that prints (`explain`), serialises (`plain`) and refuses (`require`). Made by the verifier's door; nothing here
compares or reads. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError

from .vector import Tier, Vector

if TYPE_CHECKING:
    from belljar.attestation.claims import Claims, Plain

    from .step import Step


class AppraisalRefused(AttestationError):
    """Authentic evidence that does not satisfy the policy.

    Args:
        message: the rules that failed.
        appraisal: the whole verdict.
    """

    def __init__(self, message: str, *, appraisal: Appraisal) -> None:
        super().__init__(message)
        self.appraisal = appraisal


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a policy makes of authentic evidence.

    Attributes:
        accepted: whether every rule was satisfied.
        claims: what the evidence says.
        steps: all of them: first those of its authenticity, then those of the policy.
        judged_from: number of the first step that is the policy's.
        vector: what the steps make of each aspect.
        policy: the policy's identifier.
        nonce: the challenge that was asked, if one was.
        evidence_digest: SHA-256 of the evidence as it came.
        at: when it was appraised, in seconds since 1970.
    """

    accepted: bool
    claims: Claims
    steps: tuple[Step, ...]
    judged_from: int
    vector: Vector
    policy: str
    nonce: bytes | None
    evidence_digest: bytes
    at: int

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed; none if it was accepted."""
        return tuple(step for step in self.steps if not step.passed)

    @property
    def tier(self) -> Tier:
        """How far to trust: contraindicated unless accepted, else the worst of the vector."""
        return self.vector.tier if self.accepted else Tier.CONTRAINDICATED

    def require(self) -> Claims:
        """Return the claims of accepted evidence.

        Raises:
            AppraisalRefused: the policy says no; the message names every rule that failed.
        """
        if not self.accepted:
            reasons = "; ".join(f"{step.name}: got {step.found}, expected {step.expected}" for step in self.failed)
            raise AppraisalRefused(f"evidence refused by the policy: {reasons}", appraisal=self)
        return self.claims

    def explain(self, *, every_step: bool = True) -> str:
        """Return the verdict and the steps as text, a line each.

        Args:
            every_step: or those of authenticity as one line, since all hold where there is a verdict.
        """
        verdict = "accepted" if self.accepted else "refused"
        lines = [f"{verdict} ({self.tier.value}): {self.claims.format} by policy {self.policy}"]
        shown = self.steps
        if not every_step:
            lines.append(f" 1 to {self.judged_from - 2} ok: the evidence is authentic")
            shown = self.steps[self.judged_from - 2 :]
        aspects = ", ".join(f"{name} {value}" for name, value in self.vector.plain().items()) or "none"
        return "\n".join([*lines, *map(str, shown), f"trustworthiness: {aspects}"])

    def plain(self) -> dict[str, Plain]:
        """Return the verdict as JSON has it."""
        steps: list[Plain] = [
            {
                "number": step.number,
                "name": step.name,
                "found": step.found,
                "expected": step.expected,
                "passed": step.passed,
            }
            for step in self.steps
        ]
        return {
            "accepted": self.accepted,
            "status": self.tier.value,
            "policy": self.policy,
            "at": self.at,
            "nonce": None if self.nonce is None else self.nonce.hex(),
            "evidence_sha256": self.evidence_digest.hex(),
            "trustworthiness": dict(self.vector.plain()),
            "claims": dict(self.claims.plain()),
            "steps": steps,
            "judged_from": self.judged_from,
        }

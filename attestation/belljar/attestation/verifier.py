"""Door: evidence of any kind in, a verdict out (RFC 9334's verifier; IEEE 2952 7.2.1, 7.2.2).

1. evidence in a conceptual message wrapper (RFC 9999) is taken out of it; 2. its kind is told by its media type, or by
its first bytes where it has none; 3. that kind's verifier holds every check of authenticity (its own numbered steps),
or raises; 4. every rule of the policy is looked at. Nothing here reads files, clocks or the network: endorsements,
time and challenge are the caller's. Keys: docs/formats/policy.md. What a caller needs beside it is exported here.

What the caller must do: make nonces that are random and used once; keep its clock right; fetch collateral and
revocation lists (they are verified here, wherever they came from); ask `Appraisal.require()` before relying on a claim.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .appraisal.bench import Asked, Bench, Challenge
from .appraisal.corim import from_corim, to_corim
from .appraisal.drafting import Draft, policy_text
from .appraisal.endorsing import endorsements_in
from .appraisal.hardware_rules import judge_hardware
from .appraisal.loading import load_policy, policy_from
from .appraisal.policy import Policy
from .appraisal.reference import Difference, ReferenceValues, differences
from .appraisal.rules import judge_common
from .appraisal.step import Step
from .appraisal.verdict import Appraisal, AppraisalRefused
from .claims import Claims, Tee
from .dcap.verify import DcapFormat
from .dcap.wire import parse_collateral
from .ear.reading import EarResult, Reliance, read_ear
from .ear.writing import Issue, ear_cwt, ear_jwt
from .eat.cmw import unwrap
from .eat.verify import EatFormat, brought_root, check_profile
from .errors import EvidenceRefused, PolicyRefused
from .evidence import MAX_EVIDENCE_BYTES, Collateral, Endorsements, EvidenceFormat, Trust
from .ratls.verify import RatlsFormat
from .ratls.verify import brought_root as root_in_certificate
from .snp.table import parse_table
from .snp.verify import SnpFormat
from .steps import Trail
from .tpm_quote.verify import TpmFormat
from .x509.roots import VENDOR_ROOTS

if TYPE_CHECKING:
    from .dice.reading import Reading

__all__ = [
    "FORMATS",
    "Appraisal",
    "AppraisalRefused",
    "Challenge",
    "Claims",
    "Collateral",
    "Difference",
    "Draft",
    "EarResult",
    "Endorsements",
    "EvidenceRefused",
    "Issue",
    "Message",
    "Policy",
    "PolicyRefused",
    "ReferenceValues",
    "Reliance",
    "Step",
    "Tee",
    "Unjudged",
    "Verifier",
    "differences",
    "ear_cwt",
    "ear_jwt",
    "endorsements_in",
    "examine",
    "from_corim",
    "load_policy",
    "parse_collateral",
    "parse_table",
    "policy_from",
    "policy_text",
    "read_ear",
    "to_corim",
    "verify",
]

_PLATFORMS: tuple[EvidenceFormat, ...] = (SnpFormat(), DcapFormat(), TpmFormat(), RatlsFormat())
FORMATS: tuple[EvidenceFormat, ...] = (
    *_PLATFORMS,
    EatFormat(platforms={media_type: one for one in _PLATFORMS for media_type in one.media_types}),
)
"""Every kind of evidence that is known, in the order they are asked."""
_ANY_TYPES = frozenset({"application/octet-stream", "application/json", "application/cbor"})  # say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Evidence, and what it says it is: a media type, where somebody told it."""

    content: bytes
    media_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """What evidence says of itself, where nobody has said what to trust.

    Attributes:
        claims: they hang together; whoever made the evidence chose them.
        steps: what was compared.
    """

    claims: Claims
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A verifier of some kinds of evidence.

    Attributes:
        formats: the kinds.
        reading: remembers certificates from one verification to the next, where many are made; None reads each anew.
    """

    formats: tuple[EvidenceFormat, ...] = FORMATS
    reading: Reading | None = field(default=None, repr=False, compare=False)

    def verify(
        self, evidence: bytes | Message, *, endorsements: Endorsements, policy: Policy, challenge: Challenge, now: int
    ) -> Appraisal:
        """Return the verdict on one piece of evidence.

        Args:
            evidence: as it came: raw, wrapped, or with its media type.
            endorsements: certificates, revocation lists and collateral that the caller gathered.
            policy: what is asked of the attester.
            challenge: the nonce it must answer, and what it must bind.
            now: the time to judge by, in seconds since 1970.

        Raises:
            EvidenceRefused: it is of no known kind, malformed, or a check of its authenticity failed; the error has the
                steps. There is no verdict on evidence that cannot be believed.
        """
        message = evidence if isinstance(evidence, Message) else Message(content=evidence)
        trail = Trail()
        inner, kind = self._opened(message, trail)
        every = frozenset(root for roots in policy.roots.values() for root in roots)
        trust = Trust(roots=every, now=now, require_crls=policy.require_crls, reading=self.reading)
        claims = _believed(kind, inner, endorsements, trust, trail)
        pinned = claims.root in policy.roots.get(claims.tee, frozenset())
        trail.check("root is one of this kind", claims.root, f"a root for {claims.tee.value}", passed=pinned)
        asked = Asked(claims=claims, policy=policy, challenge=challenge, now=now)
        return _appraised(asked, trail, hashlib.sha256(message.content).digest())

    def examine(self, evidence: bytes | Message, *, endorsements: Endorsements, now: int) -> Unjudged:
        """Return what evidence says of itself: for a person to read, never to decide by.

        It is held against the root it brings, or those of the makers of hardware, so anybody could have made it.

        Raises:
            EvidenceRefused: it is of no known kind or malformed, its parts contradict each other, or it brings no root.
        """
        message = evidence if isinstance(evidence, Message) else Message(content=evidence)
        trail = Trail()
        inner, kind = self._opened(message, trail)
        roots = frozenset(VENDOR_ROOTS.values())
        if isinstance(kind, EatFormat):
            roots |= brought_root(inner.content)
        elif isinstance(kind, RatlsFormat):
            roots |= root_in_certificate(inner.content)
        trust = Trust(roots=roots, now=now, require_crls=False)
        claims = _believed(kind, inner, endorsements, trust, trail)
        return Unjudged(claims=claims, steps=tuple(trail.steps))

    def _opened(self, message: Message, trail: Trail) -> tuple[Message, EvidenceFormat]:
        """Return what is in a message, and its kind."""
        if len(message.content) > MAX_EVIDENCE_BYTES:
            raise EvidenceRefused(f"evidence: got {len(message.content)} bytes, expected at most {MAX_EVIDENCE_BYTES}")
        inner = _unwrapped(message)
        kind = self._kind(inner)
        if isinstance(kind, EatFormat):
            check_profile(inner.media_type)
        trail.note("kind of evidence", kind.name, f"one of {', '.join(one.name for one in self.formats)}", passed=True)
        return inner, kind

    def _kind(self, message: Message) -> EvidenceFormat:
        """Return the kind of some evidence."""
        told = (message.media_type or "").partition(";")[0].strip().lower()
        known = [one for one in self.formats if told in one.media_types]
        if told and told not in _ANY_TYPES and not known:
            types = ", ".join(sorted(name for one in self.formats for name in one.media_types))
            raise EvidenceRefused(f"evidence: got media type {told!r}, expected one of {types}")
        for one in known or self.formats:
            if one.recognises(message.content):
                return one
        names = ", ".join(one.name for one in (known or self.formats))
        shown = message.content[:8].hex()
        raise EvidenceRefused(f"evidence: got {len(message.content)} bytes that begin {shown}, expected one of {names}")


def _believed(kind: EvidenceFormat, message: Message, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
    """Return what evidence says once its kind's verifier has held every check; a refusal has the steps."""
    try:
        return kind.verify(message.content, endorsements=endorsements, trust=trust, trail=trail)
    except EvidenceRefused as error:
        error.steps = error.steps or tuple(trail.steps)
        raise


def _unwrapped(message: Message) -> Message:
    """Return what is in a wrapper, or the message itself: JSON records begin with [", CBOR ones are arrays of three."""
    if message.media_type is None and message.content[:1] in (b"[", b"\x83"):
        record = unwrap(message.content)
        return Message(content=record.content, media_type=record.media_type)
    return message


def _appraised(asked: Asked, trail: Trail, digest: bytes) -> Appraisal:
    """Look at every rule, and return the verdict."""
    judged_from = len(trail.steps) + 1
    bench = Bench(trail=trail)
    judge_common(asked, bench)
    judge_hardware(asked, bench)
    return Appraisal(
        accepted=bench.accepted,
        claims=asked.claims,
        steps=tuple(trail.steps),
        judged_from=judged_from,
        vector=bench.vector(),
        policy=asked.policy.identifier,
        nonce=asked.challenge.nonce,
        evidence_digest=digest,
        at=asked.now,
    )


def verify(
    evidence: bytes | Message, *, endorsements: Endorsements, policy: Policy, challenge: Challenge, now: int
) -> Appraisal:
    """Return the verdict on one piece of evidence of a kind in `FORMATS`: see `Verifier.verify`."""
    return Verifier().verify(evidence, endorsements=endorsements, policy=policy, challenge=challenge, now=now)


def examine(evidence: bytes | Message, *, endorsements: Endorsements, now: int) -> Unjudged:
    """Return what evidence says of itself, nothing decided: see `Verifier.examine`."""
    return Verifier().examine(evidence, endorsements=endorsements, now=now)

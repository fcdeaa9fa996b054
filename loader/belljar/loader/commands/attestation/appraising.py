"""Appraise one piece of evidence and tell how it went: text or JSON, a signed result, an exit code by verdict.

0 accepted; 1 the policy refuses; 3 the evidence cannot be believed; 4 nothing was decided, for want of a policy. In
comes a command line with evidence and challenge; out goes what it asks for. Codes: docs/reference/exit-codes.md.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.verifier import (
    Appraisal,
    Challenge,
    EvidenceRefused,
    Issue,
    Message,
    Step,
    Unjudged,
    ear_cwt,
    ear_jwt,
    examine,
    verify,
)
from belljar.loader import report
from belljar.loader.bundle.files import replace_file
from belljar.loader.bundle.signers import read_private
from belljar.loader.errors import UsageError
from belljar.loader.version import VERSION

from .sources import read_endorsements, read_policy

if TYPE_CHECKING:
    from belljar.attestation.keys import SigningKey
    from belljar.attestation.verifier import Endorsements, Policy
    from belljar.loader.options import Parsed

ACCEPTED, REFUSED, NOT_BELIEVED, UNDECIDED = 0, 1, 3, 4
EAR_LIFETIME_S = 3600
_CWT_SUFFIX = ".cwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the options of a command say about how to appraise; everything was read, so nothing can fail later."""

    policy: Policy | None
    endorsements: Endorsements
    key: SigningKey | None
    ear: str | None
    as_json: bool


def bench_of(parsed: Parsed) -> Bench:
    """Return how to appraise.

    Raises:
        UsageError: --ear without --key or without --policy.
        LoaderError: a file cannot be read.
        AttestationError: a policy or endorsement is malformed.
    """
    ear, key = parsed.options.get("ear"), parsed.options.get("key")
    if (ear is None) is not (key is None):
        raise UsageError("--ear and --key go together: a result is signed", hint="belljar keygen -o verifier.pem")
    if ear is not None and not parsed.has("policy"):
        raise UsageError("--ear needs --policy: without one there is no result to sign")
    return Bench(
        policy=read_policy(parsed.options["policy"]) if parsed.has("policy") else None,
        endorsements=read_endorsements(parsed.each("endorsements")),
        key=None if key is None else read_private(key),
        ear=ear,
        as_json=parsed.has("json"),
    )


def appraise(bench: Bench, evidence: Message, challenge: Challenge, now: int) -> int:
    """Appraise evidence, print what came out, write the signed result, and return the exit code."""
    try:
        if bench.policy is None:
            found = examine(evidence, endorsements=bench.endorsements, now=now)
            _check_bound(found, challenge)
            return _print_undecided(found, as_json=bench.as_json)
        appraisal = verify(evidence, endorsements=bench.endorsements, policy=bench.policy, challenge=challenge, now=now)
    except EvidenceRefused as error:
        return _print_not_believed(error, as_json=bench.as_json)
    if bench.ear is not None and bench.key is not None:
        _write_ear(appraisal, bench.key, bench.ear)
    return _print_verdict(appraisal, as_json=bench.as_json)


def _check_bound(found: Unjudged, challenge: Challenge) -> None:
    """Hold that evidence binds what was asked, also where nothing else is decided."""
    if challenge.report_data is not None and found.claims.report_data != challenge.report_data:
        raise EvidenceRefused("it binds something else than was asked for", steps=found.steps)


def _write_ear(appraisal: Appraisal, key: SigningKey, path: str) -> None:
    issue = Issue(build=f"belljar {VERSION}", lifetime_s=EAR_LIFETIME_S)
    if path.endswith(_CWT_SUFFIX):
        replace_file(path, ear_cwt(appraisal, key, issue))
    else:
        replace_file(path, f"{ear_jwt(appraisal, key, issue)}\n".encode())


def _print_verdict(appraisal: Appraisal, *, as_json: bool) -> int:
    code = ACCEPTED if appraisal.accepted else REFUSED
    if as_json:
        verdict = "accepted" if appraisal.accepted else "refused"
        _dump({"verdict": verdict, **appraisal.plain(), "failed": [step.name for step in appraisal.failed]})
        return code
    sys.stdout.writelines(f"{report.printable(line)}\n" for line in appraisal.explain().splitlines())
    for step in appraisal.failed:
        report.note(f"refused: {step}")
    return code


def _print_not_believed(error: EvidenceRefused, *, as_json: bool) -> int:
    if as_json:
        _dump({"verdict": "not believed", "accepted": False, "error": str(error), "steps": _plain(error.steps)})
    else:
        sys.stdout.write("not believed: nothing this evidence says may be relied on\n")
        sys.stdout.writelines(f"{report.printable(str(step))}\n" for step in error.steps)
        sys.stdout.flush()
        report.error(report.printable(str(error)), error.hint)
    return NOT_BELIEVED


def _print_undecided(found: Unjudged, *, as_json: bool) -> int:
    claims = found.claims.plain()
    if as_json:
        _dump({"verdict": "undecided", "accepted": False, "claims": claims, "steps": _plain(found.steps)})
        return UNDECIDED
    sys.stdout.write("undecided: no policy was given, so this is what the evidence says of itself\n")
    rows = [(name.replace("_", " "), value) for name, value in claims.items()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        text = json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
        sys.stdout.write(f"{name:<{width}}  {report.printable(text)}\n")
    sys.stdout.flush()
    report.note("nothing was decided: anybody could have made this; belljar policy from app.bell makes a policy")
    return UNDECIDED


def _plain(steps: tuple[Step, ...]) -> list[dict[str, object]]:
    return [
        {
            "number": step.number, "name": step.name, "found": step.found, "expected": step.expected,
            "passed": step.passed,
        }
        for step in steps
    ]  # fmt: skip


def _dump(members: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(members, indent=2) + "\n")

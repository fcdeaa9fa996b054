"""`belljar verify-evidence`: appraise evidence that somebody sent, by a policy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from belljar.attestation.verifier import Challenge, Message
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import UsageError

from .appraising import appraise, bench_of
from .sources import MAX_EVIDENCE_BYTES, moment_of, nonce_of, read_bounded, report_data_of

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Appraise one file."""
    if len(parsed.words) != 1:
        raise UsageError("expected one file with evidence", hint="belljar verify-evidence FILE --policy policy.yaml")
    nonce, bound, at = (parsed.options.get(name) for name in ("nonce", "report-data", "at"))
    challenge = Challenge(
        nonce=None if nonce is None else nonce_of(nonce),
        report_data=None if bound is None else report_data_of(bound),
    )
    now = int(time.time()) if at is None else moment_of(at)
    with loader_errors():
        bench = bench_of(parsed)
        evidence = read_bounded(parsed.words[0], MAX_EVIDENCE_BYTES)
        return appraise(bench, Message(content=evidence), challenge, now)

"""`belljar doctor`: what this machine offers an enclave, what it lacks, what that costs, and the remedy.

Every finding is tried, not guessed; the verdict is an enclave that was launched. Above it stand the algorithms that
identity, evidence and sealing rest on, each with the day of its last review.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from belljar.libos.examining import Finding, State, examine
from belljar.loader.commands.attestation.surveyed import (
    algorithm_lines,
    algorithm_members,
    algorithms,
    root_of_trust,
)
from belljar.loader.errors import LoaderError, UsageError
from belljar.loader.remembered import cache
from belljar.loader.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.loader.options import Parsed

_PATIENCE_S = 300  # the first enclave of a machine hashes what it runs
_FOUND = 1
_LAUNCH = "from belljar.loader.cli import console; console()"
_WIDTH = 110


def main(parsed: Parsed) -> int:
    """Examine this machine; exit code 1 if no enclave can run here."""
    if parsed.words:
        raise UsageError(f"doctor takes no arguments, got {' '.join(parsed.words)}")
    if parsed.has("json"):
        findings = list(_examine())
        failure = launch()
        sys.stdout.write(json.dumps(_as_json(findings, failure), indent=2) + "\n")
    else:
        findings = list(_shown())
        sys.stdout.writelines(["\n", *algorithm_lines()])
        sys.stdout.flush()
        failure = launch()
        sys.stdout.write(f"\n{verdict(findings, failure)}\n")
    return _FOUND if failure else 0


def _examine() -> Iterator[Finding]:
    yield from examine()
    yield _cache()
    yield root_of_trust()
    yield algorithms(datetime.now(UTC).date().isoformat())


def _cache() -> Finding:
    try:
        return Finding(name="cache folder", state=State.OK, found=cache.cache_folder(), required=True)
    except LoaderError as error:
        return Finding(
            name="cache folder", state=State.MISSING, required=True, found=str(error),
            cost="no enclave can be prepared", remedy="export XDG_CACHE_HOME=… to a folder that only you can write",
        )  # fmt: skip


def launch() -> str:
    """Launch a tiny enclave, and return what failed, or nothing."""
    program = shutil.which("true", path="/usr/bin:/bin") or shutil.which("sh", path="/usr/bin:/bin")
    words = [program, *(["-c", ":"] if program.endswith("sh") else [])] if program else [sys.executable, "-c", "pass"]
    command = [sys.executable, "-P", "-c", _LAUNCH, "run", "--fresh", "--", *words]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and a program of the system
            command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else " ".join(said[:1]) or f"{words[0]} ended with exit code {done.returncode}"


def _shown() -> Iterator[Finding]:
    """Print each finding as soon as it is made, and pass it on."""
    who = "root" if os.geteuid() == 0 else f"the ordinary user {os.geteuid()}"
    sys.stdout.write(f"belljar {VERSION}, as {who}\n\n")
    for finding in _examine():
        sys.stdout.write(_as_text(finding))
        yield finding


def _as_text(finding: Finding) -> str:
    lines = [f"{finding.state:<9} {finding.name + ':':<21}{finding.found}"]
    for label, text in (("costs", finding.cost), ("remedy", finding.remedy)):
        if text:
            lines += textwrap.wrap(
                text, _WIDTH, initial_indent=f"{'':10}{label + ':':<8}", subsequent_indent=" " * 18,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def verdict(findings: list[Finding], failure: str) -> str:
    """Return the last line: what was tried decides, what was found explains.

    Args:
        findings: of all probes.
        failure: why no enclave could be launched; empty if one could.
    """
    if not failure:
        count = sum(finding.state != State.OK for finding in findings)
        return f"verdict: enclaves run here; {count} of {len(findings)} findings could be better"
    missing = [finding.name for finding in findings if finding.required and finding.state == State.MISSING]
    why = f"{', '.join(missing)} missing; " if missing else ""
    return f"verdict: no enclave runs here: {why}{failure.removeprefix('belljar: error: ')}"


def _as_json(findings: list[Finding], failure: str) -> dict[str, object]:
    return {
        "belljar": VERSION,
        "root": os.geteuid() == 0,
        "findings": [dict(zip(Finding.__annotations__, finding.fields(), strict=True)) for finding in findings],
        "algorithms": algorithm_members(),
        "enclaves_run": not failure,
        "verdict": verdict(findings, failure),
    }

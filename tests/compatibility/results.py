"""What a run of a module of tests gave, read from the JUnit file that CPython's `test` package writes.

In comes XML; out comes test -> outcome. A test whose subtests failed has no name there (CPython 3.11 writes none), and
a class whose setUp failed has no tests: both show as tests that one side lacks.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET


class Outcome(enum.Enum):
    """How a test ended. An expected failure is a pass, an unexpected success is a failure."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIP = "skip"
    NOTHING = "no result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one module.

    Attributes:
        tests: test id -> outcome.
        messages: test id -> the last line of what it said, of those that failed or were skipped.
        exit_code: of the whole run.
        seconds: it took.
        log: what it printed.
    """

    tests: dict[str, Outcome]
    messages: dict[str, str]
    exit_code: int
    seconds: float
    log: str

    def count(self, outcome: Outcome) -> int:
        """Return how many tests ended so."""
        return sum(found is outcome for found in self.tests.values())


def read_junit(path: Path) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Return (test -> outcome, test -> message) of a JUnit file; nothing if the run ended before it was written."""
    outcomes: dict[str, Outcome] = {}
    messages: dict[str, str] = {}
    if not path.exists():
        return outcomes, messages
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314 - written by the tests that we ran
        name = case.get("name")
        if name is None:
            continue
        outcomes[name], message = _outcome(case)
        if message:
            messages[name] = message
    return outcomes, messages


def _outcome(case: ET.Element) -> tuple[Outcome, str]:
    for tag in ("error", "failure", "skipped"):
        found = case.find(tag)
        if found is not None:
            said = (found.get("message") or found.text or "").strip().splitlines()
            return (Outcome.SKIP if tag == "skipped" else Outcome.FAIL), " ".join(said[-1:])
    return (Outcome.FAIL if case.find("outcome") is not None else Outcome.PASS), ""

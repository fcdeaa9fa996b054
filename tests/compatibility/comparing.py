"""Compare the two runs of a module, and hold every difference against the table of explained ones. Pure.

In come two runs and `differences.toml`; out comes a `Comparison`. A difference that no row explains is a defect, and so
is a row that explains nothing any more: the table says what is, or it says nothing.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .results import Outcome, Run

TABLE = Path(__file__).with_name("differences.toml")
_KEYS = {"tests", "outside", "inside", "reason"}


class TableError(Exception):
    """`differences.toml` is not what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A row of the table.

    Attributes:
        tests: patterns of test ids (`fnmatch`); each begins with `test.MODULE.`.
        outside: how they end on the host.
        inside: how they end in the enclave.
        reason: why, for people.
        only_where: what a machine must have for the difference to show; elsewhere the row is not stale.
    """

    tests: tuple[str, ...]
    outside: Outcome
    inside: Outcome
    reason: str
    only_where: str | None

    def explains(self, difference: Difference) -> bool:
        """Say whether a difference is of this row, also in how both sides ended."""
        ended = (difference.outside, difference.inside) == (self.outside, self.inside)
        return ended and any(fnmatchcase(difference.test, pattern) for pattern in self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A test that does not end the same way on both sides.

    Attributes:
        message: what the side that did worse said.
        reason: the table's, or None.
    """

    test: str
    outside: Outcome
    inside: Outcome
    message: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What comparing one module gave.

    Attributes:
        differences: all of them, explained or not.
        stale: patterns of the table that matched no difference.
        attempts: how often the module was run until it held, or nobody wanted to try again.
    """

    module: str
    outside: Run
    inside: Run
    differences: tuple[Difference, ...]
    stale: tuple[str, ...]
    attempts: int = 1

    @property
    def same(self) -> int:
        """Return how many tests ended the same way on both sides."""
        return sum(self.inside.tests.get(name) is outcome for name, outcome in self.outside.tests.items())

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Return the differences without a reason."""
        return tuple(difference for difference in self.differences if difference.reason is None)

    @property
    def holds(self) -> bool:
        """Whether tests ran, each difference is explained, and each explanation is needed."""
        return bool(self.outside.tests) and not self.unexplained and not self.stale


def read_table(path: Path = TABLE) -> tuple[Explanation, ...]:
    """Return the rows of the table.

    Raises:
        TableError: a row is incomplete, or explains no difference at all.
    """
    rows = tomllib.loads(path.read_text())["difference"]
    return tuple(_explanation(row) for row in rows)


def _explanation(row: dict[str, object]) -> Explanation:
    if not _KEYS <= set(row) <= {*_KEYS, "only_where"}:
        raise TableError(f"got a row with {', '.join(sorted(row))}, expected {', '.join(sorted(_KEYS))}")
    tests, only_where = row["tests"], row.get("only_where")
    if not isinstance(tests, list) or not tests:
        raise TableError(f"got tests {tests!r}, expected a list of patterns")
    outside, inside = Outcome(row["outside"]), Outcome(row["inside"])
    if outside is inside:
        raise TableError(f"{tests[0]}: ends with {outside.value} on both sides, which needs no explanation")
    return Explanation(
        tests=tuple(map(str, tests)),
        outside=outside,
        inside=inside,
        reason=str(row["reason"]),
        only_where=None if only_where is None else str(only_where),
    )


def compare(module: str, outside: Run, inside: Run, table: tuple[Explanation, ...]) -> Comparison:
    """Compare two runs of `module`."""
    found = [_explained(difference, table) for difference in _differences(module, outside, inside)]
    return Comparison(
        module=module, outside=outside, inside=inside, differences=tuple(found), stale=_stale(module, found, table)
    )


def _differences(module: str, outside: Run, inside: Run) -> list[Difference]:
    differences: list[Difference] = []
    for test in sorted({*outside.tests, *inside.tests}):
        ends = [run.tests.get(test, Outcome.NOTHING) for run in (outside, inside)]
        if ends[0] is not ends[1]:
            message = inside.messages.get(test) or outside.messages.get(test, "")
            differences.append(Difference(test=test, outside=ends[0], inside=ends[1], message=message))
    if not differences and bool(outside.exit_code) != bool(inside.exit_code):
        # No test differs, but the run does: a crash at the end, or something that only the exit status tells.
        ends = [Outcome.FAIL if run.exit_code else Outcome.PASS for run in (outside, inside)]
        message = f"exit status {outside.exit_code} outside, {inside.exit_code} inside"
        differences.append(Difference(test=f"test.{module}", outside=ends[0], inside=ends[1], message=message))
    return differences


def _explained(difference: Difference, table: tuple[Explanation, ...]) -> Difference:
    for row in table:
        if row.explains(difference):
            return Difference(
                test=difference.test,
                outside=difference.outside,
                inside=difference.inside,
                message=difference.message,
                reason=row.reason,
            )
    return difference


def _stale(module: str, found: list[Difference], table: tuple[Explanation, ...]) -> tuple[str, ...]:
    explained = [difference.test for difference in found if difference.reason is not None]
    needed = (row for row in table if row.only_where is None)
    patterns = (pattern for row in needed for pattern in row.tests if pattern.split(".")[1] == module)
    return tuple(pattern for pattern in patterns if not any(fnmatchcase(test, pattern) for test in explained))

"""Say what the comparison gave: a table for people, JSON for programs, two tables for docs/compatibility.md."""

from __future__ import annotations

from .comparing import Comparison, Explanation
from .results import Outcome

_HEAD = (
    "module",
    "outside",
    "passed",
    "skipped",
    "failed",
    "same",
    "differ, explained",
    "unexplained",
    "s outside",
    "s inside",
)
RESULTS = ("<!-- results -->", "<!-- end of results -->")
DIFFERENCES = ("<!-- differences -->", "<!-- end of differences -->")


def row(comparison: Comparison) -> list[str]:
    """Return the cells of a module."""
    outside = comparison.outside
    unexplained = len(comparison.unexplained)
    counts = [
        len(outside.tests),
        *(outside.count(outcome) for outcome in (Outcome.PASS, Outcome.SKIP, Outcome.FAIL)),
        comparison.same,
        len(comparison.differences) - unexplained,
        unexplained,
        round(outside.seconds),
        round(comparison.inside.seconds),
    ]
    return [comparison.module, *map(str, counts)]


def text(comparisons: list[Comparison]) -> str:
    """Return the table for a terminal, and below it every difference that is not explained."""
    rows = [list(_HEAD), *(row(comparison) for comparison in comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]
    for comparison in comparisons:
        lines += complaints(comparison)
    return "\n".join(lines)


def complaints(comparison: Comparison) -> list[str]:
    """Return a line for everything that makes a comparison fail."""
    lines = [
        f"unexplained: {found.test}: {found.outside.value} outside, {found.inside.value} inside: {found.message}"
        for found in comparison.unexplained
    ]
    lines += [f"stale: {pattern}: no difference any more, remove it" for pattern in comparison.stale]
    if not comparison.outside.tests:
        lines.append(f"{comparison.module}: no test ran outside: {comparison.outside.log.strip()[-500:]}")
    return lines


def as_json(comparison: Comparison) -> dict[str, object]:
    """Return everything about a module."""
    return {
        "module": comparison.module,
        "seconds": {"outside": comparison.outside.seconds, "inside": comparison.inside.seconds},
        "exit": {"outside": comparison.outside.exit_code, "inside": comparison.inside.exit_code},
        "outside": {name: outcome.value for name, outcome in comparison.outside.tests.items()},
        "inside": {name: outcome.value for name, outcome in comparison.inside.tests.items()},
        "differences": [
            {
                "test": found.test,
                "outside": found.outside.value,
                "inside": found.inside.value,
                "message": found.message,
                "reason": found.reason,
            }
            for found in comparison.differences
        ],
        "stale": list(comparison.stale),
        "attempts": comparison.attempts,
    }


def results_section(page: str, comparisons: list[Comparison], order: tuple[str, ...]) -> str:
    """Return the table of results for the document: new rows, and those the page has of other modules.

    A module that does not hold gets no row: of a table that is written there is no difference unexplained.
    """
    old = page.partition(RESULTS[0])[2].partition(RESULTS[1])[0].splitlines()
    rows = {line.split(" ")[1]: line for line in old if line.startswith("| test_")}
    for comparison in comparisons:
        cells = row(comparison)
        del cells[_HEAD.index("unexplained")]
        rows.pop(comparison.module, None)
        if comparison.holds:
            rows[comparison.module] = f"| {' | '.join(cells)} |"
    shown = [rows[name] for name in order if name in rows]
    columns = zip(*(line.strip("| ").split(" | ")[1:] for line in shown), strict=True)
    total = " | ".join(str(sum(map(int, column))) for column in columns)
    head = "| module | tests | passed | skipped | failed | same inside | different, explained | s outside | s inside |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|---|", *shown, f"| all | {total} |"])


def differences_section(table: tuple[Explanation, ...]) -> str:
    """Return the table of explained differences for the document."""
    lines = ["| tests | outside | inside | why |", "|---|---|---|---|"]
    for explanation in table:
        tests = "<br>".join(f"`{pattern.removeprefix('test.')}`" for pattern in explanation.tests)
        why = explanation.reason + (f" (only where {explanation.only_where})" if explanation.only_where else "")
        lines.append(f"| {tests} | {explanation.outside.value} | {explanation.inside.value} | {why} |")
    return "\n".join(lines)


def between(page: str, marks: tuple[str, str], section: str) -> str:
    """Return a page with `section` between two marks."""
    before, _, rest = page.partition(marks[0])
    _, _, after = rest.partition(marks[1])
    return f"{before}{marks[0]}\n{section}\n{marks[1]}{after}"

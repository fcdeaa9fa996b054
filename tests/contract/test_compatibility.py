"""The page about compatibility shows the table of differences that the tool compares with."""

from __future__ import annotations

import re

from compatibility import report
from compatibility.__main__ import MODULES
from compatibility.comparing import read_table
from support.source import ROOT, in_checkout


def test_the_page_shows_every_difference() -> None:
    in_checkout()
    page = (ROOT / "docs/compatibility.md").read_text()
    assert report.between(page, report.DIFFERENCES, report.differences_section(read_table())) == page


def test_the_page_shows_every_module() -> None:
    in_checkout()
    page = (ROOT / "docs/compatibility.md").read_text()
    section = page.partition(report.RESULTS[0])[2].partition(report.RESULTS[1])[0]
    assert re.findall(r"^\| (test_\w+)", section, re.MULTILINE) == list(MODULES)


def test_every_difference_is_of_a_module_that_is_run() -> None:
    assert {pattern.split(".")[1] for row in read_table() for pattern in row.tests} <= set(MODULES)

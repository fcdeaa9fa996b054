"""CPython's own tests, run by the interpreter inside: the quick modules end as they do outside, test by test.

All modules are run by hand: `python -m compatibility` (docs/compatibility.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compatibility import report
from compatibility.comparing import Comparison, Difference, TableError, compare, read_table
from compatibility.packages import Packages, PackagesMissing, fetch
from compatibility.results import Outcome, Run, read_junit
from compatibility.running import Inside, Outside, compare_sides

QUICK = ("test_os", "test_posix", "test_fcntl", "test_mmap", "test_shutil", "test_tempfile", "test_import")
_ATTEMPTS = 2


@pytest.fixture(scope="module")
def packages() -> Iterator[Packages]:
    """Debian's packages, in a folder that an ordinary user can read and no scratch space covers."""
    with tempfile.TemporaryDirectory(prefix="belljar-cpython-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        try:
            yield fetch(Path(name), with_source=False)
        except PackagesMissing as error:
            pytest.skip(f"CPython's test package is missing: {error}")


def test_quick_modules_end_as_they_do_outside(packages: Packages, cache: Path) -> None:
    """One test, not one per module: the packages are fetched once, whichever worker runs it."""
    table = read_table()
    outside, inside = Outside(packages=packages), Inside(packages=packages, cache=cache)
    complaints: list[str] = []
    for module in QUICK:
        complaints += report.complaints(compare_sides(module, outside, inside, table, attempts=_ATTEMPTS))
    assert not complaints, "\n".join(complaints)


def run_of(tests: dict[str, str], exit_code: int = 0) -> Run:
    outcomes = {name: Outcome(outcome) for name, outcome in tests.items()}
    return Run(tests=outcomes, messages={}, exit_code=exit_code, seconds=1.0, log="")


ROW = """
[[difference]]
tests = ["test.test_x.A.*"]
outside = "pass"
inside = "fail"
reason = "said"
"""


class TestTheComparison:
    """What makes it fail, without running anything."""

    def compared(
        self, tmp_path: Path, outside: dict[str, str], inside: dict[str, str], row: str = ROW, exit_code: int = 0
    ) -> Comparison:
        (tmp_path / "table.toml").write_text(row)
        return compare("test_x", run_of(outside), run_of(inside, exit_code), read_table(tmp_path / "table.toml"))

    def test_an_explained_difference_holds(self, tmp_path: Path) -> None:
        found = self.compared(tmp_path, {"test.test_x.A.a": "pass"}, {"test.test_x.A.a": "fail"})
        assert found.holds
        assert [difference.reason for difference in found.differences] == ["said"]

    def test_one_that_ends_otherwise_than_the_table_says_does_not(self, tmp_path: Path) -> None:
        ran = {"test.test_x.A.a": "pass", "test.test_x.A.b": "pass"}
        found = self.compared(tmp_path, ran, {"test.test_x.A.a": "fail", "test.test_x.A.b": "skip"})
        assert report.complaints(found) == ["unexplained: test.test_x.A.b: pass outside, skip inside: "]

    def test_a_test_without_a_result_is_a_difference(self, tmp_path: Path) -> None:
        ran = {"test.test_x.A.a": "pass", "test.test_x.B.b": "pass"}
        found = self.compared(tmp_path, ran, {"test.test_x.A.a": "fail"})
        assert [difference.test for difference in found.unexplained] == ["test.test_x.B.b"]
        assert found.same == 0

    def test_an_explanation_that_is_not_needed_is_stale(self, tmp_path: Path) -> None:
        found = self.compared(tmp_path, {"test.test_x.A.a": "pass"}, {"test.test_x.A.a": "pass"})
        assert report.complaints(found) == ["stale: test.test_x.A.*: no difference any more, remove it"]

    def test_but_not_one_of_some_machines_only(self, tmp_path: Path) -> None:
        ran = {"test.test_x.A.a": "pass"}
        assert self.compared(tmp_path, ran, ran, row=f'{ROW}only_where = "it rains"\n').holds

    def test_a_module_that_ran_nothing_does_not_hold(self, tmp_path: Path) -> None:
        assert not self.compared(tmp_path, {}, {}, row=f'{ROW}only_where = "it rains"\n').holds

    def test_a_run_that_crashes_in_the_end_is_a_difference(self, tmp_path: Path) -> None:
        ran = {"test.test_x.B.b": "pass"}
        found = self.compared(tmp_path, ran, ran, row=f'{ROW}only_where = "it rains"\n', exit_code=139)
        message = "exit status 0 outside, 139 inside"
        assert found.differences == (
            Difference(test="test.test_x", outside=Outcome.PASS, inside=Outcome.FAIL, message=message),
        )

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            (ROW.replace("fail", "pass"), "ends with pass on both sides, which needs no explanation"),
            (ROW.replace('reason = "said"', ""), "expected inside, outside, reason, tests"),
        ],
    )
    def test_a_row_that_explains_nothing_is_refused(self, tmp_path: Path, row: str, said: str) -> None:
        with pytest.raises(TableError, match=said):
            self.compared(tmp_path, {}, {}, row=row)


def test_what_cpython_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(
        '<testsuites><testsuite tests="6">'
        '<testcase name="a" status="run" result="completed"/>'
        '<testcase name="b"><skipped>not here</skipped></testcase>'
        '<testcase name="c"><error type="OSError" message="Traceback:&#10;OSError: no">long</error></testcase>'
        '<testcase name="d"><output type="AssertionError" message="expected">long</output></testcase>'
        '<testcase name="e"><outcome>UNEXPECTED_SUCCESS</outcome></testcase>'
        "<testcase/>"
        "</testsuite></testsuites>"
    )
    outcomes, messages = read_junit(tmp_path / "junit.xml")
    expected = {"a": "pass", "b": "skip", "c": "fail", "d": "pass", "e": "fail"}
    assert {name: outcome.value for name, outcome in outcomes.items()} == expected
    assert messages == {"b": "not here", "c": "OSError: no"}

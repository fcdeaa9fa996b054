"""Run CPython's tests outside and inside, compare them test by test, and print a table.

Exits with 1 if a difference is not explained in differences.toml, or an explanation is not needed any more.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from . import report
from .comparing import Comparison, read_table
from .packages import PackagesMissing, fetch
from .running import Inside, Outside, compare_sides

MODULES = (
    "test_os", "test_posix", "test_subprocess", "test_threading", "test_signal", "test_tempfile", "test_mmap",
    "test_fcntl", "test_select", "test_selectors", "test_shutil", "test_pathlib", "test_import", "test_importlib",
    "test_asyncio", "test_socket", "test_sqlite3", "test_concurrent_futures", "test_multiprocessing_spawn",
    "test_zipfile",
)  # fmt: skip


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(prog="python -m compatibility", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="which (default: all that the document lists)")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="keep Debian's packages there, not below /tmp")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every test's outcome, too")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the tables into docs/compatibility.md")
    parser.add_argument("--attempts", type=int, default=2, help="how often a module whose tests differ may be run (2)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is running ends, and folders go
    with tempfile.TemporaryDirectory(prefix="belljar-cpython-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)  # the ordinary user reads the packages
        try:
            folder = (arguments.packages or Path(name)).resolve()
            comparisons = _run(arguments.modules or MODULES, folder, Path(name), arguments.attempts)
        except PackagesMissing as error:
            print(f"compatibility: error: {error}", file=sys.stderr)
            return 2
    print(report.text(comparisons))
    if arguments.json:
        arguments.json.write_text(json.dumps([report.as_json(found) for found in comparisons], indent=1) + "\n")
    if arguments.document:
        page = arguments.document.read_text()
        page = report.between(page, report.RESULTS, report.results_section(page, comparisons, MODULES))
        page = report.between(page, report.DIFFERENCES, report.differences_section(read_table()))
        arguments.document.write_text(page)
    return 0 if all(comparison.holds for comparison in comparisons) else 1


def _run(modules: list[str] | tuple[str, ...], folder: Path, work: Path, attempts: int) -> list[Comparison]:
    packages = fetch(folder, with_source="test_sqlite3" in modules)
    cache = work / "cache"
    cache.mkdir(mode=0o700)
    outside, inside = Outside(packages=packages), Inside(packages=packages, cache=cache)
    table = read_table()
    comparisons: list[Comparison] = []
    for module in modules:
        found = compare_sides(module, outside, inside, table, attempts=attempts)
        said = "as expected" if found.holds else "not as expected"
        print(f"{module}: {said}, attempt {found.attempts}", file=sys.stderr, flush=True)
        comparisons.append(found)
    return comparisons


if __name__ == "__main__":
    sys.exit(main())

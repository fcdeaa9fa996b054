"""Every benchmark runs, in small: what it measures then means nothing, and nothing is asserted of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.running import Belljar
from support.source import ROOT, in_checkout

PEERS = {"bubblewrap": "bwrap", "crun": "crun", "firejail": "firejail", "runsc": "runsc"}
SUITES = re.findall(r'^    "([a-z-]+)": \w+,$', (ROOT / "benchmarks/__main__.py").read_text(), re.MULTILINE) if (
    ROOT / "benchmarks"
).is_dir() else ["none"]  # fmt: skip
TIMEOUT_S = 300

pytestmark = pytest.mark.usefixtures("checkout")


@pytest.fixture(scope="module")
def checkout() -> None:
    in_checkout()


def measured(belljar: Belljar, *words: str) -> tuple[dict[str, list[dict[str, object]]], str]:
    """Run benchmarks in small, and return their tables by suite, and what was printed."""
    report = belljar.folder / "out.json"
    cache = belljar.folder / "cache" if "cold-start" in words else belljar.cache  # which it empties
    command = [sys.executable, "-m", "benchmarks", *words, f"--cache={cache}", "--rounds=1", "--enclaves=2", "--small",
               "--belljar", str(belljar.script), "--json", str(report)]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=belljar.environ(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text()), done.stdout


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_runs(belljar: Belljar, suite: str) -> None:
    results, printed = measured(belljar, suite, "--beside=none")
    assert "Note: " not in printed
    assert results[suite]
    for table in results[suite]:
        rows = table["rows"]
        assert isinstance(rows, dict)
        assert rows
        assert all(values for row in rows.values() for values in row.values())
        assert table["target"]


def test_beside_peers(belljar: Belljar) -> None:
    results, printed = measured(belljar, "cpu", "density", f"--beside={','.join(PEERS)}")
    there = {peer for peer, program in PEERS.items() if shutil.which(program)}
    for peer in PEERS.keys() - there:
        assert f"{peer} is left out: {PEERS[peer]} is not installed" in printed
    if not (working := {peer for peer in there if f"{peer} is left out: it does not work here" not in printed}):
        pytest.skip(f"none of {', '.join(PEERS)} is installed and works here")
    assert "Note: " not in printed
    for suite in ("cpu", "density"):
        rows: dict[str, dict[str, object]] = dict(results[suite][0]["rows"])  # type: ignore[call-overload] # JSON
        assert all(working <= row.keys() for row in rows.values())


def test_every_suite_is_in_the_readme() -> None:
    text = (Path(ROOT) / "benchmarks/README.md").read_text()
    assert len(SUITES) > 8
    assert not [suite for suite in SUITES if f"`{suite}`" not in text]


def test_an_unknown_suite_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such benchmark: nothing; expected warm-start, " in done.stderr

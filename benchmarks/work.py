"""Benchmarks of what programs do once they run: compute, and talk over loopback."""

from __future__ import annotations

import json
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from .bench import Bench
from .peers import Peer, environment_with
from .rounds import Numbers, Table

PYPERFORMANCE = "pyperformance==1.14.0"
SAMPLES = (
    ("nbody", "bm_nbody", 1, 3, ()),
    ("json_loads", "bm_json_loads", 250, 3, ()),
    ("regex_compile", "bm_regex_compile", 1, 3, ()),
    ("pickle", "bm_pickle", 500, 3, ("pickle",)),
    ("asyncio_tcp", "bm_asyncio_tcp", 1, 1, ()),
)
"""Figure, folder of pyperformance's benchmark, how often it is repeated inside of one value, how many values,
and its arguments."""


def cpu(bench: Bench) -> list[Table]:
    """Work that asks nothing of the kernel, and samples of pyperformance."""
    table = Table("CPU-bound work", "ms", "≤ 1.05× native")
    bench.inside(table, "cpu.py", "2000" if bench.small else "200000", rounds=bench.few(4))
    if bench.small:
        return [table]
    samples = Table(f"samples of {PYPERFORMANCE.replace('==', ' ')}", "ms", "≤ 1.05× native")
    with tempfile.TemporaryDirectory(prefix="bench-pyperformance-", dir="/var/tmp") as folder:
        try:
            python = environment_with(PYPERFORMANCE, Path(folder))
        except subprocess.CalledProcessError as error:
            bench.note(f"pyperformance left out: pip cannot install it: {error.stderr.strip()[-200:]}")
            return [table]
        place = next(Path(folder).glob("lib/python3*/site-packages/pyperformance/data-files/benchmarks"))
        for figure, name, loops, values, arguments in SAMPLES:
            words = (str(python), str(place / name / "run_benchmark.py"), "--worker", "--pipe=1", f"--loops={loops}")
            words = (*words, "--warmups=0", f"--values={values}", *arguments)
            bench.told(samples, words, partial(_sample, figure), rounds=bench.few(6), only=figure)
    return [table, samples]


def _sample(figure: str, peer: Peer, *words: str) -> Numbers:
    """Run one benchmark of pyperformance as its own worker, and return its fastest value."""
    done = subprocess.run(peer.command(*words), check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    told = json.loads(done.stdout.splitlines()[-1])
    return {figure: min(told["benchmarks"][0]["runs"][0]["values"]) * 1000}


def loopback(bench: Bench) -> list[Table]:
    """TCP between two processes of one sandbox."""
    table = Table("loopback TCP between two processes inside", "by row", "≤ 1.05× native")
    sizes = ("1048576", "50") if bench.small else ("268435456", "5000")
    return [bench.inside(table, "loopback.py", *sizes, rounds=bench.few(4))]

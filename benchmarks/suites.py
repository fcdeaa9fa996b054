"""Benchmarks of starting, of system calls, and of files: one function each, which returns its tables."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from .bench import PROGRAMS, Bench
from .peers import LAUNCHES, PYTHON, Peer, launched
from .processes import idle_mib
from .rounds import Numbers, Table, interleave, told_inside, whole_process_ms

MIB = 1 << 20
_READY_S = 1.0


def warm_start(bench: Bench) -> list[Table]:
    """Whole-process times of small programs that ran before, by every way to start belljar."""
    table = Table("start, warm", "ms", "`python3 -c pass` ≤ 38 ms where native takes 13.5 (2.8×), resident ≤ 18 (1.3×)")
    native, _, *others = bench.peers
    peers = [native, *(launched(bench.script, launch) for launch in LAUNCHES), *others]
    with ExitStack() as stack:
        for launch in LAUNCHES:
            if launch.resident:
                stack.enter_context(_resident([str(bench.script), *launch.resident]))
        for figure, words in (
            ("/bin/true", ("/bin/true",)),
            ("python3 -c pass", (PYTHON, "-c", "pass")),
            ("python3 -c 'import json, asyncio, ssl, sqlite3'", (PYTHON, "-c", "import json, asyncio, ssl, sqlite3")),
        ):
            bench.settle(*words)
            ways: dict[str, Callable[[], Numbers]] = {peer.name: partial(_whole, figure, peer, words) for peer in peers}
            resident = {launch.name for launch in LAUNCHES if launch.resident}
            ways.update({name: partial(_whole_ready, bench.script, ways[name]) for name in resident})
            interleave(table, ways, bench.rounds, warm=2)
    return [table]


def _whole_ready(script: Path, measure: Callable[[], Numbers]) -> Numbers:
    """Measure a run through the launcher: of a person, who did not run the same a moment before."""
    time.sleep(0.1)  # it notices the end of the last one
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        told = subprocess.run([script, "serve", "--status", "--json"], capture_output=True, text=True, check=False)
        status = json.loads(told.stdout or "{}")
        if status.get("ready") and not status.get("building"):
            break
        time.sleep(0.05)
    off = os.environ.pop("BELLJAR_LAUNCHER")
    try:
        return measure()
    finally:
        os.environ["BELLJAR_LAUNCHER"] = off


@contextmanager
def _resident(command: list[str]) -> Iterator[None]:
    """Have a process there while the block runs."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def _whole(figure: str, peer: Peer, words: tuple[str, ...]) -> Numbers:
    return {figure: whole_process_ms(peer, *words)}


def cold_start(bench: Bench) -> list[Table]:
    """Start of belljar without some of what it remembers."""
    table = Table("start of belljar, by what it remembers", "ms", "first use of the file tree ≤ 2.5× warm")
    words = (PYTHON, "-c", "pass")

    def forgetting(*kinds: str) -> Callable[[], Numbers]:
        def measure() -> Numbers:
            for kind in kinds:
                for path in glob.glob(f"{os.environ['XDG_CACHE_HOME']}/belljar/1/{kind}*"):
                    os.unlink(path)
            return {"python3 -c pass": whole_process_ms(bench.belljar, *words)}

        return measure

    ways = {
        "warm": forgetting(),
        "first use of the tree": forgetting("used-"),
        "new folder, known interpreter": forgetting("used-", "record-", "folders-"),
        "unknown interpreter, known digests": forgetting("used-", "record-", "folders-", "programs-", "index-"),
        "empty cache": forgetting(""),
    }
    for way, measure in ways.items():  # one after the other: what one forgets, another must not miss
        rounds = bench.rounds if way in ("warm", "first use of the tree") else bench.few(5)
        forgetting()()
        for _ in range(rounds):
            table.add(way, measure())
            if way == "first use of the tree":
                time.sleep(0.02)
    return [table]


def imports(bench: Bench) -> list[Table]:
    """Imports in a new process of a sandbox that has seen them before."""
    table = Table("imports, new process in a running sandbox", "ms", "≤ 1.05× native")
    return [bench.inside(table, "imports.py", rounds=bench.few(4))]


def syscalls(bench: Bench) -> list[Table]:
    """Single system calls inside."""
    table = Table("system calls", "µs", "≤ 1.05× native")
    return [bench.inside(table, "syscalls.py", rounds=bench.few(4))]


def spawn(bench: Bench) -> list[Table]:
    """New processes inside of a running sandbox."""
    table = Table("new processes inside", "ms", "≤ 1.1× native, and a new enclave ≥ 100× slower")
    bench.inside(table, "spawn.py", rounds=bench.few(4))
    words = ("/bin/true",)
    bench.settle(*words)
    for _ in range(bench.rounds):
        for peer in bench.peers:
            if peer.name != "native":
                table.add(peer.name, {"for comparison: a new sandbox for /bin/true": whole_process_ms(peer, *words)})
    return [table]


def hashed_read(bench: Bench) -> list[Table]:
    """Reading a large file for the first time in a sandbox, beside the speed of the hash itself."""
    size = 8 if bench.small else 256
    table = Table(
        f"first sequential read of {size} MiB", "MB/s", "≥ 0.8× the hash's own speed on one core", more_is_better=True
    )
    big = bench.folder / "big"
    with big.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    name = bench.program("read.py")

    def hash_alone() -> Numbers:
        content = big.read_bytes()
        started = time.perf_counter()
        hashlib.sha256(content)
        return {"read": len(content) / (time.perf_counter() - started) / 1e6}

    ways: dict[str, Callable[[], Numbers]] = {"sha256 alone, one core": hash_alone}
    for peer in bench.peers:
        ways[peer.name] = partial(told_inside, peer, PYTHON, name)
    interleave(table, ways, bench.few(5))
    big.unlink()
    return [table]


def many_files(bench: Bench) -> list[Table]:
    """The start of a program that uses fifty files of a tree of a hundred, and of a hundred thousand."""
    table = Table("start and memory by size of the tree", "ms or MiB", "grows with what is used, not with what exists")
    for count in (100, 1_000 if bench.small else 100_000):
        folder = Path(tempfile.mkdtemp(prefix="tree-", dir=bench.folder.parent))
        for number in range(count):
            path = folder / f"d{number // 100:04}"
            if number % 100 == 0:
                path.mkdir()
            (path / f"f{number:06}").write_bytes(b"%d" % number)
        (folder / "use.py").write_text("for n in range(50): open(f'd0000/f{n:06}').read()\n")
        shutil.copyfile(PROGRAMS / "idle.py", folder / "idle.py")
        words = bench.belljar.command(PYTHON, "use.py")
        first = _timed(words, folder)
        time.sleep(2.1)
        _timed(words, folder)
        way = f"{count:,} files"
        table.add(way, {"measured for the first time": first})
        for _ in range(bench.rounds):
            table.add(way, {"start, warm": _timed(words, folder)})
        table.add(way, {"supervisor and init, MiB": idle_mib(bench.belljar.command(PYTHON, "idle.py"), folder)})
        shutil.rmtree(folder)
    return [table]


def memory(bench: Bench) -> list[Table]:
    """Memory of an idle sandbox, beyond the program's own."""
    table = Table("memory of an idle sandbox, without the program (PSS)", "MiB", "≤ 25 MiB")
    bench.settle(PYTHON, bench.program("idle.py"))
    for _ in range(min(3, bench.rounds)):
        for peer in bench.peers:
            if peer.name != "native":
                table.add(peer.name, {"idle python3": idle_mib(peer.command(PYTHON, "idle.py"), bench.folder)})
    return [table]


def _timed(words: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=folder)
    return (time.perf_counter() - started) * 1000

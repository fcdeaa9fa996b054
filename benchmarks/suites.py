"""What is measured: one function per benchmark, each returns its tables."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .peers import PYTHON, Peer
from .rounds import Numbers, Table, interleave, told_inside, whole_process_ms

PROGRAMS = Path(__file__).parent / "programs"
MIB = 1 << 20


class Bench:
    """What every benchmark is given.

    Args:
        peers: native first, then belljar, then the others.
        rounds: how often each is measured.
        folder: where programs and their files are; the working directory.
    """

    def __init__(self, peers: list[Peer], rounds: int, folder: Path) -> None:
        self.peers = peers
        self.rounds = rounds
        self.folder = folder

    @property
    def belljar(self) -> Peer:
        """Belljar."""
        return next(peer for peer in self.peers if peer.name == "belljar")

    def program(self, name: str) -> str:
        """Bring a program into the working directory and return its name."""
        shutil.copyfile(PROGRAMS / name, self.folder / name)
        return name

    def inside(self, table: Table, program: str, *words: str, rounds: int | None = None) -> Table:
        """Run a program that measures itself, every way."""
        name = self.program(program)
        ways: dict[str, Callable[[], Numbers]] = {
            peer.name: partial(told_inside, peer, PYTHON, name, *words) for peer in self.peers
        }
        interleave(table, ways, rounds or self.rounds)
        return table


def start(bench: Bench) -> list[Table]:
    """Whole-process times of small programs, warm; and belljar without what it remembers."""
    warm = Table("start, warm", "ms", "`python3 -c pass` ≤ 38 ms where native takes 13.5 (2.8×)")
    for figure, words in (
        ("/bin/true", ("/bin/true",)),
        ("python3 -c pass", (PYTHON, "-c", "pass")),
        ("python3 -c 'import json, asyncio, ssl, sqlite3'", (PYTHON, "-c", "import json, asyncio, ssl, sqlite3")),
    ):
        _settle(bench, words)
        ways: dict[str, Callable[[], Numbers]] = {
            peer.name: partial(_whole, figure, peer, words) for peer in bench.peers
        }
        interleave(warm, ways, bench.rounds)
    return [warm, _cold(bench)]


def _whole(figure: str, peer: Peer, words: tuple[str, ...]) -> Numbers:
    return {figure: whole_process_ms(peer, *words)}


def _settle(bench: Bench, words: tuple[str, ...]) -> None:
    """Let belljar prepare, and the stamps of what it made grow old enough to be believed."""
    whole_process_ms(bench.belljar, *words)
    time.sleep(2.1)
    whole_process_ms(bench.belljar, *words)


def _cold(bench: Bench) -> Table:
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
        rounds = bench.rounds if way in ("warm", "first use of the tree") else max(3, bench.rounds // 5)
        forgetting()()
        for _ in range(rounds):
            table.add(way, measure())
            if way == "first use of the tree":
                time.sleep(0.02)
    return table


def imports(bench: Bench) -> list[Table]:
    """Imports in a new process of a sandbox that has seen them before."""
    table = Table("imports, new process in a running sandbox", "ms", "≤ 1.05× native")
    return [bench.inside(table, "imports.py", rounds=max(3, bench.rounds // 4))]


def syscalls(bench: Bench) -> list[Table]:
    """Single system calls inside."""
    table = Table("system calls", "µs", "≤ 1.05× native")
    return [bench.inside(table, "syscalls.py", rounds=max(3, bench.rounds // 4))]


def spawn(bench: Bench) -> list[Table]:
    """New processes inside of a running sandbox."""
    table = Table("new processes inside", "ms", "≤ 1.1× native, and a new enclave ≥ 100× slower")
    bench.inside(table, "spawn.py", rounds=max(3, bench.rounds // 4))
    words = ("/bin/true",)
    _settle(bench, words)
    for _ in range(bench.rounds):
        for peer in bench.peers:
            if peer.name != "native":
                table.add(peer.name, {"for comparison: a new sandbox for /bin/true": whole_process_ms(peer, *words)})
    return [table]


def hashed_read(bench: Bench) -> list[Table]:
    """Reading a large file for the first time in a sandbox, beside the speed of the hash itself."""
    table = Table(
        "first sequential read of 256 MiB", "MB/s", "≥ 0.8× the hash's own speed on one core", more_is_better=True
    )
    big = bench.folder / "big"
    with big.open("wb") as file:
        for _ in range(256):
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
    interleave(table, ways, max(3, bench.rounds // 5))
    big.unlink()
    return [table]


def many_files(bench: Bench) -> list[Table]:
    """The start of a program that uses fifty files of a tree of a hundred, and of a hundred thousand."""
    table = Table("start and memory by size of the tree", "ms or MiB", "grows with what is used, not with what exists")
    for count in (100, 100_000):
        folder = Path(tempfile.mkdtemp(prefix="tree-", dir=bench.folder.parent))
        for number in range(count):
            path = folder / f"d{number // 100:04}"
            if number % 100 == 0:
                path.mkdir()
            (path / f"f{number:06}").write_bytes(b"%d" % number)
        (folder / "use.py").write_text("for n in range(50): open(f'd0000/f{n:06}').read()\n")
        (folder / "idle.py").write_text("print('ready', flush=True); input()\n")
        words = bench.belljar.command(PYTHON, "use.py")
        first = _timed(words, folder)
        time.sleep(2.1)
        _timed(words, folder)
        way = f"{count:,} files"
        table.add(way, {"measured for the first time": first})
        for _ in range(bench.rounds):
            table.add(way, {"start, warm": _timed(words, folder)})
        table.add(way, {"supervisor and init, MiB": _idle_mib(bench.belljar.command(PYTHON, "idle.py"), folder)})
        shutil.rmtree(folder)
    return [table]


def memory(bench: Bench) -> list[Table]:
    """Memory of an idle sandbox, beyond the program's own."""
    table = Table("memory of an idle sandbox, without the program (PSS)", "MiB", "≤ 25 MiB")
    (bench.folder / "idle.py").write_text("print('ready', flush=True); input()\n")
    for _ in range(3):
        for peer in bench.peers:
            if peer.name != "native":
                table.add(peer.name, {"idle python3": _idle_mib(peer.command(PYTHON, "idle.py"), bench.folder)})
    return [table]


def _timed(words: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=folder)
    return (time.perf_counter() - started) * 1000


def _idle_mib(words: list[str], folder: Path) -> float:
    """Return the proportional set size of everything but the innermost process: the program itself."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        pids = _family(process.pid)
        total = sum(_pss_kib(pid) for pid in pids[:-1]) / 1024
        process.stdin.write("\n")
        process.stdin.close()
    return total


def _family(pid: int) -> list[int]:
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        for child in Path(path).read_text().split():
            found += _family(int(child))
    return found


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


SUITES: dict[str, Callable[[Bench], list[Table]]] = {
    "start": start,
    "imports": imports,
    "syscalls": syscalls,
    "spawn": spawn,
    "hashed-read": hashed_read,
    "many-files": many_files,
    "memory": memory,
}

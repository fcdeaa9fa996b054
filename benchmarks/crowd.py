"""Many sandboxes at once: how long until all run, what each of them keeps, whether all end."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack

from .bench import Bench
from .peers import PYTHON, Peer
from .processes import family, is_alive, pss_kib
from .rounds import Numbers, Table

FEWER = {"runsc": 10}
"""A part of the others' number: gVisor takes a second of two CPUs for each."""
_PATIENCE_S = 120
_SETTLE_S = 1.0


def density(bench: Bench) -> list[Table]:
    """Start many sandboxes at once, look at them, end them."""
    table = Table(f"{bench.enclaves} idle sandboxes at once", "by row", "≤ 25 MiB per enclave, program apart")
    rounds = 1 if bench.small else min(3, bench.rounds)
    bench.settle(PYTHON, bench.program("idle.py"))
    for _ in range(rounds):
        for peer in bench.peers:
            count = max(1, bench.enclaves // FEWER.get(peer.name, 1))
            try:
                table.add(peer.name, _crowd(peer, count))
            except (OSError, AssertionError, subprocess.SubprocessError) as error:
                bench.note(f"{peer.name} cannot run {count} at once: {error}")
    return [table]


def _crowd(peer: Peer, count: int) -> Numbers:
    with ExitStack() as stack:
        started = time.perf_counter()
        crowd = [stack.enter_context(_started(peer)) for _ in range(count)]
        stack.callback(_end_by_force, crowd)
        for process in crowd:
            assert process.stdout is not None
            assert process.stdout.readline(), f"one ended with {process.wait(_PATIENCE_S)} before it was ready"
        all_ready = time.perf_counter() - started
        time.sleep(_SETTLE_S)
        families = [family(process.pid) for process in crowd]
        around = sum(pss_kib(pid) for pids in families for pid in pids[:-1])
        programs = sum(pss_kib(pids[-1]) for pids in families)
        ending = time.perf_counter()
        for process in crowd:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.close()
        codes = {process.wait(_PATIENCE_S) for process in crowd}
        ended = time.perf_counter() - ending
    assert not _still_there(families), "processes are left behind"
    assert len(codes) == 1, f"they ended with different codes: {codes}"
    return {
        "how many": count,
        "until all run, per sandbox, ms": all_ready / count * 1000,
        "memory without the program, per sandbox, MiB": around / 1024 / count,
        "the program itself, MiB": programs / 1024 / count,
        "until all have ended, per sandbox, ms": ended / count * 1000,
    }


def _started(peer: Peer) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        peer.command(PYTHON, "idle.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _end_by_force(crowd: list[subprocess.Popen[bytes]]) -> None:
    for process in crowd:
        if process.poll() is None:
            process.kill()


def _still_there(families: list[list[int]]) -> list[int]:
    """Return processes that outlive their sandbox by more than a moment."""
    deadline = time.monotonic() + _SETTLE_S
    while left := [pid for pids in families for pid in pids if is_alive(pid)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return left

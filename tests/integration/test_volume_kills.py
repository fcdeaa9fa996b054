"""Whoever is killed, whenever: what a program had made durable is in the volume at the next run, and nothing half."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.enclosed_volume import Enclosed
from support.running import Belljar

ROUNDS = int(os.environ.get("BELLJAR_VOLUME_KILLS", "1"))
STEP_S = 0.07

WRITE = """
import os, zlib
log = os.open("log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
n = os.fstat(log).st_size // 64
print("ready", flush=True)
while True:
    record = b"%032d" % n + b"%032d" % zlib.crc32(b"%032d" % n)
    os.write(log, record)
    os.fsync(log)
    new = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(new, record * 2000)
    os.fsync(new)
    os.close(new)
    os.rename("new", "state")
    print(n, flush=True)
    n += 1
"""
READ = """
import zlib
log = open("log", "rb").read()
assert len(log) % 64 == 0, len(log)
for n in range(len(log) // 64):
    record = log[n * 64 :][:64]
    assert record == b"%032d" % n + b"%032d" % zlib.crc32(b"%032d" % n), (n, record)
state = open("state", "rb").read()
assert len(state) == 128000 and state == state[:64] * 2000
print(len(log) // 64, int(state[:32]) + 1)
"""


@pytest.fixture
def kept(belljar: Belljar) -> Enclosed:
    return Enclosed(belljar, belljar.folder / "data.vol").create()


def below(pid: int) -> list[int]:
    """Return [supervisor, init, program] (and who else is there), as tests/integration/test_lifetime.py has it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += below(int(child))
    return sorted(found, key=lambda pid: "warden" in Path(f"/proc/{pid}/comm").read_text())


def until_free(kept: Enclosed) -> None:
    """Wait until nobody has the volume: the kernel ends a killed supervisor's enclave in its own time."""
    deadline = time.monotonic() + 10
    while kept.run("pass", check=None).returncode and time.monotonic() < deadline:
        time.sleep(0.1)


def killed(process: subprocess.Popen[str], victim: int, after_s: float) -> int:
    """Kill one of them while it writes; return how many records were durable then."""
    time.sleep(after_s)
    os.kill(below(process.pid)[victim], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    whole = printed.rpartition("\n")[0].split("\n")
    return int(whole[-1]) + 1 if whole[-1] else 0


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["supervisor", "init", "program"])
def test_what_was_made_durable_is_there(kept: Enclosed, victim: int) -> None:
    for number in range(ROUNDS):
        process = kept.start(WRITE)
        durable = killed(process, victim, 0.5 + STEP_S * number)
        logged, stated = (int(word) for word in kept.run(READ).stdout.split())
        assert durable > 0
        assert durable <= logged <= durable + 1  # the last may have been durable, and not yet told
        assert logged - 1 <= stated <= logged  # the newest name was not asked to be durable

"""Many lives and many deaths: kills at random moments, and a hundred enclaves at once (IEEE 2952 5.1.3 e, 5.5.1 a).

BELLJAR_KILLS=1000 makes the first one as long as it was when tried in full, BELLJAR_CROWD=100 the crowd as large.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from belljar.libos.lifecycle import statuses
from support.running import PYTHON, Belljar

KILLS = int(os.environ.get("BELLJAR_KILLS", "25"))
CROWD = int(os.environ.get("BELLJAR_CROWD", "30"))
SETTLE_S = 10.0
FAMILY = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        break
open(f"/tmp/{os.getpid()}", "w").write("x" * 4096)
os.write(1, b"up\\n")
time.sleep(60)
"""
MANIFEST = """\
belljar: 1
name: family
extends: [python]
programs: [{python}]
argv: [{python}, -c, {code!r}]
limits: {{memory: 256MiB, cpus: 1.5, processes: 30}}
"""


@pytest.fixture
def place(belljar: Belljar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of its own, which this process looks into as well."""
    folder = tmp_path / "runs"
    belljar.environment["BELLJAR_RUNTIME_DIR"] = str(folder)
    monkeypatch.setenv("BELLJAR_RUNTIME_DIR", str(folder))
    return folder


def below(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [other for child in task.read_text().split() for other in below(int(child))]
        except OSError:
            continue
    return found


def traces(runs: Path, pids: list[int]) -> set[str]:
    """Return what there is of enclaves on this machine: mounts, cgroups, directories, processes."""
    found = {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if "belljar" in line}
    groups = (path for path, _, _ in os.walk("/sys/fs/cgroup"))  # which others add to and take from meanwhile
    found |= {f"cgroup {path}" for path in groups if Path(path).name.startswith(f"belljar-{pids[0]}")}
    kept = [path for path in runs.iterdir() if not (path / "ended").exists()] if runs.exists() else []
    found |= {f"directory {path.name}" for path in kept}
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue
        if state != "Z":
            found.add(f"process {pid}")
    return found


def test_killed_at_random_moments(belljar: Belljar, place: Path) -> None:
    (belljar.folder / "m.yaml").write_text(MANIFEST.format(python=PYTHON, code=FAMILY))
    belljar("run", "--dry-run", "m.yaml")  # what is prepared once is not killed a thousand times
    chance = random.Random(2952)  # noqa: S311 - the same moments in every run
    for number in range(KILLS):
        process = belljar.start("run", "m.yaml", new_session=True)
        time.sleep(chance.uniform(0, 0.4))
        pids = below(process.pid)
        victims = [pids[0], *pids[2:]]  # the first child is the warden, which has no name yet when it is young
        victim = victims[min(number % 4, len(victims) - 1)]  # supervisor, init, program, child of it
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            if victim != process.pid:
                process.terminate()
            process.communicate(timeout=30)
        pids += below(process.pid)
        deadline = time.monotonic() + SETTLE_S
        while left := traces(place, pids):
            assert time.monotonic() < deadline, f"kill {number} of {victim} in {pids}: left {left}"
            time.sleep(0.005)
        assert not [run for run in statuses() if run["state"] != "ended"]


@pytest.fixture
def crowd() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()


@pytest.mark.usefixtures("place")
def test_a_hundred_at_once(belljar: Belljar, crowd: list[subprocess.Popen[str]]) -> None:
    code = "import os, sys; print(len([p for p in os.listdir('/proc') if p.isdecimal()]), flush=True); input()"
    belljar.python("print(1)")
    crowd += [belljar.start("run", "--", PYTHON, "-c", code, stdin=subprocess.PIPE) for _ in range(CROWD)]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"  # each sees itself only
    alive = statuses()
    assert len({run["name"] for run in alive}) == len(alive) == CROWD
    assert len({os.readlink(f"/proc/{run['init']}/ns/pid") for run in alive}) == CROWD
    for process in crowd:
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    assert statuses() == []

"""Whatever is killed, whenever: the enclave ends, and nothing of it stays (IEEE 2952 5.1.3 e)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar

SETTLE_S = 5.0


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def started(belljar: Belljar, *words: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a program that says when it runs; return belljar's process and [supervisor, init, program, warden]."""
    code = "print('ready', flush=True); import time; [time.sleep(0.1) for _ in range(600)]"
    process = belljar.start("run", *words, "--", PYTHON, "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, sorted(family(process.pid), key=lambda pid: name_of(pid) == "belljar-warden")


def gone(pids: list[int]) -> bool:
    """Wait until none of the processes is left."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def finish(process: subprocess.Popen[str]) -> int:
    code = process.wait(timeout=20)
    process.communicate()
    return code


def test_an_enclave_is_supervisor_init_program_and_warden(belljar: Belljar) -> None:
    process, pids = started(belljar)
    names = [name_of(pid) for pid in pids]
    assert len(pids) == 4
    assert (names[1], names[3]) == ("belljar-init", "belljar-warden")
    process.terminate()
    finish(process)
    assert gone(pids)


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["supervisor", "init", "program"])
def test_whoever_is_killed_all_end(belljar: Belljar, victim: int) -> None:
    process, pids = started(belljar)
    os.kill(pids[victim], signal.SIGKILL)
    code = finish(process)
    assert code == (-signal.SIGKILL, 125, 128 + signal.SIGKILL)[victim]
    assert gone(pids)


def test_a_killed_warden_changes_nothing(belljar: Belljar) -> None:
    process, pids = started(belljar)
    os.kill(pids[3], signal.SIGKILL)
    process.terminate()
    assert finish(process) == 128 + signal.SIGTERM
    assert gone(pids)


def test_a_killed_init_is_told(belljar: Belljar) -> None:
    process, pids = started(belljar)
    os.kill(pids[1], signal.SIGKILL)
    assert process.wait(timeout=20) == 125
    assert "error: the enclave was ended from outside: its init was killed" in process.communicate()[1]


def test_killed_at_any_moment(belljar: Belljar) -> None:
    """SIGKILL the supervisor while the enclave is being built, too."""
    belljar.python("pass")
    chance = random.Random(2952)  # noqa: S311 - the same moments in every run
    for _ in range(25):
        process = belljar.start("run", "--", "sleep", "30", new_session=True)
        time.sleep(chance.uniform(0, 0.25))
        pids = family(process.pid)
        process.kill()
        finish(process)
        assert gone(pids)


def test_killed_together_with_its_group(belljar: Belljar) -> None:
    process, pids = started(belljar)
    process.kill()
    for pid in pids[1:]:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    finish(process)
    assert gone(pids)


def test_cgroups_go_with_a_killed_supervisor(belljar: Belljar) -> None:
    (belljar.folder / "m.yaml").write_text(
        f"belljar: 1\nname: m\nextends: [minimal]\nprograms: [{PYTHON}]\nlimits: {{memory: 200MiB, cpus: 1}}\n"
        f"argv: [{PYTHON}, -c, \"print('ready', flush=True); import time; time.sleep(60)\"]\n"
    )
    process = belljar.start("run", "m.yaml")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    groups = [path for path in Path("/sys/fs/cgroup").glob(f"**/belljar-{process.pid}*") if path.is_dir()]
    if not groups:
        process.terminate()
        finish(process)
        pytest.skip("no cgroup can be written here")
    process.kill()
    finish(process)
    deadline = time.monotonic() + SETTLE_S
    while any(group.exists() for group in groups) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [group for group in groups if group.exists()]


def test_the_supervisor_holds_little(belljar: Belljar) -> None:
    process, pids = started(belljar)
    descriptors = os.listdir(f"/proc/{pids[0]}/fd")
    held = sum(pss(pid) for pid in pids[:2])
    process.terminate()
    finish(process)
    assert len(descriptors) < 60
    assert held < 64 << 10, f"{held} KiB"


def pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_the_guest_has_no_descriptor_of_ours(belljar: Belljar) -> None:
    with open("/etc/passwd") as secret:
        os.set_inheritable(secret.fileno(), True)
        code = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))"
        process = subprocess.run(
            belljar.command("run", "--", PYTHON, "-c", code), env=belljar.environ(), cwd=belljar.folder,
            pass_fds=[secret.fileno()], capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert process.stdout == "['0', '1', '2', '3']\n", "3 is the listing itself"

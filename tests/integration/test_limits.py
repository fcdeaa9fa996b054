"""Limits: what an enclave may use, who enforces it, and what is said when it was reached (IEEE 2952 5.1.3 f)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar


def manifest(belljar: Belljar, limits: str, code: str) -> None:
    program = json.dumps(textwrap.dedent(code))
    (belljar.folder / "m.yaml").write_text(
        f"belljar: 1\nname: limited\nextends: [minimal]\nprograms: [{PYTHON}, /bin/sh]\nlimits: {limits}\n"
        f"argv: [{PYTHON}, -c, {program}]\n"
    )


def without_cgroups(belljar: Belljar) -> None:
    """Run belljar where no cgroup is mounted."""
    hide = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    belljar.prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", hide, "sh"]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="hiding cgroups needs root")
BOTH = pytest.mark.parametrize("enforcer", ["cgroup", pytest.param("watcher", marks=needs_root)])

EAT = """
    import time
    blocks = []
    for _ in range(100):
        blocks.append(bytearray(b"x") * (4 << 20))
        time.sleep(0.02)
    print("ate everything")
"""


@BOTH
def test_memory(belljar: Belljar, enforcer: str) -> None:
    manifest(belljar, "{memory: 100MiB}", EAT)
    if enforcer == "watcher":
        without_cgroups(belljar)
    done = belljar("run", "-v", "m.yaml", check=128 + signal.SIGKILL)
    assert "ate everything" not in done.stdout
    assert "belljar: error: out of memory: the enclave" in done.stderr
    assert "limit of 100 MiB" in done.stderr
    assert "belljar: ended: memory-limit, signal 9, exit code 137" in done.stderr


@BOTH
def test_memory_of_all_processes_together(belljar: Belljar, enforcer: str) -> None:
    code = """
    import os, time
    for _ in range(8):
        if os.fork() == 0:
            block = bytearray(b"x") * (30 << 20)
            time.sleep(10)
            os._exit(0)
    while True:
        os.wait()
    """
    manifest(belljar, "{memory: 120MiB}", code)
    if enforcer == "watcher":
        without_cgroups(belljar)
    done = belljar("run", "m.yaml", check=None)
    assert done.returncode != 0
    assert "out of memory" in done.stderr


def test_a_child_that_was_killed_is_told_though_the_program_went_on(belljar: Belljar) -> None:
    code = """
    import os
    pid = os.fork()
    if pid == 0:
        block = bytearray(b"x") * (300 << 20)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    manifest(belljar, "{memory: 100MiB}", code)
    done = belljar("run", "m.yaml", check=None)
    if done.returncode == 0:
        assert done.stdout == "-9\n"
    assert "out of memory" in done.stderr


def test_the_machine_looks_like_the_limits(belljar: Belljar) -> None:
    code = """
    import os
    total = int(open("/proc/meminfo").readline().split()[1]) >> 10
    print(total, os.cpu_count(), open("/proc/cpuinfo").read().count("processor\\t"), os.sysconf("SC_NPROCESSORS_ONLN"))
    print(float(open("/proc/uptime").read().split()[0]) < 60)
    """
    manifest(belljar, "{memory: 300MiB, cpus: 0.5}", code)
    assert belljar("run", "m.yaml").stdout == "300 1 1 1\nTrue\n"


@BOTH
def test_cpus(belljar: Belljar, enforcer: str) -> None:
    code = """
    import os, threading, time
    def spin():
        end = time.monotonic() + 2
        while time.monotonic() < end:
            pass
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            spin()
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    times = os.times()
    print(times.children_user + times.children_system)
    """
    manifest(belljar, "{cpus: 1}", code)
    if enforcer == "watcher":
        without_cgroups(belljar)
    assert float(belljar("run", "m.yaml").stdout) < 2.8, "three spinners for two seconds got more than one CPU"


def test_processes(belljar: Belljar) -> None:
    code = """
    import os, time
    made = 0
    try:
        while made < 1000:
            if os.fork() == 0:
                time.sleep(30)
                os._exit(0)
            made += 1
    except BlockingIOError as error:
        print(made, error.strerror)
    """
    manifest(belljar, "{processes: 20}", code)
    assert belljar("run", "m.yaml").stdout == "19 Resource temporarily unavailable\n"


def test_threads_count_as_processes(belljar: Belljar) -> None:
    code = """
    import threading, time
    made = 0
    try:
        while made < 1000:
            threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
            made += 1
    except RuntimeError as error:
        print(made, error)
    """
    manifest(belljar, "{processes: 20}", code)
    assert belljar("run", "m.yaml").stdout == "19 can't start new thread\n"


def test_two_enclaves_do_not_share_their_limit(belljar: Belljar) -> None:
    code = """
    import os, time
    for _ in range(15):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
    print("made")
    time.sleep(2)
    """
    manifest(belljar, "{processes: 20}", code)
    belljar("run", "m.yaml")
    runs = [belljar.start("run", "m.yaml") for _ in range(3)]
    assert [run.communicate(timeout=60)[0] for run in runs] == ["made\n"] * 3


def test_open_files(belljar: Belljar) -> None:
    code = """
    import os
    made = []
    try:
        while True:
            made.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        print(len(made), error.strerror)
    """
    manifest(belljar, "{open_files: 50}", code)
    assert belljar("run", "m.yaml").stdout == "47 Too many open files\n"


def test_run_time(belljar: Belljar) -> None:
    manifest(belljar, "{run_time: 700ms}", "import time; print('ready', flush=True); time.sleep(60)")
    belljar("measure", "m.yaml")
    started = time.monotonic()
    done = belljar("run", "m.yaml", check=124)
    assert time.monotonic() - started < 50  # of the 60 it wanted
    assert done.stdout == "ready\n"
    assert done.stderr == "belljar: error: stopped at its run time of 0.7 s\n"


def test_scratch_space(belljar: Belljar) -> None:
    code = """
    import os
    for path in ("/tmp/x", "/dev/shm/x"):
        try:
            with open(path, "wb") as file:
                while True:
                    file.write(bytes(1 << 20))
        except OSError as error:
            print(os.path.getsize(path) >> 20, error.strerror)
            os.truncate(path, 0)
    """
    manifest(belljar, "{}", code)
    text = (belljar.folder / "m.yaml").read_text()
    (belljar.folder / "m.yaml").write_text(text + "mounts: [{type: tmpfs, path: /tmp, size: 8MiB}]\n")
    assert belljar("run", "m.yaml").stdout == "8 No space left on device\n256 No space left on device\n"


def test_core_dumps_are_off(belljar: Belljar) -> None:
    belljar.python("import os; os.abort()", check=128 + signal.SIGABRT)
    assert not list(Path(belljar.folder).glob("core*"))


def test_a_hard_limit_of_the_caller_is_kept(belljar: Belljar) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh", *belljar.command("run", "--", PYTHON, "-c", code)],
        env=belljar.environ(), cwd=belljar.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "(300, 300)\n"


MEMFD = "import os; f = os.memfd_create('x'); [os.write(f, bytes(1 << 20)) for _ in range(400)]; print('held')"


@pytest.mark.parametrize("enforcer", ["cgroup", "watcher"])
def test_memory_that_no_process_maps_counts(belljar: Belljar, ordinary: Belljar, enforcer: str) -> None:
    who = belljar if enforcer == "cgroup" else ordinary
    code = f"{MEMFD}; import time; time.sleep(5)"
    (who.folder / "m.yaml").write_text(
        f"belljar: 1\nname: m\nextends: [python]\nlimits: {{memory: 64MiB}}\nargv: [{PYTHON}, -c, {code!r}]\n"
        f"programs: [{PYTHON}]\n"
    )
    done = who("run", "m.yaml", check=128 + signal.SIGKILL)
    assert "out of memory" in done.stderr


def test_pages_shared_by_a_fork_count_once(ordinary: Belljar) -> None:
    code = (
        "import os, time; block = bytearray(os.urandom(1 << 20) * 60); "
        "children = [pid for _ in range(4) if (pid := os.fork()) or time.sleep(1) or os._exit(0)]; "
        "[os.waitpid(pid, 0) for pid in children]; print('fine')"
    )
    (ordinary.folder / "m.yaml").write_text(
        f"belljar: 1\nname: m\nextends: [python]\nlimits: {{memory: 160MiB}}\nargv: [{PYTHON}, -c, {code!r}]\n"
        f"programs: [{PYTHON}]\n"
    )
    assert ordinary("run", "m.yaml").stdout == "fine\n"

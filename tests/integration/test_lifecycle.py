"""Runs by name: ps, stop, wait, logs, stats, exec: what they do, and that what they say is true (5.5.1 a, b, e)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.running import PYTHON, Belljar

TICKS = "import time\nfor n in range(600): print('tick', n, flush=True); time.sleep(0.1)"
ENTERABLE = """\
belljar: 1
name: {name}
extends: [python]
programs: [{python}, /bin/sh]
argv: [{python}, -c, "import time; time.sleep(60)"]
insecure_exec: {allowed}
limits: {{memory: 300MiB, processes: 50}}
"""


def detached(belljar: Belljar, *words: str, name: str = "web") -> str:
    return belljar("run", "--detach", "--name", name, *words).stdout.strip()


def listed(belljar: Belljar, *options: str) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in json.loads(belljar("ps", "--json", *options).stdout)}


@pytest.fixture
def lives(belljar: Belljar) -> Iterator[Belljar]:
    """Belljar; what runs in the end is stopped."""
    yield belljar
    for name in listed(belljar):
        belljar("stop", "--time", "0", name, check=None)


def runs_folder(belljar: Belljar) -> Path:
    return Path(belljar.environ()["BELLJAR_RUNTIME_DIR"])


def until(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class TestDetached:
    def test_it_runs_is_listed_logs_and_ends(self, lives: Belljar) -> None:
        assert detached(lives, "--", PYTHON, "-c", TICKS) == "web"
        run = listed(lives)["web"]
        assert run["state"] == "running"
        assert run["argv"][0] == PYTHON
        assert run["measurement"].startswith("sha256:")
        os.kill(run["supervisor"], 0)
        until(lambda: "tick 2" in lives("logs", "web").stdout)
        stats = json.loads(lives("stats", "--json", "web").stdout)[0]
        assert stats["memory_bytes"] > 1 << 20
        assert stats["processes"] == 1
        lives("stop", "web")
        assert "web" not in listed(lives)
        ended = listed(lives, "--all")["web"]
        assert (ended["reason"], ended["exit_code"]) == ("stopped", 128 + signal.SIGTERM)
        assert lives("wait", "web", check=128 + signal.SIGTERM)
        assert "tick 2" in lives("logs", "web").stdout

    def test_its_value_and_both_streams_are_kept(self, lives: Belljar) -> None:
        code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(7)"
        detached(lives, "--", PYTHON, "-c", code, name="seven")
        assert lives("wait", "seven", check=7)
        assert lives("logs", "seven").stdout == "out\nerr\n"

    def test_following_ends_with_the_run(self, lives: Belljar) -> None:
        code = "import time; print('one', flush=True); time.sleep(1); print('two')"
        detached(lives, "--", PYTHON, "-c", code, name="short")
        assert lives("logs", "--follow", "short").stdout == "one\ntwo\n"

    def test_much_output_is_cut_at_its_beginning(self, lives: Belljar) -> None:
        code = "for n in range(300_000): print(f'line {n:09d} ' + 'x' * 40)"
        detached(lives, "--", PYTHON, "-c", code, name="loud")
        lives("wait", "loud")
        lines = lives("logs", "loud").stdout.splitlines()
        assert lines[-1].startswith("line 000299999")
        assert 60_000 < len(lines) < 200_000
        assert sum(path.stat().st_size for path in (runs_folder(lives) / "loud").iterdir()) < 9 << 20

    def test_what_cannot_start_says_why_to_the_caller(self, lives: Belljar) -> None:
        done = lives("run", "--detach", "--", "/no/such/program", check=127)
        assert "no such" in done.stderr
        assert not done.stdout

    def test_the_caller_goes_and_it_stays(self, lives: Belljar) -> None:
        detached(lives, "--", PYTHON, "-c", TICKS)
        status = Path(f"/proc/{listed(lives)['web']['supervisor']}/stat").read_text().rpartition(") ")[2].split()
        assert status[3] == str(listed(lives)["web"]["supervisor"])  # a session of its own


class TestNames:
    def test_a_taken_name_gets_a_number_unless_it_was_asked_for(self, lives: Belljar) -> None:
        assert lives("run", "-d", "--", PYTHON, "-c", TICKS).stdout == "python3\n"
        assert lives("run", "-d", "--", PYTHON, "-c", TICKS).stdout == "python3-2\n"
        done = lives("run", "-d", "--name", "python3", "--", PYTHON, "-c", TICKS, check=125)
        assert "an enclave named python3 is running" in done.stderr
        assert "belljar stop python3" in done.stderr

    @pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "-x", "a b", ".new-1", "x" * 41])
    def test_odd_names_are_refused(self, belljar: Belljar, name: str) -> None:
        done = belljar("run", f"--name={name}", "--", "/bin/true", check=125)
        assert "expected up to 40 lower-case letters" in done.stderr

    @pytest.mark.parametrize("command", ["stop", "wait", "logs", "stats", "explain"])
    @pytest.mark.parametrize("name", ["nobody", "..", ".", "a/b", "\udcff"])
    def test_unknown_names_are_named(self, belljar: Belljar, command: str, name: str) -> None:
        done = belljar(command, name, check=125)
        assert "no run is called" in done.stderr

    def test_a_name_is_free_again_after_the_end(self, lives: Belljar) -> None:
        for code in (3, 4):
            detached(lives, "--", "/bin/sh", "-c", f"exit {code}", name="again")
            lives("wait", "again", check=code)


class TestStopping:
    def test_a_program_that_does_not_want_to_is_ended_by_force(self, lives: Belljar) -> None:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
        detached(lives, "--", PYTHON, "-c", code, name="deaf")
        until(lambda: "deaf" in lives("logs", "deaf").stdout)
        started = time.monotonic()
        lives("stop", "--time", "0.5", "deaf")
        assert time.monotonic() - started < 8
        ended = listed(lives, "--all")["deaf"]
        assert (ended["reason"], ended["exit_code"]) == ("stopped", 137)
        assert "by force" in ended["notes"][0]

    @pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e9"])
    def test_odd_times_are_refused(self, lives: Belljar, text: str) -> None:
        detached(lives, "--", PYTHON, "-c", TICKS)
        done = lives("stop", f"--time={text}", "web", check=None)
        assert done.returncode in (2, 125)
        assert "expected seconds" in done.stderr
        assert "web" in listed(lives)


class TestDeath:
    def test_nothing_is_left_of_a_killed_supervisor(self, lives: Belljar) -> None:
        detached(lives, "--", PYTHON, "-c", TICKS)
        os.kill(listed(lives)["web"]["supervisor"], signal.SIGKILL)
        until(lambda: not (runs_folder(lives) / "web").exists())
        assert not listed(lives, "--all").get("web")

    def test_a_stopped_supervisor_is_said_not_to_answer(self, lives: Belljar) -> None:
        detached(lives, "--", PYTHON, "-c", TICKS)
        supervisor = listed(lives)["web"]["supervisor"]
        os.kill(supervisor, signal.SIGSTOP)
        try:
            assert listed(lives)["web"]["state"] == "not answering"
            assert "does not answer" in lives("stats", "web", check=125).stderr
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert listed(lives)["web"]["state"] == "running"

    def test_traces_of_the_dead_are_swept(self, belljar: Belljar) -> None:
        belljar("ps")
        folder = runs_folder(belljar)
        (folder / "ghost").mkdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
            dead.bind(f"/proc/self/fd/{os.open(folder / 'ghost', os.O_RDONLY)}/control")
        (folder / ".new-4194305").mkdir()
        assert "ghost" not in listed(belljar, "--all")
        assert not (folder / "ghost").exists()
        assert not (folder / ".new-4194305").exists()


class TestExec:
    @pytest.fixture
    def enterable(self, lives: Belljar) -> Belljar:
        text = ENTERABLE.format(name="open", python=PYTHON, allowed="true")
        (lives.folder / "open.yaml").write_text(text)
        lives("run", "--detach", "open.yaml")
        return lives

    def test_a_program_joins_confined_as_every_other(self, enterable: Belljar) -> None:
        code = """
        import os
        fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
        names = "CapEff", "CapBnd", "NoNewPrivs", "Seccomp_filters"
        print(os.getuid(), os.getpid() > 2, *(fields[name].strip() for name in names))
        print(os.path.exists("/home"), os.listdir("/proc/self/fd"), sorted(os.environ))
        """
        own = enterable("exec", "open", "--", "python3", "-c", textwrap.dedent(code)).stdout.splitlines()
        assert own[0] == f"1000 True {'0' * 16} {'0' * 16} 1 2"
        assert own[1].startswith("False ['0', '1', '2', '3'] ['HOME'")

    def test_its_value_streams_and_signals_are_passed_on(self, enterable: Belljar) -> None:
        done = enterable("exec", "open", "--", PYTHON, "-c", "print(input()); exit(9)", stdin="typed", check=9)
        assert done.stdout == "typed\n"
        enterable("exec", "open", "--", PYTHON, "-c", "import os; os.kill(os.getpid(), 9)", check=137)
        enterable("exec", "open", "--", "nothing-like-it", check=127)

    def test_it_counts_and_ends_with_the_enclave(self, enterable: Belljar) -> None:
        with enterable.start("exec", "open", "--", PYTHON, "-c", TICKS) as joined:
            assert joined.stdout is not None
            assert joined.stdout.readline() == "tick 0\n"
            assert json.loads(enterable("stats", "--json", "open").stdout)[0]["processes"] == 2
            enterable("stop", "open")
            assert joined.wait(20) == 137

    def test_it_ends_with_its_caller(self, enterable: Belljar) -> None:
        with enterable.start("exec", "open", "--", PYTHON, "-c", TICKS) as joined:
            assert joined.stdout is not None
            assert joined.stdout.readline() == "tick 0\n"
            joined.kill()
        until(lambda: json.loads(enterable("stats", "--json", "open").stdout)[0]["processes"] == 1)

    def test_denied_calls_are_explained_to_the_caller(self, enterable: Belljar) -> None:
        code = "import ctypes; ctypes.CDLL(None).unshare(0x20000); exit(3)"
        done = enterable("exec", "open", "--", PYTHON, "-c", code, check=3)
        assert "system call unshare: denied (EPERM) once" in done.stderr

    def test_a_manifest_that_does_not_allow_it(self, lives: Belljar) -> None:
        text = ENTERABLE.format(name="shut", python=PYTHON, allowed="false")
        (lives.folder / "shut.yaml").write_text(text)
        lives("run", "--detach", "shut.yaml")
        done = lives("exec", "shut", "--", "/bin/sh", check=125)
        assert "insecure_exec: true would" in done.stderr


def test_two_enclaves_see_nothing_of_each_other(lives: Belljar) -> None:
    code = """
    import os, socket, time
    listener = socket.socket(); listener.bind(("127.0.0.1", 4711)); listener.listen()
    open("/tmp/mine", "w").close(); open("/dev/shm/mine", "w").close()
    os.mknod("/tmp/fifo", 0o10600)
    print(sorted(p for p in os.listdir("/proc") if p.isdecimal()), os.listdir("/tmp"), flush=True)
    time.sleep(60)
    """
    for name in ("one", "two"):
        detached(lives, "--", PYTHON, "-c", textwrap.dedent(code), name=name)
    for name in ("one", "two"):
        until(lambda name=name: lives("logs", name).stdout)
        seen = lives("logs", name).stdout
        assert seen.startswith("['2']"), seen
    one, two = listed(lives)["one"], listed(lives)["two"]
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{one['init']}/ns/{kind}") != os.readlink(f"/proc/{two['init']}/ns/{kind}"), kind


def test_odd_packets_are_answered_or_dropped(lives: Belljar) -> None:
    detached(lives, "--", PYTHON, "-c", TICKS)
    directory = os.open(runs_folder(lives) / "web", os.O_RDONLY)
    odd = [b"{", b"[]", b"null", b"{}", b"\0" * 1000, b"[" * 9999]
    odd += [b'{"do": %s}' % what for what in (b"1", b'"nothing"', b'"enter"', b'"signal", "number": 99')]
    for packet in (*odd, b'{"do": "stop", "grace_s": "x"}'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(f"/proc/self/fd/{directory}/control")
            socket.send_fds(client, [packet], [0, 1, 2])
            assert "error" in json.loads(client.recv(1 << 17))
    crowd = []
    for _ in range(200):
        crowd.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        crowd[-1].setblocking(False)
        try:
            crowd[-1].connect(f"/proc/self/fd/{directory}/control")
        except OSError:
            pass
    for client in crowd:
        client.close()
    os.close(directory)
    until(lambda: listed(lives)["web"]["state"] == "running")


def test_ordinary_users_have_the_same(ordinary: Belljar) -> None:
    (ordinary.folder / "open.yaml").write_text(ENTERABLE.format(name="open", python=PYTHON, allowed="true"))
    ordinary("run", "--detach", "open.yaml")
    try:
        code = "import os; print(os.getuid(), open('/proc/self/status').read().count('CapEff:\\t0000000000000000'))"
        assert ordinary("exec", "open", "--", PYTHON, "-c", code).stdout == "1000 1\n"
        assert "open" in listed(ordinary)
    finally:
        ordinary("stop", "open")
    assert listed(ordinary, "--all")["open"]["reason"] == "stopped"


def test_another_users_runs_are_out_of_reach(lives: Belljar, ordinary: Belljar) -> None:
    detached(lives, "--", PYTHON, "-c", TICKS)
    ordinary.environment["BELLJAR_RUNTIME_DIR"] = str(runs_folder(lives))
    done = ordinary("ps", check=125)
    assert "cannot be used" in done.stderr
    path = runs_folder(lives) / "web" / "control"
    tried = subprocess.run([*ordinary.prefix, "/bin/ls", str(path)], capture_output=True, text=True, check=False)
    assert "Permission denied" in tried.stderr

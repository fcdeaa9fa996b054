"""The resident launcher: a run through it is the run it would have been without, only sooner (IEEE 2952 7.3, B d)."""

from __future__ import annotations

import json
import marshal
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from belljar.loader.resident import wire
from support.running import PYTHON, Belljar

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"


class Served:
    """Belljar with a launcher of its own."""

    def __init__(self, belljar: Belljar, folder: Path) -> None:
        self.belljar = belljar
        self.runs = folder
        belljar.environment["BELLJAR_RUNTIME_DIR"] = str(folder)

    def start(self, *words: str) -> None:
        self.belljar("serve", "--detach", *words)

    def status(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.belljar("serve", "--status", "--json").stdout)
        return found

    def until_ready(self, number: int = 1) -> None:
        until(lambda: self.status()["ready"] >= number)

    def serves(self, *words: str, check: int = 0) -> subprocess.CompletedProcess[str]:
        """Run something that the launcher must serve."""
        before = self.status()["served"]
        done = self.belljar("run", *words, check=check)
        assert self.status()["served"] == before + 1
        return done

    def leaves_alone(self, *words: str, check: int = 0) -> subprocess.CompletedProcess[str]:
        """Run something that the launcher must not serve."""
        before = self.status()["served"]
        done = self.belljar("run", *words, check=check)
        assert self.status()["served"] == before
        return done


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_of(runs: Path) -> list[int]:
    """Return processes that have the folder of runs in their environment."""
    found: list[int] = []
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdecimal() and os.fsencode(runs) in Path(entry.path, "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def settled(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which there are launch records of `/bin/true` and Python."""
    folder = tmp_path_factory.mktemp("settled")
    belljar = Belljar(cache=cache, folder=folder)
    for pause_s in (2.1, 0):  # what is younger is looked at again
        belljar("run", "--", "/bin/true")
        belljar.python("pass")
        time.sleep(pause_s)
    return folder


@pytest.fixture
def served(settled: Path, cache: Path, tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o700)
    belljar = Belljar(cache=cache, folder=settled)
    served = Served(belljar, folder)
    served.start()
    yield served
    belljar("serve", "--stop")
    until(lambda: not processes_of(folder))
    assert [name for name in os.listdir(folder) if name.startswith(".")] == []


class TestARunThroughTheLauncher:
    def test_is_like_any_other(self, served: Served) -> None:
        served.serves("--", "/bin/true")
        served.until_ready()
        assert served.serves("--", "/bin/true").returncode == 0
        code = "import sys, os; print(sys.stdin.read(), sys.argv[1:], os.environ.get('LANG')); sys.exit(7)"
        words = ("--", PYTHON, "-c", code, "a b", "ü")
        served.belljar.environment["LANG"] = "C.UTF-8"
        plain = served.belljar("run", *words, stdin="typed", check=7)
        for _ in range(2):
            done = served.belljar("run", *words, stdin="typed", check=7)
            assert (done.stdout, done.stderr) == (plain.stdout, plain.stderr)
            assert "typed ['a b', 'ü'] C.UTF-8" in done.stdout

    def test_uses_the_enclave_that_stands_ready(self, served: Served) -> None:
        served.serves("--", "/bin/true")
        served.until_ready()
        spares = {pid for pid in processes_of(served.runs) if b"belljar-init" in Path(f"/proc/{pid}/comm").read_bytes()}
        process = served.belljar.start("run", "--name", "here", "--", "/bin/true")
        assert process.wait(timeout=30) == 0
        process.communicate()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in spares))

    def test_sees_every_change_of_its_files(self, served: Served) -> None:
        served.belljar.folder = served.runs.parent / "work"
        served.belljar.folder.mkdir()
        script = served.belljar.folder / "said.py"
        for word in ("one", "two"):
            script.write_text(f"print({word!r})\n")
            assert served.belljar("run", "said.py").stdout == f"{word}\n"

    def test_has_the_measurement_of_its_own_arguments(self, served: Served) -> None:
        words = ("--", "/bin/echo", "one")
        served.belljar("run", *words)
        found = [served.belljar("run", "-v", "--", "/bin/echo", word).stderr.splitlines()[0] for word in ("one", "two")]
        served.belljar("serve", "--stop")
        plain = [served.belljar("run", "-v", "--", "/bin/echo", word).stderr.splitlines()[0] for word in ("one", "two")]
        assert found == plain
        assert plain[0] != plain[1]
        served.start()

    def test_tells_its_result(self, served: Served) -> None:
        reader, writer = os.pipe()
        with os.fdopen(reader) as pipe:
            command = served.belljar.command("run", "--result", str(writer), "--", "/bin/sh", "-c", "exit 3")
            environment = served.belljar.environ()
            for _ in range(2):
                process = subprocess.Popen(
                    command, pass_fds=[writer], cwd=served.belljar.folder, env=environment, stderr=subprocess.DEVNULL
                )
                assert process.wait(timeout=60) == 3
            os.close(writer)
            assert pipe.read().count('"exit_code": 3') == 2

    def test_has_the_callers_terminal(self, served: Served) -> None:
        code = "import os; print(os.isatty(0), *os.get_terminal_size())"
        command = served.belljar.command("run", "--", PYTHON, "-c", code)
        served.belljar("run", "--", PYTHON, "-c", code, check=1)  # no terminal: but there is a record now
        before = served.status()["served"]
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(served.belljar.folder)
            os.execve(command[0], command, served.belljar.environ())
        seen = b""
        while b"\n" not in seen:
            seen += os.read(master, 1000)
        assert seen.startswith(b"True ")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(master)
        assert served.status()["served"] == before + 1


class TestItsCaller:
    def started(self, served: Served) -> subprocess.Popen[str]:
        process = served.belljar.start("run", "--name", "sleeper", "--", PYTHON, "-c", SLEEPER)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert served.status()["running"] == 1
        return process

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
    def test_passes_signals_on(self, served: Served, number: signal.Signals) -> None:
        process = self.started(served)
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
        process.communicate()
        until(lambda: served.status()["running"] == 0)

    def test_takes_the_enclave_with_it_when_it_is_killed(self, served: Served) -> None:
        process = self.started(served)
        process.kill()
        process.communicate()
        until(lambda: served.status()["running"] == 0)
        assert "sleeper" not in served.belljar("ps").stdout

    def test_is_told_when_the_supervisor_is_killed(self, served: Served) -> None:
        process = self.started(served)
        runs = json.loads(served.belljar("ps", "--json").stdout)
        os.kill(next(run["supervisor"] for run in runs if run["name"] == "sleeper"), signal.SIGKILL)
        assert process.wait(timeout=30) == 125
        assert process.communicate()[1].strip() == "belljar: error: the supervisor of this run was killed"
        assert "sleeper" not in served.belljar("ps").stdout

    def test_keeps_its_run_when_the_launcher_is_killed(self, served: Served) -> None:
        process = self.started(served)
        launcher = served.status()["pid"]
        os.kill(launcher, signal.SIGKILL)
        until(lambda: served.belljar("serve", "--status", check=None).returncode == 125)
        assert "sleeper" in served.belljar("ps").stdout
        served.belljar("run", "--", "/bin/true")
        served.start()  # the socket of the dead one is no obstacle
        assert served.status()["pid"] != launcher
        served.belljar("stop", "sleeper")
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
        process.communicate()

    def test_that_comes_and_goes_harms_nobody(self, served: Served) -> None:
        for moment in range(12):
            process = served.belljar.start("run", "--", "sleep", "30", new_session=True)
            time.sleep(0.02 * moment)
            process.kill()
            process.communicate()
        served.serves("--", "/bin/true")
        until(lambda: served.status()["running"] == 0)


class TestWhoIsServed:
    def test_whoever_sees_other_files_is_not(self, served: Served) -> None:
        if os.geteuid() != 0:
            pytest.skip("a mount namespace of one's own, with the same ids, is for root")
        served.belljar.prefix = ["unshare", "--mount"]
        served.leaves_alone("--", "/bin/true")

    def test_whoever_may_less_is_not(self, served: Served) -> None:
        served.belljar.prefix = ["setpriv", "--no-new-privs"]
        served.leaves_alone("--", "/bin/true")
        served.belljar.prefix = ["prlimit", "--cpu=100"]
        served.leaves_alone("--", "/bin/true")

    def test_whoever_does_not_want_to_be_is_not(self, served: Served) -> None:
        served.belljar.environment["BELLJAR_LAUNCHER"] = "off"
        served.leaves_alone("--", "/bin/true")

    def test_what_must_be_prepared_or_explained_is_not(self, served: Served) -> None:
        served.leaves_alone("--fresh", "--", "/bin/true")
        served.leaves_alone("--dry-run", "--", "/bin/true")
        assert "no such" in served.belljar("run", "none.py", check=125).stderr

    def test_words_that_are_no_request_are_not(self, served: Served) -> None:
        for word in (b"", b"run", b"\xff" * 60, b"status" * 10):
            line = wire.call(str(served.runs))
            assert line is not None
            line.send(word or b"x")
            assert wire.take(line)[0] in (wire.COLD, b"")
            line.close()
        stamp, pair = wire.installation(), (("A", "b"),)
        hostile: list[Any] = [
            (),
            "nonsense",
            (stamp, pair, ("--", "/bin/true"), 1, pair),
            (stamp, pair, ("--", 7), "/", pair),
            (stamp, pair, 7, "/", pair),
            (stamp, pair, ("--", "/bin/true"), "/", (("A=\0", "b"),)),
            (stamp, pair, ("--", "/bin/true"), "/", (("A", "b", "c"),)),
            (stamp, pair, ("--", "/bin/true"), "/none", pair),
        ]
        for content in (b"\x00nonsense", *map(marshal.dumps, hostile)):
            nonsense = os.memfd_create("nonsense")
            os.write(nonsense, content)
            line = wire.call(str(served.runs))
            assert line is not None
            wire.hand_on(line, [nonsense, 0, 1, 2])
            assert wire.take(line)[0] == wire.COLD
            line.close()
            os.close(nonsense)
        served.serves("--", "/bin/true")


class TestTheLauncher:
    def test_a_second_one_is_refused(self, served: Served) -> None:
        for words in (("serve",), ("serve", "--detach")):
            refused = served.belljar(*words, check=125)
            assert f"a launcher is serving {served.runs} already" in refused.stderr

    def test_one_that_does_not_answer_is_not_waited_for(self, served: Served) -> None:
        pid = served.status()["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            served.belljar("run", "--", "/bin/true")
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_keeps_no_more_enclaves_ready_than_it_may(self, served: Served) -> None:
        served.belljar("serve", "--stop")
        served.start("--spares", "2")
        for word in ("/bin/true", "/bin/false", "/bin/pwd"):
            served.belljar("run", "--", word, check=None)
            served.belljar("run", "--", word, check=None)
        time.sleep(1)
        assert served.status()["ready"] + served.status()["building"] <= 2

    def test_ends_when_nobody_calls(self, belljar: Belljar, tmp_path: Path) -> None:
        folder = tmp_path / "runs"
        folder.mkdir(mode=0o700)
        belljar.environment["BELLJAR_RUNTIME_DIR"] = str(folder)
        belljar("serve", "--idle", "0.5", timeout=30)
        assert os.listdir(folder) == []

    def test_starts_on_demand(self, belljar: Belljar, tmp_path: Path) -> None:
        folder = tmp_path / "runs"
        folder.mkdir(mode=0o700)
        belljar.environment.update(BELLJAR_RUNTIME_DIR=str(folder), BELLJAR_LAUNCHER="auto")
        belljar("run", "--", "/bin/true")
        until(lambda: belljar("serve", "--status", check=None).returncode == 0)
        belljar("serve", "--stop")
        until(lambda: not processes_of(folder))

    def test_says_what_is_wrong_with_its_options(self, belljar: Belljar) -> None:
        for words, said in (
            (("--spares", "0"), "--spares 0: expected a number from 1 to 64"),
            (("--idle", "nan"), "--idle nan: expected seconds"),
            (("now",), "unexpected now"),
        ):
            assert said in belljar("serve", *words, check=2).stderr

    def test_its_absence_is_told(self, belljar: Belljar, tmp_path: Path) -> None:
        folder = tmp_path / "runs"
        folder.mkdir(mode=0o700)
        belljar.environment["BELLJAR_RUNTIME_DIR"] = str(folder)
        assert f"no launcher is serving {folder}" in belljar("serve", "--status", check=125).stderr
        belljar("serve", "--stop")

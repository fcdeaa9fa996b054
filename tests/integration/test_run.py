"""`belljar run`: an unmodified program behaves in an enclave as it does outside (IEEE 2952 5.1.3, 5.2.1.1, 5.2.1.3)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

from support.running import PYTHON, SCRIPT, Belljar


def test_six_times_seven(belljar: Belljar) -> None:
    done = belljar.python("print(6*7)")
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_a_script_of_this_folder(belljar: Belljar) -> None:
    (belljar.folder / "app.py").write_text("import sys, helper; print(sys.argv[1:], helper.X, __file__)")
    (belljar.folder / "helper.py").write_text("X = 'helped'")
    for script in ("app.py", f"{belljar.folder}/app.py"):
        command = [PYTHON, script, "a", "--b"]
        outside = subprocess.run(command, cwd=belljar.folder, capture_output=True, text=True, check=True)
        assert belljar("run", "--", *command).stdout == outside.stdout


def test_a_script_without_naming_the_interpreter(belljar: Belljar) -> None:
    (belljar.folder / "app.py").write_text("import sys; print(sys.argv[1:])")
    belljar.environment["PATH"] = "/usr/bin:/bin"
    assert belljar("run", "app.py", "--verbose", "x").stdout == "['--verbose', 'x']\n"


def test_a_script_of_another_folder(belljar: Belljar, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("print('found')")
    assert belljar("run", "--", PYTHON, str(tmp_path / "elsewhere.py")).stdout == "found\n"


def test_a_program_that_is_no_python(belljar: Belljar) -> None:
    (belljar.folder / "x").write_text("content")
    assert belljar("run", "--", "cat", "x").stdout == "content"


def test_a_script_with_a_shebang(belljar: Belljar) -> None:
    script = belljar.folder / "tool"
    script.write_text("#!/usr/bin/env -S sh -e\necho $0 $1\n")
    script.chmod(0o755)
    assert belljar("run", "--", "./tool", "x").stdout == "./tool x\n"


class TestStandardStreams:
    def test_are_kept_apart(self, belljar: Belljar) -> None:
        done = belljar.python("import sys; print('out'); print('err', file=sys.stderr)")
        assert (done.stdout, done.stderr) == ("out\n", "err\n")

    def test_standard_input_is_the_callers(self, belljar: Belljar) -> None:
        done = belljar("run", "--", PYTHON, "-c", "print(input()[::-1])", stdin="abc\n")
        assert done.stdout == "cba\n"

    def test_may_be_files(self, belljar: Belljar, tmp_path: Path) -> None:
        source, target = tmp_path / "in", tmp_path / "out"
        source.write_bytes(os.urandom(3 << 20))
        with source.open("rb") as stdin, target.open("wb") as stdout:
            subprocess.run(
                belljar.command("run", "--", "cat"), stdin=stdin, stdout=stdout, env=belljar.environ(), check=True,
                cwd=belljar.folder,
            )  # fmt: skip
        assert source.read_bytes() == target.read_bytes()

    def test_may_be_closed(self, belljar: Belljar) -> None:
        code = f"{PYTHON} -c 'import os; print(os.fstat(0), sorted(os.listdir(\"/proc/self/fd\"))[:3])'"
        done = subprocess.run(
            ["sh", "-c", f"{SCRIPT} run -- {code} <&-"], env=belljar.environ(), cwd=belljar.folder,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "['0', '1', '2']" in done.stdout

    def test_a_reader_that_goes_away_ends_the_program(self, belljar: Belljar) -> None:
        with belljar.start("run", "--", "yes") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "y\n"
            process.stdout.close()
            assert process.wait(timeout=20) == 128 + signal.SIGPIPE

    def test_a_pipe_ends_when_the_program_closes_it(self, belljar: Belljar) -> None:
        code = "import os, time; os.write(1, b'x'); os.close(1); time.sleep(30)"
        with belljar.start("run", "--", PYTHON, "-c", code) as process:
            assert process.stdout is not None
            assert process.stdout.read() == "x"
            process.terminate()
            assert process.wait(timeout=20) == 128 + signal.SIGTERM


class TestExitCodes:
    @pytest.mark.parametrize("code", [0, 1, 7, 124, 125, 255])
    def test_are_the_programs_own(self, belljar: Belljar, code: int) -> None:
        belljar.python(f"raise SystemExit({code})", check=code)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
    def test_a_signal_is_128_more(self, belljar: Belljar, number: signal.Signals) -> None:
        done = belljar.python(f"import os; os.kill(os.getpid(), {int(number)})", check=128 + number)
        assert not done.stderr.startswith("belljar: error")

    def test_no_such_program(self, belljar: Belljar) -> None:
        done = belljar("run", "--", "nosuchprogram", check=127)
        assert done.stderr == "belljar: error: nosuchprogram: no such program on the PATH\n"

    def test_not_executable(self, belljar: Belljar) -> None:
        (belljar.folder / "data").write_text("x")
        done = belljar("run", "--", "./data", check=126)
        assert "belljar: error: ./data: is not executable\nbelljar: hint: chmod +x ./data" in done.stderr

    def test_a_folder_is_no_program(self, belljar: Belljar) -> None:
        assert "is a directory, expected a program" in belljar("run", "--", "/usr", check=126).stderr

    def test_neither_program_nor_script(self, belljar: Belljar) -> None:
        (belljar.folder / "data").write_text("x")
        (belljar.folder / "data").chmod(0o755)
        assert "neither an ELF program nor a script" in belljar("run", "--", "./data", check=126).stderr

    def test_nothing_to_run(self, belljar: Belljar) -> None:
        assert "belljar: error: nothing to run\nbelljar: hint: belljar run --" in belljar("run", check=125).stderr

    def test_an_unknown_option(self, belljar: Belljar) -> None:
        assert "unknown option --nosuch" in belljar("run", "--nosuch", "--", "x", check=125).stderr

    def test_no_such_script(self, belljar: Belljar) -> None:
        assert "belljar: error: none.py: no such script" in belljar("run", "none.py", check=125).stderr

    def test_no_such_manifest(self, belljar: Belljar) -> None:
        done = belljar("run", "none.yaml", check=125)
        assert "none.yaml: cannot read the manifest: No such file or directory" in done.stderr


class TestTheWorldInside:
    def test_is_pid_2_of_an_ordinary_user(self, belljar: Belljar) -> None:
        code = "import os, pwd; print(os.getpid(), os.getppid(), os.getuid(), pwd.getpwuid(1000).pw_name)"
        assert belljar.python(code).stdout == "2 1 1000 user\n"

    def test_arguments_arrive_as_they_are(self, belljar: Belljar) -> None:
        words = ["", " ", "ü€\U0001f512", "'\"\\", "-x", "--", "a\nb", "${python}", "$HOME", "*"]
        done = belljar.python("import sys, json; print(json.dumps(sys.argv[1:]))", *words)
        assert json.loads(done.stdout) == words

    def test_the_environment_is_not_the_callers(self, belljar: Belljar) -> None:
        belljar.environment.update(AWS_SECRET="hunter2", LC_ALL="C.UTF-8", PYTHONUNBUFFERED="1")
        done = belljar.python("import os, json; print(json.dumps(dict(os.environ)))")
        environment = json.loads(done.stdout)
        assert "AWS_SECRET" not in environment
        assert environment["LC_ALL"] == "C.UTF-8"
        assert environment["PYTHONUNBUFFERED"] == "1"
        assert environment["HOME"] == "/tmp"

    def test_the_tree_cannot_be_changed(self, belljar: Belljar) -> None:
        (belljar.folder / "file").write_text("x")
        code = """
        import os
        for attempt in (
            lambda: open("file", "a"), lambda: open("new", "w"), lambda: os.remove("file"), lambda: os.chmod("file", 0),
            lambda: os.mkdir("folder"), lambda: os.rename("file", "other"), lambda: os.utime("file"),
            lambda: os.symlink("x", "y"), lambda: open("/usr/new", "w"), lambda: open("/new", "w"),
            lambda: os.link("file", "z"), lambda: os.truncate("file", 0), lambda: os.setxattr("file", "user.x", b"1"),
        ):
            try:
                attempt()
            except OSError as error:
                print(error.strerror)
            else:
                print("DONE")
        """
        assert set(belljar.python(textwrap.dedent(code)).stdout.splitlines()) <= {
            "Read-only file system", "Permission denied", "Operation not permitted",
        }  # fmt: skip
        assert (belljar.folder / "file").read_text() == "x"

    def test_temporary_files_are_private(self, belljar: Belljar) -> None:
        marker = Path(tempfile.gettempdir(), f"belljar-{os.getpid()}-marker")
        marker.touch()
        try:
            code = "import os, tempfile; f = tempfile.NamedTemporaryFile(); print(f.name, os.listdir('/tmp'))"
            done = belljar.python(code)
        finally:
            marker.unlink()
        assert done.stdout.startswith("/tmp/")
        assert marker.name not in done.stdout

    def test_a_home_is_not_brought_in(self, belljar: Belljar, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home/secret").write_text("x")
        belljar.environment["HOME"] = str(tmp_path / "home")
        belljar.folder = tmp_path / "home"
        assert belljar.python("import os; print(os.listdir('.'))").stdout == "[]\n"
        done = belljar.python("open('secret')", check=1)
        assert "note: the working directory" in done.stderr
        assert "is a home or system folder, so only files you name were brought in" in done.stderr

    def test_host_files_are_not_there(self, belljar: Belljar) -> None:
        places = ["/root", "/home", "/etc/shadow", "/var", "/boot", "/srv", "/run", "/opt", "/usr/sbin"]
        assert belljar.python(f"import os; print([p for p in {places} if os.path.exists(p)])").stdout == "[]\n"

    def test_devices(self, belljar: Belljar) -> None:
        code = """
        import os
        assert open("/dev/zero", "rb").read(3) == bytes(3)
        assert len(open("/dev/urandom", "rb").read(16)) == 16
        open("/dev/null", "w").write("x")
        try:
            open("/dev/full", "w", buffering=1).write("x\\n")
        except OSError as error:
            print(error.strerror)
        os.write(os.open("/dev/stdout", os.O_WRONLY), b"through /dev/stdout\\n")
        print(sorted(os.listdir("/dev")))
        """
        through, full, names = belljar.python(textwrap.dedent(code)).stdout.splitlines()
        assert (through, full) == ("through /dev/stdout", "No space left on device")
        assert names == str(
            [
                "fd",
                "full",
                "null",
                "ptmx",
                "pts",
                "random",
                "shm",
                "stderr",
                "stdin",
                "stdout",
                "tty",
                "urandom",
                "zero",
            ]
        )

    def test_proc_shows_the_enclave_only(self, belljar: Belljar) -> None:
        code = "import os; print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))"
        assert belljar.python(code).stdout == "[2]\n"

    def test_it_knows_its_name_and_its_user(self, belljar: Belljar) -> None:
        code = "import socket, getpass, os; print(socket.gethostname(), getpass.getuser(), os.path.expanduser('~'))"
        (belljar.folder / "My App.py").write_text(code)
        assert belljar("run", "--", PYTHON, "My App.py").stdout == "my-app user /tmp\n"

    def test_loopback_is_there_and_the_host_is_not(self, belljar: Belljar) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            code = f"""
            import socket, threading
            mine = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=lambda: mine.accept()[0].sendall(b"hello")).start()
            print(socket.create_connection(mine.getsockname()).recv(5).decode())
            print(socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4])
            for address in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
                try:
                    socket.create_connection(address, timeout=5)
                except OSError as error:
                    print(error.strerror)
            print([name for _, name in socket.if_nameindex()])
            """
            lines = belljar.python(textwrap.dedent(code)).stdout.splitlines()
        assert lines[:2] == ["hello", "('127.0.0.1', 80)"]
        assert lines[2:4] == ["Connection refused", "Network is unreachable"]
        assert "lo" in lines[4]


PROGRAMS = {
    "threads": """
        import threading
        seen = []
        threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(20)]
        [t.start() for t in threads]; [t.join() for t in threads]
        print(sorted(seen))
        """,
    "fork": """
        import os
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
    "subprocess": """
        import subprocess, sys
        print(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout)
        """,
    "shell": """
        import os, subprocess
        print(os.system("exit 3") >> 8, subprocess.getoutput("echo $((6*7))"))
        """,
    "pool": """
        import multiprocessing
        if __name__ == "__main__":
            print(multiprocessing.Pool(2).map(abs, [-1, -2]))
        """,
    "spawn": """
        import multiprocessing, os
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=os.getpid)
            process.start(); process.join()
            print(process.exitcode)
        """,
    "forkserver": """
        import multiprocessing, os
        if __name__ == "__main__":
            context = multiprocessing.get_context("forkserver")
            process = context.Process(target=os.getpid)
            process.start(); process.join()
            print(process.exitcode)
        """,
    "shared memory": """
        from multiprocessing import shared_memory
        memory = shared_memory.SharedMemory(create=True, size=10)
        memory.buf[0] = 7
        print(memory.buf[0])
        memory.close(); memory.unlink()
        """,
    "asyncio": """
        import asyncio
        async def main():
            process = await asyncio.create_subprocess_exec("sh", "-c", "echo async", stdout=-1)
            print((await process.communicate())[0])
        asyncio.run(main())
        """,
    "sqlite": """
        import sqlite3, tempfile
        database = sqlite3.connect(tempfile.mkdtemp() + "/x.db")
        database.execute("pragma journal_mode=wal")
        database.execute("create table t(a)"); database.execute("insert into t values (1)"); database.commit()
        print(list(database.execute("select * from t")))
        """,
    "ssl": """
        import ssl
        print(ssl.create_default_context().cert_store_stats()["x509_ca"] > 0)
        """,
    "zoneinfo": """
        import datetime, zoneinfo
        print(datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset())
        """,
    "ctypes": """
        import ctypes
        print(ctypes.CDLL(None).abs(-3))
        print(ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)())
        """,
    "mmap": """
        import mmap, sys
        with open(sys.executable, "rb") as file:
            print(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:4])
        """,
    "encoding": """
        import locale, sys
        print(sys.stdout.encoding, locale.getpreferredencoding(), sys.getfilesystemencoding())
        """,
    "timers": """
        import signal, time
        signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(0.2)
        """,
    "descriptors": """
        import os
        e = os.eventfd(0); os.eventfd_write(e, 5); print(os.eventfd_read(e))
        m = os.memfd_create("x"); print(os.write(m, b"12"))
        r, w = os.pipe(); print(os.write(w, b"123"), os.read(r, 9))
        """,
    "special files": """
        import os, socket, tempfile
        os.chdir(tempfile.mkdtemp())
        os.mkfifo("fifo"); print(oct(os.stat("fifo").st_mode))
        listener = socket.socket(socket.AF_UNIX); listener.bind("socket"); listener.listen()
        client = socket.socket(socket.AF_UNIX); client.connect("socket"); print("connected")
        """,
    "pseudo-terminal": """
        import os, pty
        pid, terminal = pty.fork()
        if pid == 0:
            os.execlp("sh", "sh", "-c", "echo inside")
        print(os.read(terminal, 100))
        """,
    "zip": """
        import io, pickle, zipfile
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a", "b")
        print(pickle.loads(pickle.dumps(zipfile.ZipFile(buffer).read("a"))))
        """,
    "imports": """
        import csv, decimal, email, html, http.client, json, logging, tomllib, unittest, urllib.request, xml.dom
        print("imported")
        """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_works_outside_works_inside(belljar: Belljar, name: str) -> None:
    (belljar.folder / "program.py").write_text(textwrap.dedent(PROGRAMS[name]))
    inside = belljar("run", "--", PYTHON, "program.py")
    outside = subprocess.run([PYTHON, "program.py"], cwd=belljar.folder, capture_output=True, text=True, check=True)
    assert inside.stdout == outside.stdout
    assert inside.stdout


class TestProcesses:
    def test_zombies_are_reaped(self, belljar: Belljar) -> None:
        code = """
        import os, time
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.1)
            os._exit(0)
        os.wait()
        time.sleep(0.4)
        print([p for p in os.listdir("/proc") if p.isdigit() and p != "2"])
        """
        assert belljar.python(textwrap.dedent(code)).stdout == "[]\n"

    def test_what_the_program_leaves_ends_with_it(self, belljar: Belljar) -> None:
        code = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            os.close(1); os.close(2)
            time.sleep(300)
        print("bye")
        """
        assert belljar.python(textwrap.dedent(code), timeout=60).stdout == "bye\n"

    def test_a_handler_sees_the_callers_signal(self, belljar: Belljar) -> None:
        code = """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"handled\\n"), sys.exit(5)))
        os.write(1, b"ready\\n")  # print refuses to be called from a handler that interrupts print
        for _ in range(600):  # CPython sleeps on if a signal comes just before it starts to
            time.sleep(0.1)
        """
        with belljar.start("run", "--", PYTHON, "-c", textwrap.dedent(code)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.terminate()
            out, err = process.communicate(timeout=20)
            assert (out, process.returncode) == ("handled\n", 5), err

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
    def test_signals_are_forwarded(self, belljar: Belljar, number: signal.Signals) -> None:
        code = (
            f"import signal, time; signal.signal({int(number)}, signal.SIG_DFL)\nprint('', flush=True); time.sleep(60)"
        )
        with belljar.start("run", "--", PYTHON, "-c", code) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            assert process.wait(timeout=20) == 128 + number

    def test_a_second_interrupt_ends_it(self, belljar: Belljar) -> None:
        code = "import signal, time; signal.signal(2, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
        with belljar.start("run", "--", PYTHON, "-c", code) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
            assert "ended by a second SIGINT" in process.stderr.read()

    def test_a_signal_before_the_program_runs_is_not_lost(self, belljar: Belljar) -> None:
        belljar.python("pass")
        for _ in range(5):
            with belljar.start("run", "--", "sleep", "60") as process:
                process.terminate()
                assert process.wait(timeout=20) in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_several_at_once(belljar: Belljar) -> None:
    belljar.python("pass")
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(belljar.python(f"print({n})").stdout)) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [f"{n}\n" for n in range(6)]


def test_help_and_version(belljar: Belljar) -> None:
    assert "run       " in belljar("--help").stdout.replace("run     ", "run       ")
    assert belljar("--version").stdout.startswith("belljar ")
    for command in ("run", "measure", "check", "schema"):
        assert belljar(command, "--help").stdout.startswith(f"usage: belljar {command}")
    assert "unknown command frobnicate" in belljar("frobnicate", check=2).stderr
    assert sys.version_info >= (3, 11)


class TestOtherProgramsOfACommand:
    def test_a_shell_finds_the_programs_it_is_told_to_run(self, belljar: Belljar) -> None:
        done = belljar(
            "run", "--", "sh", "-c", "printf 'b\\na\\n' | sort | tr a-z A-Z; ls / | wc -l >/dev/null; echo $?"
        )
        assert done.stdout.split() == ["A", "B", "0"]

    def test_a_wrapper_finds_the_program_it_wraps(self, belljar: Belljar) -> None:
        code = "import os; print(os.environ['A'])"
        assert belljar("run", "--", "env", "A=1", "timeout", "9", PYTHON, "-c", code).stdout == "1\n"

    def test_words_that_are_no_programs_do_no_harm(self, belljar: Belljar) -> None:
        (belljar.folder / "bin").mkdir()
        (belljar.folder / "bin/odd").write_text("neither ELF nor script\n")
        (belljar.folder / "bin/lost").write_text("#!/no/such/interpreter\n")
        for name in ("odd", "lost"):
            (belljar.folder / "bin" / name).chmod(0o755)
        belljar.environment["PATH"] = f"{belljar.folder}/bin:/usr/bin:/bin"
        assert "Unterminated" in belljar("run", "--", "sh", "-c", "echo odd; echo 'lost", check=2).stderr
        assert belljar("run", "--", "sh", "-c", "echo odd lost").stdout == "odd lost\n"

    def test_files_that_every_enclave_has_of_its_own_are_not_brought_in(self, belljar: Belljar) -> None:
        assert belljar("run", "--", "cat", "/proc/1/comm", check=None).stdout in ("", "belljar-init\n")
        assert belljar("run", "--", "cat", "/dev/null").stdout == ""

"""A terminal in an enclave: the guest has one of its own, and what a person types and sees is the same."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from support.running import PYTHON, Belljar

PATIENCE_S = 30


class Person:
    """Somebody at a terminal who has started belljar."""

    def __init__(
        self, belljar: Belljar, *words: str, rows: int = 33, columns: int = 101, stdin: int | None = None
    ) -> None:
        self.terminal, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.seen = self.shown = ""
        self.process = subprocess.Popen(
            belljar.command(*words), cwd=belljar.folder, env=belljar.environ() | {"TERM": "xterm"},
            stdin=slave if stdin is None else stdin, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
        )  # fmt: skip

    def types(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def sees(self, pattern: str) -> None:
        """Wait until `pattern` has appeared; what came up to its end is in `shown`."""
        deadline = time.monotonic() + PATIENCE_S
        while (match := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"never saw {pattern!r}, only {self.seen!r}"
            if select.select([self.terminal], [], [], left)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        self.shown = self.seen[: match.end()]
        self.seen = self.seen[match.end() :]

    def leaves(self) -> int:
        """Wait until belljar has ended; returns its exit code."""
        code = self.process.wait(timeout=PATIENCE_S)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal was not put back as it was"
        return code


@pytest.fixture
def persons() -> Iterator[list[Person]]:
    present: list[Person] = []
    yield present
    for person in present:
        if person.process.poll() is None:
            person.process.kill()
            person.process.wait()
        os.close(person.terminal)
        os.close(person.slave)


def test_the_interactive_interpreter(belljar: Belljar, persons: list[Person]) -> None:
    belljar.python("pass")
    person = Person(belljar, "run", "--", PYTHON, "-q")
    persons.append(person)
    person.sees(">>> ")
    person.types("6*7\n")
    person.sees(r"\b42\r\n>>> ")
    person.types("import os, sys; os.isatty(0), os.isatty(1), os.ttyname(0)\n")
    person.sees(r"\(True, True, '/dev/pts/0'\)")
    person.types("os.get_terminal_size()\n")
    person.sees(r"columns=101, lines=33")
    person.types("while True: pass\n\n")
    time.sleep(0.5)
    person.types("\x03")
    person.sees("KeyboardInterrupt")
    person.types("exit(6)\n")
    assert person.leaves() == 6


def test_a_program_that_joins_has_a_terminal_too(belljar: Belljar, persons: list[Person]) -> None:
    manifest = f"belljar: 1\nname: open\nextends: [python]\nprograms: [{PYTHON}]\ninsecure_exec: true\n"
    (belljar.folder / "m.yaml").write_text(manifest + f"argv: [{PYTHON}, -c, 'import time; time.sleep(60)']\n")
    belljar("run", "--detach", "m.yaml")
    try:
        person = Person(belljar, "exec", "open", "--", "python3", "-q")
        persons.append(person)
        person.sees(">>> ")
        person.types("import os; os.isatty(0), os.ttyname(1), os.get_terminal_size()\n")
        person.sees(r"\(True, '/dev/pts/\d', os.terminal_size\(columns=101, lines=33\)\)")
        person.types("exit(6)\n")
        assert person.leaves() == 6
    finally:
        belljar("stop", "open")


def test_a_new_window_size_arrives(belljar: Belljar, persons: list[Person]) -> None:
    code = """
import os, signal, time
signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b"now %d %d\\n" % os.get_terminal_size()))
print("ready", flush=True)
while True: time.sleep(0.1)
"""
    person = Person(belljar, "run", "--", PYTHON, "-c", code)
    persons.append(person)
    person.sees("ready")
    person.resize(50, 120)
    person.sees("now 120 50")
    person.types("\x1c")
    assert person.leaves() == 128 + signal.SIGQUIT


def test_job_control(belljar: Belljar, persons: list[Person]) -> None:
    manifest = "belljar: 1\nname: shell\nextends: [minimal]\nprograms: [sh, cat]\nargv: [sh, -i]\n"
    (belljar.folder / "shell.yaml").write_text(manifest)
    person = Person(belljar, "run", "shell.yaml")
    persons.append(person)
    person.sees(r"\$ ")
    person.types("cat\n")
    time.sleep(0.3)
    person.types("\x1a")
    person.sees("Stopped")
    person.types("jobs; kill %1; fg\n")
    person.sees("cat")
    person.types("\nexit 3\n")
    assert person.leaves() == 3


def test_output_is_not_lost(belljar: Belljar, persons: list[Person]) -> None:
    code = "import sys; sys.stdout.write('x' * 100_000 + 'end'); sys.stdout.flush(); import os; os._exit(0)"
    person = Person(belljar, "run", "--", PYTHON, "-c", code)
    persons.append(person)
    person.sees("end")
    assert person.shown.count("x") == 100_000
    assert person.leaves() == 0


def test_redirected_input_with_a_terminal_for_output(belljar: Belljar, persons: list[Person]) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe\n")
    os.close(writer)
    code = "import os, sys; print(sys.stdin.read().strip(), os.isatty(0), os.isatty(1))"
    person = Person(belljar, "run", "--", PYTHON, "-c", code, stdin=reader)
    os.close(reader)
    persons.append(person)
    person.sees("from a pipe False True")
    assert person.leaves() == 0


def test_the_guest_cannot_push_keys_into_the_callers_terminal(belljar: Belljar, persons: list[Person]) -> None:
    code = """
import fcntl, termios
for request in (termios.TIOCSTI, termios.TIOCSTI | 1 << 32, 0x541C):
    for descriptor in (0, 1, 2):
        try:
            fcntl.ioctl(descriptor, request & 0xFFFFFFFF, b"X")
        except OSError as error:
            print("refused", error.errno)
        else:
            print("PUSHED")
"""
    person = Person(belljar, "run", "--", PYTHON, "-c", code)
    persons.append(person)
    for _ in range(9):
        person.sees("refused 1")
    assert person.leaves() == 0
    assert not select.select([person.slave], [], [], 0.2)[0], "something was typed into the caller's terminal"


def test_a_killed_run_can_be_started_again(belljar: Belljar, persons: list[Person]) -> None:
    person = Person(belljar, "run", "--", "sh", "-c", "echo up; sleep 60")
    persons.append(person)
    person.sees("up")
    person.process.terminate()
    assert person.leaves() == 128 + signal.SIGTERM

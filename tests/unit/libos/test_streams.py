"""The standard descriptors before the fork."""

from __future__ import annotations

import os
from collections.abc import Callable

from belljar.libos.errors import SandboxUnavailable
from belljar.libos.supervisor.streams import let_go, open_standard_descriptors


def in_child(act: Callable[[], object]) -> tuple[int, bytes]:
    """Run something in a forked child with a pipe in place of 2; returns (exit code, what it wrote there)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 2)
        os.close(writer)
        try:
            act()
            os._exit(0)
        except SandboxUnavailable as error:
            os.write(2, str(error).encode())
            os._exit(3)
        finally:
            os._exit(4)
    os.close(writer)
    said = os.read(reader, 1000)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_closed_ones_are_filled() -> None:
    def act() -> None:
        os.close(0)
        os.close(1)
        open_standard_descriptors()
        for descriptor in (0, 1):
            assert os.readlink(f"/proc/self/fd/{descriptor}") == "/dev/null"
            assert os.get_inheritable(descriptor)

    assert in_child(act)[0] == 0


def test_a_directory_is_refused() -> None:
    def act() -> None:
        os.dup2(os.open("/", os.O_RDONLY), 0)
        open_standard_descriptors()

    code, said = in_child(act)
    assert (code, said) == (3, b"standard input is a directory: a program in an enclave may not have one")


def test_pipes_are_let_go_and_terminals_kept() -> None:
    def act() -> None:
        master, slave = os.openpty()
        os.dup2(slave, 0)
        os.dup2(os.pipe()[1], 1)
        let_go(0, 1)
        assert os.isatty(0), master
        assert os.readlink("/proc/self/fd/1") == "/dev/null"

    assert in_child(act)[0] == 0

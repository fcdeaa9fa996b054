"""Measuring and checking runs nothing of the program that could change the host: hostile files try it."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from support.running import PYTHON, Belljar, has

PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


def elf_with_linker(linker: Path) -> bytes:
    """Return the smallest ELF program that names a dynamic linker (PT_INTERP)."""
    path = os.fsencode(linker) + b"\0"
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0x400000, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + PROGRAM_HEADER.pack(3, 4, 120, 0x400078, 0, len(path), len(path), 1) + path


@pytest.fixture
def spoils(anybody: Belljar) -> Path:
    """Where hostile code tries to write, and could if it were not confined."""
    place = anybody.folder / "spoils"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    return place


@pytest.mark.parametrize("command", ["measure", "run"])
def test_a_linker_of_the_programs_own(anybody: Belljar, spoils: Path, command: str) -> None:
    linker = anybody.folder / "ld.sh"
    linker.write_text(f"#!/bin/sh\necho here > {spoils}/linker; mkdir {spoils}/folder; kill -9 $PPID\n")
    linker.chmod(0o755)
    program = anybody.folder / "prog"
    program.write_bytes(elf_with_linker(linker))
    program.chmod(0o755)
    anybody(command, "--", "./prog", check=None)
    assert not list(spoils.iterdir())


@pytest.mark.skipif(not has("gcc"), reason="gcc makes the hostile library, and is not installed")
def test_an_auditing_library(anybody: Belljar, spoils: Path) -> None:
    folder = anybody.folder
    (folder / "aud.c").write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n"
        f'unsigned la_version(unsigned v) {{ close(open("{spoils}/audit", O_CREAT | O_WRONLY, 0644)); return v; }}\n'
    )
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    library, program = folder / "aud.so", folder / "prog"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, folder / "aud.c"], check=True)
    subprocess.run(["gcc", "-o", program, folder / "main.c", f"-Wl,--audit={library}"], check=True)
    anybody("measure", "--", "./prog", check=None)
    assert not list(spoils.iterdir())


@pytest.mark.parametrize("way", ["open({0!r} + '/python', 'w')", "__import__('os').chmod({0!r}, 0)",
                                 "__import__('socket').socket()"])  # fmt: skip
def test_code_that_an_interpreter_runs_when_it_starts(anybody: Belljar, spoils: Path, way: str) -> None:
    environment = anybody.folder / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", environment], check=True)
    packages = next(environment.glob("lib/python3*/site-packages"))
    (packages / "evil.py").write_text(f"{way.format(str(spoils))}\n")
    (packages / "evil.pth").write_text("import evil\n")
    anybody("measure", "--", str(environment / "bin/python"), "-c", "pass", check=None)
    assert not list(spoils.iterdir())
    assert spoils.stat().st_mode & 0o777 == 0o777

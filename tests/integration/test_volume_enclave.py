"""Encrypted volumes inside of enclaves: what they keep, refuse and say (IEEE 2952 5.2.1.2, 7.5 e)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from support.enclosed_volume import Enclosed
from support.running import PYTHON, Belljar

COUNT = """
import os
fd = os.open("/data/n", os.O_RDWR | os.O_CREAT)
n = int(os.read(fd, 20) or 0) + 1
os.pwrite(fd, b"%d" % n, 0)
print(n)
"""
WAIT = "import sys; print('ready', flush=True); sys.stdin.readline()\n"


@pytest.fixture
def kept(belljar: Belljar) -> Enclosed:
    """A volume that a key file opens, and its enclave."""
    return Enclosed(belljar, belljar.folder / "data.vol").create()


class TestItKeeps:
    def test_what_was_written_from_run_to_run(self, anybody: Belljar) -> None:
        kept = Enclosed(anybody, anybody.folder / "data.vol").create()
        assert [kept.run(COUNT).stdout for _ in range(2)] == ["1\n", "2\n"]
        listed = anybody("volume", "ls", "--key-file", str(kept.secret), "data.vol")
        assert "n\n" in listed.stdout

    def test_what_was_put_there_before(self, kept: Enclosed) -> None:
        (kept.belljar.folder / "input").write_text("from the data provider")
        kept.belljar("volume", "put", "--key-file", "data.vol.key", "data.vol", "input", "/")
        kept.run("open('output', 'w').write(open('input').read()[::-1])")
        got = kept.belljar("volume", "cat", "--key-file", "data.vol.key", "data.vol", "/output")
        assert got.stdout == "from the data provider"[::-1]

    def test_what_processes_share(self, kept: Enclosed) -> None:
        code = """
import fcntl, mmap, os
fd = os.open("shared", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 8192)
def add(times):
    own = os.open("shared", os.O_RDWR)
    view = mmap.mmap(own, 8192)
    for n in range(times):
        (fcntl.flock if n % 2 else fcntl.lockf)(own, fcntl.LOCK_EX)
        lock = os.open("lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        view[4096:4104] = (int.from_bytes(view[4096:4104], "little") + 1).to_bytes(8, "little")
        os.close(lock)
        (fcntl.flock if n % 2 else fcntl.lockf)(own, fcntl.LOCK_UN)
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        add(200)
        os._exit(0)
    children.append(child)
assert not any(os.waitpid(child, 0)[1] for child in children)
print(int.from_bytes(os.pread(fd, 8, 4096), "little"))
"""
        assert kept.run(code).stdout == "400\n"
        assert kept.run("print(int.from_bytes(open('shared','rb').read()[4096:4104], 'little'))").stdout == "400\n"

    def test_nothing_of_an_ephemeral_one(self, belljar: Belljar) -> None:
        room = belljar.folder / "room"
        room.mkdir()
        kept = Enclosed(belljar, room, key="ephemeral")
        kept.write()
        assert [kept.run(COUNT).stdout for _ in range(2)] == ["1\n", "1\n"]
        code = "import os; f = open('big', 'wb'); f.write(bytes(1 << 20)); os.fsync(f)\n"
        process = kept.start(code + WAIT, stdin=subprocess.PIPE)
        assert os.listdir(room) == []
        process.kill()
        process.communicate()
        assert os.listdir(room) == []

    def test_a_read_only_root_beside_it(self, kept: Enclosed) -> None:
        assert "Read-only" in kept.run("open('/x', 'w')", check=1).stderr
        code = "import os; open('run','w').write('#!/bin/sh'); os.chmod('run', 0o755); os.execv('/data/run', ['run'])"
        assert "PermissionError" in kept.run(code, check=1).stderr


class TestItIsRefused:
    def says(self, kept: Enclosed, *expected: str) -> None:
        done = kept.run("print('it ran')", check=None)
        assert done.returncode == 125, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        for words in expected:
            assert words in done.stderr

    def test_with_another_key_file(self, kept: Enclosed) -> None:
        kept.secret.write_bytes(os.urandom(64))
        self.says(kept, "volume at /data: ", "the key file opens no key slot")

    def test_with_another_passphrase(self, belljar: Belljar) -> None:
        kept = Enclosed(belljar, belljar.folder / "data.vol", key="passphrase").create()
        assert kept.run(COUNT).stdout == "1\n"
        kept.secret.write_text("another one\n")
        self.says(kept, "volume at /data: ", "passphrase")
        del belljar.environment["BELLJAR_PASSPHRASE_FILE"]
        self.says(kept, "no passphrase of ", "there is no terminal to ask on", "BELLJAR_PASSPHRASE_FILE")

    def test_without_the_key_file(self, kept: Enclosed) -> None:
        kept.secret.unlink()
        self.says(kept, "volume at /data: ", "data.vol.key: No such file or directory")

    def test_without_the_container(self, kept: Enclosed) -> None:
        kept.container.unlink()
        self.says(kept, "data.vol", "belljar volume create")

    def test_while_another_enclave_has_it(self, kept: Enclosed) -> None:
        process = kept.start(WAIT, stdin=subprocess.PIPE)
        self.says(kept, "volume at /data: ", "data.vol", "belljar ps")
        process.communicate("\n")
        assert process.returncode == 0
        assert kept.run(COUNT).stdout == "1\n"

    def test_when_an_older_copy_was_put_back(self, kept: Enclosed) -> None:
        kept.run(COUNT)
        shutil.copy(kept.container, kept.belljar.folder / "older")
        kept.run(COUNT)
        newer = kept.container.read_bytes()
        shutil.copy(kept.belljar.folder / "older", kept.container)
        self.says(kept, "volume at /data: ", "the volume went back in time: found generation 3, expected 4")
        kept.container.write_bytes(newer)
        assert kept.run(COUNT).stdout == "3\n"

    def test_when_it_is_something_else(self, kept: Enclosed) -> None:
        kept.container.write_bytes(os.urandom(1 << 20))
        self.says(kept, "volume at /data: not a volume, or its header is destroyed")

    def test_when_it_is_no_file(self, kept: Enclosed) -> None:
        kept.container.unlink()
        kept.container.mkdir()
        self.says(kept, "data.vol")
        kept.container.rmdir()
        os.mkfifo(kept.container)
        self.says(kept, "data.vol")


def changed(before: bytes, after: bytes) -> list[int]:
    """Return the numbers of the 4 KiB blocks that differ."""
    return [
        number
        for number in range(len(after) // 4096)
        if after[number * 4096 :][:4096] != before[number * 4096 :][:4096]
    ]


def test_a_changed_byte_is_an_error_and_the_end(kept: Enclosed) -> None:
    kept.run("open('small', 'w').write('fine')")
    before = kept.container.read_bytes()
    kept.run("import os; open('big', 'wb').write(os.urandom(1 << 20))")
    blocks = changed(before, kept.container.read_bytes())
    assert len(blocks) > 256
    with kept.container.open("r+b") as file:
        for block in blocks[60:200]:
            file.seek(block * 4096 + 100)
            was = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([was[0] ^ 1]))
    code = """
import time
print(open("small").read(), flush=True)
try:
    open("big", "rb").read()
except OSError as error:
    print(error.strerror, flush=True)
    time.sleep(20)
print("still here")
"""
    reader, writer = os.pipe()
    process = subprocess.run(
        kept.belljar.command("run", "--result", str(writer), "kept.yaml", "--", "-c", code),
        cwd=kept.belljar.folder, env=kept.belljar.environ(), pass_fds=[writer], capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = json.loads(pipe.read())
    assert process.returncode == 125
    assert process.stdout.startswith("fine\n")
    assert "still here" not in process.stdout
    assert "belljar: error: " in process.stderr
    assert "/big" in process.stderr or "inode" in process.stderr
    assert result["reason"] == "integrity"


FILL = """
import errno, os
def kept(name, size):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, b"k" * size)
        os.fsync(fd)
    finally:
        try:
            os.close(fd)
        except OSError:
            pass
kept("first", 1 << 20)
count = 0
try:
    while count < 200:
        kept("more%d" % count, 1 << 20)
        count += 1
except OSError as error:
    print(errno.errorcode[error.errno])
os.open("first", os.O_RDWR)
print(count, open("first").read() == "k" * (1 << 20))
"""
INTACT = """
import os
assert open("first").read() == "k" * (1 << 20)
whole = [name for name in os.listdir() if name.startswith("more") and open(name).read() == "k" * (1 << 20)]
print(len(whole))
for name in os.listdir():
    if name != "first":
        os.unlink(name)
open("again", "w").write("room")
"""


class TestItIsFull:
    def test_at_its_limit(self, kept: Enclosed) -> None:
        kept.size = "8MiB"
        kept.write()
        error, counted = kept.run(FILL).stdout.splitlines()
        assert error == "EDQUOT"
        count = int(counted.split()[0])
        assert 4 <= count < 8
        assert counted.endswith("True")
        assert int(kept.run(INTACT).stdout) >= count
        assert kept.run("print(open('again').read())").stdout == "room\n"

    def test_when_the_host_is(self, belljar: Belljar, tmp_path: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("not root: a file system of its own is mounted below")
        small = tmp_path / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], check=True)
        kept = Enclosed(belljar, small / "data.vol").create()
        try:
            error, counted = kept.run(FILL, check=None).stdout.splitlines()
            assert error == "ENOSPC"
            count = int(counted.split()[0])
            assert 4 <= count < 12
            assert int(kept.run(INTACT).stdout) >= count
            assert kept.run("print(open('again').read())").stdout == "room\n"
        finally:
            subprocess.run(["umount", str(small)], check=True)


class TestItIsSeen:
    def test_in_the_measurement(self, kept: Enclosed) -> None:
        def measured() -> str:
            return kept.belljar("measure", kept.write()).stdout

        first = measured()
        shutil.copy(kept.container, kept.belljar.folder / "other.vol")
        kept.container = kept.belljar.folder / "other.vol"
        assert measured() == first
        found = {first}
        for name, value in (("size", "65MiB"), ("key", "passphrase"), ("executable", True)):
            setattr(kept, name, value)
            found.add(measured())
        assert len(found) == 4

    def test_in_a_dry_run_and_a_bundle(self, kept: Enclosed) -> None:
        assert "mount an encrypted volume at /data" in kept.belljar("run", "--dry-run", "kept.yaml").stdout
        kept.belljar("build", "kept.yaml", "-o", "kept.bell")
        assert re.search(
            r"encrypted +/data from .*data\.vol.*opened by its file", kept.belljar("inspect", "kept.bell").stdout
        )
        for expected in ("1\n", "2\n"):
            assert kept.belljar("run", "kept.bell", "--", "-c", COUNT).stdout == expected
        assert kept.run(COUNT).stdout == "3\n"
        assert kept.belljar("check", "kept.bell").stdout.endswith("0 problem(s), 0 note(s)\n")

    def test_by_belljar_exec_and_with_the_hosts_network(self, kept: Enclosed) -> None:
        kept.lines = ["insecure_exec: true", "network: {insecure_host: true}"]
        kept.write()
        process = kept.start("open('said', 'w').write('inside')\n" + WAIT, stdin=subprocess.PIPE)
        done = kept.belljar("exec", "kept", "--", PYTHON, "-c", "print(open('/data/said').read())")
        assert done.stdout == "inside\n"
        process.communicate("\n")
        assert process.returncode == 0

    def test_by_its_caller_where_a_launcher_serves(self, kept: Enclosed, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        runs.mkdir(mode=0o700)
        kept.belljar.environment["BELLJAR_RUNTIME_DIR"] = str(runs)
        kept.run(COUNT)
        time.sleep(2.1)  # a record is made of files that are not too young
        kept.run(COUNT)
        kept.belljar("serve", "--detach")
        try:
            assert [kept.run(COUNT).stdout for _ in range(2)] == ["3\n", "4\n"]
            status = json.loads(kept.belljar("serve", "--status", "--json").stdout)
            assert (status["ready"], status["building"], status["running"]) == (0, 0, 0)
        finally:
            kept.belljar("serve", "--stop")

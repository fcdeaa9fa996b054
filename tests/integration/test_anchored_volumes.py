"""Volumes anchored by a platform, from the command line: what is put back is refused, and there is a way on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.enclosed_volume import Enclosed
from support.running import Belljar
from support.swtpm import Swtpm, needs_swtpm, swtpm

COUNT = """
import os
n = int(open("n").read()) + 1 if os.path.exists("n") else 1
open("/dev/attestation/user_report_data", "wb").write(b"hello")
asked = open("/dev/attestation/eat", "rb").read()
with open("n", "w") as file:
    file.write(str(n))
    file.flush()
    os.fsync(file.fileno())
print(n, bool(asked))
"""

DURABLE = """
import os, sys
with open("n", "w") as file:
    file.write("7")
    file.flush()
    os.fsync(file.fileno())
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def tpm(belljar: Belljar) -> Iterator[Swtpm]:
    """A platform in a software TPM."""
    belljar.environment["XDG_STATE_HOME"] = str(belljar.folder / "state")
    with swtpm() as made:
        belljar("platform", "init", "--platform", "tpm", "--tpm", made.address)
        belljar.environment["BELLJAR_TPM"] = made.address
        yield made


class Disk:
    """What somebody keeps a copy of and puts back: the container and every state file, with the ledger."""

    def __init__(self, belljar: Belljar) -> None:
        self.folder = belljar.folder

    def keep(self) -> None:
        shutil.copy(self.folder / "data.vol", self.folder / "kept.vol")
        shutil.copytree(self.anchors, self.folder / "kept", dirs_exist_ok=True)

    def put_back(self) -> None:
        shutil.copy(self.folder / "kept.vol", self.folder / "data.vol")
        shutil.rmtree(self.anchors)
        shutil.copytree(self.folder / "kept", self.anchors)

    @property
    def anchors(self) -> Path:
        return self.folder / "state/belljar/anchors"


@needs_swtpm
def test_everything_put_back_is_refused_and_the_owner_goes_on(belljar: Belljar, tpm: Swtpm, tmp_path: Path) -> None:
    kept = Enclosed(belljar, belljar.folder / "data.vol").create()
    key, disk = ("--key-file", str(kept.secret)), Disk(belljar)
    assert kept.run(COUNT).stdout == "1 True\n"
    disk.keep()
    tpm.stop()
    shutil.copytree(tpm.state, tmp_path / "tpm")
    tpm.start()
    assert kept.run(COUNT).stdout == "2 True\n"
    disk.put_back()

    said = "it is of counter value"
    for done in (kept.run(COUNT, check=125), belljar("volume", "ls", *key, "data.vol", check=125)):
        assert said in done.stderr
        assert "where the platform's counter stands: one was put back" in done.stderr
        assert "belljar volume anchor --reset" in done.stderr
        assert "Traceback" not in done.stderr
    assert said in belljar("volume", "anchor", "data.vol", check=125).stderr
    told = belljar("volume", "anchor", *key, "--reset", "restored", "--json", "data.vol").stdout
    assert [reset["reason"] for reset in json.loads(told)["resets"]] == ["restored"]
    assert kept.run(COUNT).stdout == "2 True\n"

    disk.put_back()  # and now the TPM's state as well: what the documents say of a software TPM
    tpm.stop()
    shutil.rmtree(tpm.state)
    shutil.copytree(tmp_path / "tpm", tpm.state)
    tpm.start()
    assert kept.run(COUNT).stdout == "2 True\n"


@needs_swtpm
def test_a_platform_that_is_not_there_is_named(belljar: Belljar, tpm: Swtpm) -> None:
    kept = Enclosed(belljar, belljar.folder / "data.vol").create()
    tpm.stop()
    done = kept.run("print(1)", check=125)
    assert "volume at /data: the platform that anchors volumes cannot be used: " in done.stderr
    assert f"{tpm.address}: No such file or directory" in done.stderr
    assert "is swtpm running there" in done.stderr
    tpm.start()
    assert kept.run("print(1)").stdout == "1\n"
    wait = "import sys; print('ready', flush=True); sys.stdin.readline(); open('n', 'w').write('1')"
    process = kept.start(wait, stdin=subprocess.PIPE)
    tpm.stop()
    _, told = process.communicate("\n")
    assert process.returncode == 125
    assert "volumes: all that was written is kept, but not that it ended well: the platform that anchors" in told
    tpm.start()
    assert kept.run("print(open('n').read())").stdout == "1\n"
    shutil.rmtree(belljar.folder / "state/belljar/platform")
    assert "volumes were anchored by a platform that is not here now" in kept.run("print(1)", check=125).stderr
    with swtpm() as other:
        belljar("platform", "init", "--platform", "tpm", "--tpm", other.address)
        belljar.environment["BELLJAR_TPM"] = other.address
        assert "not written by this platform: its MAC does not hold" in kept.run("print(1)", check=125).stderr
        belljar("volume", "anchor", "--key-file", str(kept.secret), "--reset", "new TPM", "data.vol")
        assert kept.run("print(1)").stdout == "1\n"


def test_what_was_anchored_before_the_platform_goes_on(belljar: Belljar) -> None:
    kept, disk = Enclosed(belljar, belljar.folder / "data.vol").create(), Disk(belljar)
    assert kept.run("open('n', 'w').write('1')").returncode == 0
    disk.keep()
    belljar("platform", "init")
    assert kept.run(COUNT).stdout == "2 True\n"
    assert (disk.anchors / "ledger").exists()
    (disk.folder / "kept/ledger").write_bytes((disk.anchors / "ledger").read_bytes())
    (disk.folder / "kept/ledger").chmod(0o600)
    disk.put_back()
    done = kept.run(COUNT, check=125)
    assert "was put back or replaced: found generation" in done.stderr
    assert "without a platform key, expected generation" in done.stderr
    belljar("volume", "anchor", "--key-file", str(kept.secret), "--reset", "back", "data.vol")
    assert kept.run(COUNT).stdout == "2 True\n"
    belljar("platform", "rotate")
    assert kept.run(COUNT).stdout == "3 True\n"
    process = kept.start(DURABLE, stdin=subprocess.PIPE)
    process.kill()  # its supervisor: the ledger says that it is mounted
    process.communicate()
    assert kept.run(COUNT).stdout == "8 True\n"
    belljar("volume", "destroy", "--yes", "data.vol")
    assert [path.name for path in disk.anchors.iterdir()] == ["ledger"]

"""What opens a volume, and what encrypts it, is in no memory of the guest's side, in no argument and no environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from belljar.fs.keeping import KeyFile, Passphrase, unlock
from belljar.fs.volumes import FileContainer
from support.enclosed_volume import PASSPHRASE, Enclosed
from support.running import Belljar

LIVE = """
import os, sys
marker = (b"marker-" + b"of-the-guest") * 2
with open("file", "wb") as file:
    file.write(os.urandom(100_000))
    file.flush()
    os.fsync(file.fileno())
print("ready", flush=True)
sys.stdin.readline()
"""
MARKER = b"marker-of-the-guestmarker-of-the-guest"
LARGEST = 64 << 20


def below(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += below(int(child))
    return found


def memory(pid: int) -> list[bytes]:
    """Return what every mapping of a process holds, as far as it can be read."""
    found: list[bytes] = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            try:
                file.seek(start)
                found.append(file.read(min(end - start, LARGEST)))
            except (OSError, ValueError, OverflowError):  # guard pages, vvar, beyond the end of a file
                continue
    return found


def secrets_of(kept: Enclosed) -> list[bytes]:
    """Return bytes that nobody inside may have: what opens the volume, and its key."""
    said = PASSPHRASE.encode() if kept.key == "passphrase" else kept.secret.read_bytes()
    credential = Passphrase(secret=said) if kept.key == "passphrase" else KeyFile(content=said)
    container = FileContainer(str(kept.container), writable=False)
    try:
        with unlock(container, credential, writable=False) as unlocked, unlocked.key.view() as view:
            return [said[:20], said[-20:], bytes(view)[:16], bytes(view)[16:]]
    finally:
        container.close()


@pytest.mark.parametrize("key", ["passphrase", "file"])
def test_no_secret_of_a_volume_is_seen(belljar: Belljar, key: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: the memory of other processes is read")
    kept = Enclosed(belljar, belljar.folder / "data.vol", key=key).create()
    secrets = secrets_of(kept)
    process = kept.start(LIVE, stdin=subprocess.PIPE)
    try:
        supervisor, *others = below(process.pid)
        assert len(others) == 3
        marked = 0
        for pid in others:
            pieces = memory(pid)
            marked += any(MARKER in piece for piece in pieces)
            assert not [number for number, secret in enumerate(secrets) for piece in pieces if secret in piece]
        assert marked == 1  # the search finds what is there
        for pid in (supervisor, *others):
            for name in ("cmdline", "environ"):
                assert not [secret for secret in secrets if secret in Path(f"/proc/{pid}/{name}").read_bytes()]
    finally:
        process.communicate("\n")
    assert process.returncode == 0
    for path in belljar.cache.rglob("*"):  # what is kept of runs
        if path.is_file():
            assert not [secret for secret in secrets if secret in path.read_bytes()], path


def test_nothing_of_the_content_is_in_the_container(belljar: Belljar) -> None:
    kept = Enclosed(belljar, belljar.folder / "data.vol").create()
    code = "import os; os.mkdir('plain-folder'); open('plain-folder/plain-name','w').write('plain content ' * 9000)"
    kept.run(code)
    content = kept.container.read_bytes()
    assert not [word for word in (b"plain-folder", b"plain-name", b"plain content") if word in content]

"""`soft`: a platform in a file, made once, read by its owner alone, whole or absent, and never quietly an older one."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belljar.attestation.errors import PlatformRefused
from belljar.attestation.keys import ALGORITHM_NAMES
from belljar.attestation.roots import counter, layout, memory
from belljar.attestation.roots.files import open_folder
from belljar.attestation.roots.memory import SecretMemory
from belljar.attestation.roots.root import PlatformId, RootOfTrust
from belljar.attestation.roots.soft import NAME, Birth, SoftRoot, make_soft, open_soft, rotate_soft

BIRTH = Birth(random=os.urandom, now=1_795_000_000)

needs_posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX systems")
pytestmark = needs_posix


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "platform"


@pytest.fixture
def made(folder: Path) -> Path:
    make_soft(str(folder), BIRTH).close()
    return folder


def secret(root: RootOfTrust, platform: PlatformId | None = None) -> bytes:
    return root.derive(b"salt", b"info", platform=platform)


def test_what_is_made_is_there_the_next_time(folder: Path) -> None:
    with make_soft(str(folder), BIRTH) as first:
        before = (first.platform, first.chain, secret(first))
    with open_soft(str(folder)) as second, make_soft(str(folder), BIRTH) as third:
        assert before == (second.platform, second.chain, secret(second))
        assert before == (third.platform, third.chain, secret(third))


def test_only_its_owner_can_read_it(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {item.name: stat.S_IMODE(item.stat().st_mode) for item in made.iterdir()} == {
        NAME: 0o600,
        counter.NAME: 0o600,
    }


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_every_algorithm_can_be_a_platforms(folder: Path, name: str) -> None:
    with make_soft(str(folder), Birth(random=os.urandom, now=BIRTH.now, algorithm=name)) as root:
        assert root.algorithm == name
        assert root.kind == "soft"
        assert root.simulated
        assert root.quote(bytes(64)) is None
        assert "simulated" in root.strength
        assert x509.load_der_x509_certificate(root.chain[1]).subject.rfc4514_string().endswith("platform CA (soft)")


def test_derivations_differ_by_salt_info_and_platform(made: Path, tmp_path: Path) -> None:
    with open_soft(str(made)) as root, make_soft(str(tmp_path / "other"), BIRTH) as other:
        found = {root.derive(b"a", b"x"), root.derive(b"a", b"y"), root.derive(b"b", b"x"), other.derive(b"a", b"x")}
    assert len(found) == 4


def test_a_new_generation_keeps_what_older_ones_derive(made: Path) -> None:
    with open_soft(str(made)) as root:
        older, derived = root.platform, secret(root)
        root.count_up()
    with rotate_soft(str(made), BIRTH) as root:
        assert root.platform != older
        assert secret(root) != derived == secret(root, older)
        assert root.count() == 1
    with open_soft(str(made)) as root:
        assert secret(root, older) == derived


def test_generations_end_somewhere(made: Path) -> None:
    for _ in range(layout.MAX_GENERATIONS - 1):
        rotate_soft(str(made), BIRTH).close()
    with pytest.raises(PlatformRefused, match="16 generations, expected fewer to add one"):
        rotate_soft(str(made), BIRTH)
    with open_soft(str(made)) as root:
        assert len(root.generations) == 16


def test_a_platform_that_never_was_is_refused(made: Path) -> None:
    with open_soft(str(made)) as root, pytest.raises(PlatformRefused, match="and was never 0101"):
        secret(root, PlatformId(b"\x01" * 20))


# --- files that must not be used


def test_nothing_is_made_by_looking(folder: Path) -> None:
    with pytest.raises(PlatformRefused, match="No such file") as caught:
        open_soft(str(folder))
    assert caught.value.hint == "belljar platform init makes one"
    folder.mkdir(mode=0o700)
    for act in (open_soft, lambda path: rotate_soft(path, BIRTH)):
        with pytest.raises(PlatformRefused, match="there is no platform"):
            act(str(folder))
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("name", "mode"), [(".", 0o750), (".", 0o701), (NAME, 0o640), (counter.NAME, 0o604)])
def test_what_others_can_read_is_refused(made: Path, name: str, mode: int) -> None:
    (made / name).chmod(mode)
    with pytest.raises(PlatformRefused, match=f"mode {mode:o}, expected [67]00: others may have read it"):
        open_soft(str(made))


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
@pytest.mark.parametrize("name", [".", NAME, counter.NAME])
def test_what_belongs_to_another_is_refused(made: Path, name: str) -> None:
    os.chown(made / name, 12345, -1)
    with pytest.raises(PlatformRefused, match="belongs to user 12345, expected 0"):
        open_soft(str(made))


def test_links_and_other_things_are_refused(made: Path, tmp_path: Path) -> None:
    (made / NAME).rename(made / "elsewhere")
    (made / NAME).symlink_to("elsewhere")
    with pytest.raises(PlatformRefused, match="Too many levels of symbolic links"):
        open_soft(str(made))
    (made / NAME).unlink()
    os.mkfifo(made / NAME, 0o600)
    with pytest.raises(PlatformRefused, match="not a file"):
        open_soft(str(made))
    with pytest.raises(PlatformRefused, match="not a file"):
        make_soft(str(made), BIRTH)
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(PlatformRefused, match=r"Not a directory|Too many levels"):
        open_soft(str(tmp_path / "link"))


@pytest.mark.parametrize("name", [NAME, counter.NAME])
def test_no_bit_can_be_flipped(made: Path, name: str) -> None:
    content = (made / name).read_bytes()
    step = 1 if os.environ.get("BELLJAR_TEST_EVERY_BIT") else 97
    for bit in range(0, 8 * len(content), step):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (made / name).write_bytes(changed)
        with pytest.raises(PlatformRefused):
            open_soft(str(made))
    (made / name).write_bytes(content)
    open_soft(str(made)).close()


@pytest.mark.parametrize("name", [NAME, counter.NAME])
def test_no_byte_can_be_missing_or_added(made: Path, name: str) -> None:
    content = (made / name).read_bytes()
    for changed in (content[:-1], content + b"\0", content[:600], content[:100], content[:8], b""):
        if changed == content:
            continue
        (made / name).write_bytes(changed)
        with pytest.raises(PlatformRefused, match="damaged"):
            open_soft(str(made))


def test_a_platform_file_that_was_set_back_is_noticed(made: Path) -> None:
    older = (made / NAME).read_bytes()
    rotate_soft(str(made), BIRTH).close()
    (made / NAME).write_bytes(older)
    with pytest.raises(PlatformRefused, match="does not know: it was set back"):
        open_soft(str(made))


def test_a_counter_that_was_removed_is_noticed(made: Path) -> None:
    (made / counter.NAME).unlink()
    with pytest.raises(PlatformRefused, match="missing: somebody removed it"):
        open_soft(str(made))


def test_the_whole_folder_set_back_goes_unnoticed(made: Path, tmp_path: Path) -> None:
    """What the documents say cannot be noticed: this machine remembers no more than the folder does."""
    shutil.copytree(made, tmp_path / "copy")
    with open_soft(str(made)) as root:
        root.count_up()
    shutil.rmtree(made)
    (tmp_path / "copy").rename(made)
    with open_soft(str(made)) as root:
        assert root.count() == 0


def test_certificates_of_another_platform_are_refused(made: Path, tmp_path: Path) -> None:
    with make_soft(str(tmp_path / "other"), BIRTH) as other, SecretMemory(layout.HEAD_BYTES) as held:
        held.view[:] = (made / NAME).read_bytes()[: layout.HEAD_BYTES]
        secrets = held.view[layout.SECRETS : layout.HEAD_BYTES - 4]
        (made / NAME).write_bytes(b"".join(bytes(part) for part in layout.pack(secrets, other.generations)))
        secrets.release()
    with pytest.raises(PlatformRefused, match="the secret is not that of the certified platform"):
        open_soft(str(made))


# --- crashes and races

KILLED = """
import os, sys
from belljar.attestation.roots import files
from belljar.attestation.roots.soft import Birth, make_soft, rotate_soft
at = int(sys.argv[3])
calls = 0
def dying(name):
    real = getattr(os, name)
    def call(*args, **words):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), 9)
        return real(*args, **words)
    setattr(os, name, call)
for name in ("write", "fsync", "link", "rename"):
    dying(name)
act = make_soft if sys.argv[1] == "make" else rotate_soft
act(sys.argv[2], Birth(random=os.urandom, now=1_795_000_000)).close()
print("whole")
"""


def interrupted(act: str, folder: Path, at: int) -> bool:
    """Make or rotate, killed at a call that changes files, and say whether it ended before that."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, act, str(folder), str(at)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout == "whole\n"


@pytest.mark.parametrize("act", ["make", "rotate"])
def test_killed_at_any_call_it_is_whole_or_absent(tmp_path: Path, act: str) -> None:
    at, ended = 0, False
    while not ended:
        at += 1
        folder = tmp_path / str(at)
        before = None
        if act == "rotate":
            with make_soft(str(folder), BIRTH) as root:
                before = (root.platform, secret(root))
        ended = interrupted(act, folder, at)
        with make_soft(str(folder), BIRTH) as root:
            assert len(root.generations) in (1, 2)
            assert before is None or secret(root, before[0]) == before[1]
            root.count_up()
        rotate_soft(str(folder), BIRTH).close()
        assert {item.name for item in folder.iterdir()} == {NAME, counter.NAME}
    assert at > 8


def test_those_who_start_at_once_share_one_platform(folder: Path) -> None:
    found: list[bytes] = []

    def start() -> None:
        with make_soft(str(folder), BIRTH) as root:
            found.append(root.platform + root.count_up().to_bytes(8, "big"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item[:20] for item in found}) == 1
    assert sorted(item[-1] for item in found) == list(range(1, 9))


def test_nothing_stays_open(made: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(3):
        open_soft(str(made)).close()
        rotate_soft(str(made), BIRTH).close()
    (made / NAME).write_bytes(b"damaged")
    for _ in range(3):
        with pytest.raises(PlatformRefused):
            open_soft(str(made))
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_a_secret_is_gone_when_closed_and_never_printed(made: Path) -> None:
    held = SecretMemory(64)
    held.view[:6] = b"secret"
    assert "secret" not in repr(held).replace("memfd_secret", "")
    held.close()
    held.close()
    with pytest.raises(ValueError, match="released"):
        bytes(held.view)
    with open_soft(str(made)) as root:
        assert secret(root)[:8].hex() not in repr(root)
    assert isinstance(root, SoftRoot)
    with pytest.raises(ValueError, match="released"):
        secret(root)


def test_memory_that_the_system_can_only_lock_is_locked() -> None:
    """What is used where there is no memfd_secret(2); root may lock as much as it likes, others as much as they may."""
    pages = mmap.mmap(-1, 4096)
    assert memory._locked(pages, 4096)
    pages.close()  # nothing holds on to it
    made = SecretMemory(4096)
    assert made.kind in ("memfd_secret", "locked")
    made.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=700))
def test_nothing_but_a_platform_is_read_as_one(made: Path, content: bytes) -> None:
    (made / NAME).write_bytes(layout.MAGIC[: len(content) % 9] + content)
    with pytest.raises(PlatformRefused):
        open_soft(str(made))


def test_a_folder_is_closed_once(made: Path) -> None:
    opened = open_folder(str(made), create=False)
    opened.close()
    opened.close()
    assert opened.descriptor == -1

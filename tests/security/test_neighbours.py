"""Other users of the machine: what they may write, they must not turn into what we read, run or believe."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import time
from pathlib import Path

import pytest

from belljar.fs.errors import SourceError
from belljar.fs.hashed.beneath import NAME, open_beneath
from belljar.fs.hashed.measure import hash_file
from belljar.fs.hashed.walk import Selection, walk
from support.running import PYTHON, Belljar
from support.users import ORDINARY_ID


def test_a_folder_swapped_for_a_link_while_measuring_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("of somebody else")
    tree = tmp_path / "tree"
    (tree / "data").mkdir(parents=True)
    (tree / "data/key").write_text("mine")
    seen = next(seen for seen in walk(os.fsencode(tree), Selection()).seen if seen.path == b"data/key")
    (tree / "data").rename(tree / "gone")
    (tree / "data").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match="cannot be measured"):
        hash_file(os.fsencode(tree), seen.path, progress=None)
    found = {seen.path for seen in walk(os.fsencode(tree), Selection()).seen}
    assert b"data/key" not in found


def test_no_component_of_a_path_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "real/inner/file").touch()
    (tmp_path / "link").symlink_to("real")
    root = os.open(tmp_path, os.O_PATH)
    os.close(open_beneath(root, b"real/inner/file", os.O_RDONLY))
    for path in (b"link/inner/file", b"link/inner"):
        with pytest.raises(NotADirectoryError):
            open_beneath(root, path, NAME)
    os.close(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of other users")
@pytest.mark.parametrize("level", ["cache", "cache/belljar", "cache/belljar/1"])
@pytest.mark.parametrize("how", ["theirs", "everybody's"])
def test_a_cache_below_a_folder_others_can_rename_is_not_used(
    belljar: Belljar, tmp_path: Path, level: str, how: str
) -> None:
    (tmp_path / "cache/belljar/1").mkdir(parents=True, mode=0o700)
    place = tmp_path / level
    if how == "theirs":
        os.chown(place, ORDINARY_ID, ORDINARY_ID)
    else:
        place.chmod(0o777)
    belljar.environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "other")}
    belljar("run", "--", "/bin/true")
    assert list((tmp_path / "other").glob("belljar-0/1/*"))
    assert not list((tmp_path / "cache/belljar/1").iterdir())


def test_nothing_setuid_leaves_through_a_redirected_stream(anybody: Belljar) -> None:
    out = anybody.folder / "out"
    code = """
import os
os.write(1, b'#!/bin/sh')
for mode in (0o4755, 0o2755, 0o6755):
    try:
        os.fchmod(1, mode)
    except OSError:
        pass
"""
    with out.open("wb") as file:
        subprocess.run(
            anybody.command("run", "--", PYTHON, "-c", code), stdout=file, env=anybody.environ(), cwd=anybody.folder,
            check=True,
        )  # fmt: skip
    assert not out.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_a_terminal_that_is_not_the_controlling_one_is_fine(belljar: Belljar) -> None:
    master, slave = pty.openpty()
    done = subprocess.run(
        belljar.command("run", "--", PYTHON, "-c", "print('fine')"), stdin=slave, capture_output=True,
        start_new_session=True, env=belljar.environ(), cwd=belljar.folder, check=False,
    )  # fmt: skip
    os.close(master)
    os.close(slave)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.strip() == b"fine"


def test_preparing_ends_with_the_run_that_wanted_it(belljar: Belljar, tmp_path: Path) -> None:
    belljar.environment = {"XDG_CACHE_HOME": str(tmp_path)}
    run = belljar.start("run", "--", PYTHON, "-c", "pass")
    time.sleep(0.8)
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 10
    while _preparing(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _preparing(tmp_path)


def _preparing(cache: Path) -> list[str]:
    found: list[str] = []
    for entry in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes() if entry.isdecimal() else b""
            if (
                b"belljar.loader.preparing" in words
                and str(cache).encode() in Path(f"/proc/{entry}/environ").read_bytes()
            ):
                found.append(entry)
        except OSError:
            continue
    return found

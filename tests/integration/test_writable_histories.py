"""Random histories of operations on our mount and on tmpfs, side by side: whatever can be seen must be the same.

BELLJAR_HISTORIES says how many (docs: tests are frugal by default).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from support.behaviour.histories import SIZES, SLOTS
from support.mounting import environment, mounted
from support.writable_trees import TREES

HISTORIES = int(os.environ.get("BELLJAR_HISTORIES", "40"))
PATHS = ("a", "b", "d", "d/a", "d/b", "d/d", "d/d/a", "e", "e/a", "s", "s/a")
FLAGS = (
    os.O_RDWR,
    os.O_RDONLY,
    os.O_WRONLY,
    os.O_RDWR | os.O_CREAT,
    os.O_RDWR | os.O_CREAT | os.O_EXCL,
    os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    os.O_RDWR | os.O_APPEND,
)

START = (
    ("mkdir", "d", 0o755),
    ("mkdir", "d/d", 0o755),
    ("mkdir", "e", 0o2775),
    ("open", 0, "a", os.O_RDWR | os.O_CREAT),
    ("open", 1, "d/a", os.O_RDWR | os.O_CREAT),
    ("write", 0, 0, 70_000, 1),
)
"""How every history begins, so that most of what follows can be done."""

path = st.sampled_from(PATHS)
slot = st.sampled_from((0, 0, 0, 1, 1, *range(SLOTS)))
size = st.sampled_from(SIZES)
seed = st.integers(0, 255)
bits = st.sampled_from((0o600, 0o644, 0o755, 0o777, 0o2755, 0o4755, 0o6777, 0))
user = st.sampled_from((-1, 0, 5))
name = st.sampled_from("xy")


def step(word: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.tuples(st.just(word), *arguments)


FILES = st.one_of(
    step("open", slot, path, st.sampled_from(FLAGS)),
    step("open", slot, path, st.just(os.O_RDWR | os.O_CREAT)),
    step("write", slot, size, size, seed),
    step("write", slot, size, size, seed),
    step("read", slot, size, size),
    step("map", slot, size, size, seed),
    step("resize", slot, size),
    step("truncate", path, size),
    step("sync", slot),
    step("allocate", slot, st.sampled_from((0, 1, 3)), size, size),
    step("copy", slot, slot, size, size, size),
    step("holes", slot, size),
    step("close", slot),
    step("unnamed", slot, path),
    step("publish", slot, path),
)
TREE = st.one_of(
    step("mkdir", path, bits),
    step("mkdir", path, st.just(0o755)),
    step("rmdir", path),
    step("unlink", path),
    step("rename", path, path, st.sampled_from((0, 0, 1, 2))),
    step("link", path, path),
    step("symlink", st.sampled_from(("a", "d", "../a", "s", "nowhere")), path),
    step("mkfifo", st.sampled_from(("d/p", "e/p"))),
    step("chmod", path, bits),
    step("chown", path, user, user),
    step("stamp", path, st.sampled_from((0, 1, 1_000_000_007))),
    step("set", path, name, st.sampled_from((0, 1, 3000)), st.sampled_from((0, 1, 2))),
    step("get", path, name),
    step("remove", path, name),
    step("list", path),
    step("stat", path),
)


@pytest.fixture(scope="module", params=TREES)
def player(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    if os.geteuid() != 0:
        pytest.skip("not root: histories change owners")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here")
    with mounted(TREES[request.param]()) as mount:
        words = mount.inside(sys.executable, "-m", "support.behaviour.histories", mount.fuse, mount.tmpfs)
        pipe = subprocess.PIPE
        with subprocess.Popen(words, text=True, env=environment(), stdin=pipe, stdout=pipe) as process:
            yield process
            assert process.stdin
            process.stdin.close()


@settings(
    max_examples=HISTORIES,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(history=st.lists(st.one_of(FILES, TREE), min_size=5, max_size=60))
def test_histories_look_the_same_on_tmpfs(history: list[tuple[object, ...]], player: subprocess.Popen[str]) -> None:
    assert player.stdin
    assert player.stdout
    player.stdin.write(json.dumps([*START, *history]) + "\n")
    player.stdin.flush()
    answer = player.stdout.readline()
    assert answer, "the player has ended"
    difference = json.loads(answer)
    assert difference is None, json.dumps(difference)[:3000]

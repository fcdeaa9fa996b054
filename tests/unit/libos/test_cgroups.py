"""Cgroups on whatever this machine has: limits that are set, and directories that go away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from belljar.libos.enclave import Limits
from belljar.libos.limits import cgroups
from belljar.libos.limits.cgroups import Cgroups, remove, sweep
from belljar.libos.limits.warden import Warden

LIMITS = Limits(memory_bytes=64 << 20, processes=10, open_files=10, cpu_millis=500, run_time_ms=None)


@pytest.fixture
def groups() -> Cgroups:
    made = Cgroups()
    made.create(f"{os.getpid()}-test", LIMITS)
    if not made.directories:
        pytest.skip("no cgroup can be written here")
    return made


def test_limits_are_set_and_directories_removed(groups: Cgroups, tmp_path: Path) -> None:
    try:
        assert groups.enforced
        for directory in groups.directories:
            names = {"memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max"} & set(os.listdir(directory))
            values = {name: Path(directory, name).read_text().split()[0] for name in names}
            assert set(values.values()) <= {str(64 << 20), "50000"}, values
        assert groups.memory_kills() == 0
        assert groups.memory_used() is not None
    finally:
        warden = Warden()
        for directory in groups.directories:
            warden.tell_group(directory)
        (tmp_path / "run").mkdir()
        warden.tell_run(str(tmp_path / "run"))
        warden.tell_run(str(tmp_path / "never made"))
        warden.close()
        warden.close()
    assert not any(os.path.exists(directory) for directory in groups.directories)
    assert not any(tmp_path.iterdir())


def test_no_limit_no_group() -> None:
    made = Cgroups()
    made.create("x", LIMITS.replace(memory_bytes=None, cpu_millis=None))
    assert not made.directories
    assert made.memory_used() is None


def test_groups_of_the_dead_are_swept(tmp_path: Path) -> None:
    dead = max(map(int, filter(str.isdecimal, os.listdir("/proc")))) + 100_000
    (tmp_path / f"belljar-{dead}").mkdir()
    (tmp_path / f"belljar-{os.getpid()}").mkdir()
    (tmp_path / "other").mkdir()
    sweep(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [f"belljar-{os.getpid()}", "other"]
    sweep(str(tmp_path / "nowhere"))


def test_removing_is_told(tmp_path: Path) -> None:
    (tmp_path / "full/x").mkdir(parents=True)
    assert not remove(str(tmp_path / "full"))
    assert remove(str(tmp_path / "full/x"))
    assert remove(str(tmp_path / "gone"))


V2 = """\
30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw
"""
HYBRID = """\
25 23 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
26 23 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
30 23 0:26 /docker/abc /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("mounts", "own", "expected"),
    [
        (V2, "0::/user.slice/a.scope\n", {"": "/sys/fs/cgroup/user.slice/a.scope"}),
        (V2, "0::/\n", {"": "/sys/fs/cgroup"}),
        (
            HYBRID,
            "4:memory:/x\n3:cpu,cpuacct:/\n0::/docker/abc/y\n",
            {
                "memory": "/sys/fs/cgroup/memory/x",
                "cpu": "/sys/fs/cgroup/cpu,cpuacct",
                "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
                "": "/sys/fs/cgroup/unified/y",
            },
        ),
        ("", "", {}),
    ],
)
def test_hierarchies_are_found(
    monkeypatch: pytest.MonkeyPatch, mounts: str, own: str, expected: dict[str, str]
) -> None:
    texts = {"/proc/self/mountinfo": mounts, "/proc/self/cgroup": own}
    monkeypatch.setattr(cgroups, "read_text", lambda path: texts[path])
    assert cgroups.hierarchies() == expected

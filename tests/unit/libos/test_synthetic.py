"""Generated files: consistent with the limits, and saying nothing of the host."""

from __future__ import annotations

import os

import pytest

from belljar.libos.enclave import Limits
from belljar.libos.synthetic.etc import etc_files
from belljar.libos.synthetic.proc import Machine

from .test_plan import SPEC


def machine(**limits: int | None) -> Machine:
    values: dict[str, int | None] = {
        "memory_bytes": None, "processes": 10, "open_files": 10, "cpu_millis": None, "run_time_ms": None, **limits,
    }  # fmt: skip
    return Machine(Limits.from_fields(values.values()), memory_used=lambda: 10 << 20, tasks=lambda: (1, 3))


def table(content: bytes) -> dict[str, int]:
    return {line.split(":")[0]: int(line.split()[1]) for line in content.decode().splitlines()}


def test_memory_is_the_limit() -> None:
    shown = table(machine(memory_bytes=64 << 20).meminfo())
    assert shown["MemTotal"] == 64 << 10
    assert shown["MemAvailable"] == 54 << 10
    assert shown["SwapTotal"] == 0


def test_memory_without_a_limit_is_the_hosts() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
    assert table(machine().meminfo())["MemTotal"] == total


@pytest.mark.parametrize(("millis", "cpus"), [(500, 1), (1000, 1), (1001, 2)])
def test_cpus_are_the_limit_rounded_up(millis: int, cpus: int) -> None:
    expected = min(cpus, len(os.sched_getaffinity(0)))
    shown = machine(cpu_millis=millis)
    assert shown.cpuinfo().count(b"processor\t:") == expected
    assert sum(line.startswith(b"cpu") and line[3:4].isdigit() for line in shown.stat().splitlines()) == expected
    online = shown.files()["sys/devices/system/cpu/online"]()
    assert online == (b"0\n" if expected == 1 else b"0-%d\n" % (expected - 1))


def test_the_enclave_has_its_own_age_and_load() -> None:
    shown = machine()
    assert float(shown.uptime().split()[0]) < 5
    assert shown.loadavg().split()[3] == b"1/3"


def test_stat_has_what_programs_look_for() -> None:
    lines = dict(line.split(" ", 1) for line in machine().stat().decode().splitlines())
    assert {"cpu", "intr", "ctxt", "btime", "processes", "procs_running", "procs_blocked"} <= set(lines)


def test_etc_describes_the_guest() -> None:
    files = etc_files(SPEC, resolv_conf=b"nameserver 192.0.2.1\n")
    assert b"user:x:1000:1001:user:/tmp:" in files["/etc/passwd"]
    assert b"root:x:0:0:" in files["/etc/passwd"]
    assert b"user:x:1001:" in files["/etc/group"]
    assert b"127.0.0.1 localhost app" in files["/etc/hosts"]
    assert b"192.0.2.1" not in files["/etc/resolv.conf"], "only with the host's network"
    assert files["/etc/machine-id"] == b"0" * 32 + b"\n"
    assert etc_files(SPEC.replace(host_network=True), resolv_conf=b"n\n")["/etc/resolv.conf"] == b"n\n"


def test_a_guest_can_be_root_of_itself() -> None:
    user = SPEC.user.replace(uid=0, gid=0, name="root", home="/root")
    passwd = etc_files(SPEC.replace(user=user), resolv_conf=b"")["/etc/passwd"]
    assert passwd.count(b"root:x:0:0:") == 1
    assert b":/root:" in passwd

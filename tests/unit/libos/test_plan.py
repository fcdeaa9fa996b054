"""Plans are values: they can be compared and printed without doing anything."""

from __future__ import annotations

import pytest

from belljar.libos.enclave import (
    EnclaveSpec,
    GuestUser,
    HashedMount,
    Host,
    HostMount,
    Inward,
    Limits,
    Outward,
    ScratchMount,
    Traffic,
    plan_enclave,
)
from belljar.libos.plan import steps
from belljar.libos.synthetic.etc import etc_files

SPEC = EnclaveSpec(
    name="app",
    measurement=bytes(32),
    executable="/usr/bin/python3",
    argv=("python3", "app.py"),
    environment=(("PATH", "/usr/bin"),),
    working_directory="/app",
    user=GuestUser(uid=1000, gid=1001, name="user", home="/tmp"),
    hashed=(HashedMount(path="/", source="/", index_path="/i", index_digest=bytes(32)),),
    host=(),
    scratch=(ScratchMount(path="/tmp", size_bytes=1 << 20, mode=0o1777, executable=False),),
    volumes=(),
    limits=Limits(memory_bytes=None, processes=10, open_files=20, cpu_millis=None, run_time_ms=None),
    filters=(bytes(16), bytes(8)),
    denied=((165, "mount"),),
    host_network=False,
    enterable=False,
    stop_on_violation=True,
)
ROOT = Host(
    privileged=True, uid=0, gid=0, supervisor_pid=321, terminals=(), cpus_by_affinity=None, setup_cpu=1,
    mapped_ids=(0, 4294967295))  # fmt: skip
USER = ROOT.replace(privileged=False, uid=501, gid=502)


def kinds(plan_steps: tuple[steps.Step, ...]) -> list[type[steps.Step]]:
    return [type(step) for step in plan_steps]


def test_guest_ids_are_never_host_root() -> None:
    for spec in (SPEC, SPEC.replace(user=GuestUser(uid=0, gid=0, name="root", home="/"))):
        ids = plan_enclave(spec, ROOT).ids
        assert all(outside >= 0x70000000 for _, outside, _ in (*ids.uids, *ids.gids))
        assert {inside for inside, _, _ in ids.uids} == {0, spec.user.uid}


def test_two_enclaves_have_different_host_ids() -> None:
    one, other = plan_enclave(SPEC, ROOT).ids, plan_enclave(SPEC, ROOT.replace(supervisor_pid=322)).ids
    assert not {row[1] for row in one.uids} & {row[1] for row in other.uids}


def test_the_largest_pid_still_has_ids() -> None:
    ids = plan_enclave(SPEC, ROOT.replace(supervisor_pid=4_194_304)).ids
    assert max(outside for _, outside, _ in ids.uids) < 1 << 31


def test_an_ordinary_user_has_one_id() -> None:
    ids = plan_enclave(SPEC, USER).ids
    assert (ids.uids, ids.gids, ids.deny_setgroups) == (((1000, 501, 1),), ((1001, 502, 1),), True)


def test_privileges_go_before_the_program_comes() -> None:
    order = kinds(plan_enclave(SPEC, ROOT).confine)
    user, privileges, landlock = (order.index(kind) for kind in (
        steps.BecomeUser, steps.NoNewPrivileges, steps.RestrictPaths
    ))  # fmt: skip
    filters = [n for n, kind in enumerate(order) if kind is steps.LoadFilter]
    assert user < privileges < landlock < filters[0] < filters[-1] < order.index(steps.CloseDescriptors)
    assert order[-1] is steps.CloseDescriptors


def test_the_root_is_pivoted_after_every_mount() -> None:
    order = kinds(plan_enclave(SPEC, ROOT).setup)
    assert max(n for n, kind in enumerate(order) if kind.__name__.startswith("Mount")) < order.index(steps.PivotRoot)


def test_mounts_come_parents_first_and_hashed_ones_are_shown_again() -> None:
    spec = SPEC.replace(
        hashed=(*SPEC.hashed, HashedMount(path="/tmp/work", source="/w", index_path="/j", index_digest=bytes(32))),
        host=(HostMount(path="/tmp/work/out", source="/out", writable=True, executable=False),),
    )
    plan = plan_enclave(spec, ROOT).setup
    order = [step.describe() for step in plan]
    places = [
        next(n for n, line in enumerate(order) if start in line)
        for start in ("keep copies", "tmpfs at /tmp ", "show the hashed mount /tmp/work", "bind host /out")
    ]
    assert places == sorted(places)


def test_the_host_network_needs_no_loopback_and_no_namespace() -> None:
    plan = plan_enclave(SPEC.replace(host_network=True), ROOT)
    assert "net" not in plan.namespaces
    assert steps.LoopbackUp not in kinds(plan.setup)
    assert "net" in plan_enclave(SPEC, ROOT).namespaces


TRAFFIC = Traffic(connections=1, idle_ms=1, handshake_ms=1)
INWARD = Inward(
    outside="h:1", guest="127.0.0.1:80", security="channel", policy="", endorsements=(), tokens="", authorities="",
    proxy_protocol=False, reattest_ms=0, traffic=TRAFFIC,
)  # fmt: skip
OUTWARD = Outward(
    guest="127.0.1.1:443", name="api.example.com", outside="api.example.com:443", security="guest-tls", policy="",
    endorsements=(), token="", authorities="", private=False, reattest_ms=0, traffic=TRAFFIC,
)  # fmt: skip


def test_only_what_is_opened_costs_steps() -> None:
    plain = plan_enclave(SPEC, ROOT)
    assert not plain.has_gateway
    inward = plan_enclave(SPEC.replace(inward=(INWARD,)), ROOT)
    assert kinds(inward.giver) == [steps.BecomeUser, steps.NoNewPrivileges, steps.LoadFilter, steps.LoadFilter]
    assert not any(step.tells for step in inward.giver if isinstance(step, steps.LoadFilter))
    assert inward.replace(giver=()) == plain
    nameless = OUTWARD.replace(name="", guest="unix:/run/x")
    outward = plan_enclave(SPEC.replace(outward=(OUTWARD, nameless)), ROOT)
    assert not outward.giver
    (listening,) = [step for step in outward.setup if isinstance(step, steps.ListenInside)]
    assert listening.places == ("127.0.1.1:443", "unix:/run/x", "127.0.0.1:53", "udp:127.0.0.1:53")
    assert kinds(outward.setup).index(steps.LoopbackUp) < kinds(outward.setup).index(steps.ListenInside)


def test_names_lead_to_addresses_inside() -> None:
    files = etc_files(SPEC.replace(outward=(OUTWARD,)), resolv_conf=b"of the host")
    assert files["/etc/hosts"].decode().splitlines()[-1] == "127.0.1.1 api.example.com"
    assert files["/etc/resolv.conf"] == b"nameserver 127.0.0.1\n"


def test_terminals_are_replaced() -> None:
    plan = plan_enclave(SPEC, ROOT.replace(terminals=(0, 2)))
    assert steps.OpenTerminal(descriptors=(0, 2)) in plan.confine


def test_a_cpu_limit_without_cgroup_becomes_affinity() -> None:
    assert steps.LimitCpus(count=2) in plan_enclave(SPEC, ROOT.replace(cpus_by_affinity=2)).confine


def test_plans_are_equal_if_they_do_the_same() -> None:
    assert plan_enclave(SPEC, ROOT) == plan_enclave(SPEC, ROOT)
    assert plan_enclave(SPEC, ROOT) != plan_enclave(SPEC, USER)


def test_every_step_can_say_what_it_does() -> None:
    host = ROOT.replace(terminals=(0,), cpus_by_affinity=1)
    spec = SPEC.replace(host=(HostMount(path="/d", source="/d", writable=False, executable=True),))
    described = plan_enclave(spec, host).describe().splitlines()
    assert all(line.strip() for line in described)
    assert "map user ids: 0 is host" in described[1]
    assert described[-1].endswith("and environment PATH")


def test_every_step_has_somebody_who_takes_it() -> None:
    from belljar.libos.guest import confine, mounts

    known = {cls for cls in vars(steps).values() if isinstance(cls, type) and issubclass(cls, steps.Step)}
    assert known - {steps.Step, steps.Execute} == set(mounts._TAKE) | set(confine._TAKE)


class TestValues:
    def test_they_are_frozen(self) -> None:
        with pytest.raises(AttributeError, match="EnclaveSpec is frozen"):
            SPEC.name = "other"  # type: ignore[misc]  # what is being tested

    def test_fields_are_needed_and_known(self) -> None:
        with pytest.raises(TypeError, match="GuestUser needs the field home"):
            GuestUser(uid=1, gid=1, name="x")  # type: ignore[call-arg]  # what is being tested
        with pytest.raises(TypeError, match="LimitCpus has no field many"):
            steps.LimitCpus(count=1, many=2)  # type: ignore[call-arg]  # what is being tested

    def test_they_can_be_packed_and_changed(self) -> None:
        assert GuestUser.from_fields(SPEC.user.fields()) == SPEC.user
        assert SPEC.replace(name="x").name == "x"
        assert SPEC.replace(name="app") == SPEC
        assert hash(SPEC.user) == hash(SPEC.user.replace())
        assert repr(steps.LimitCpus(count=2)) == "LimitCpus(count=2)"

"""The compiled filters, interpreted for every system call number there is."""

from __future__ import annotations

from errno import EAFNOSUPPORT, ENOSYS, EPERM

import pyseccomp
import pytest

from belljar.libos.policy import UnknownSyscall, check_names, compile_policy, make_policy
from belljar.libos.syscalls import names
from support.bpf import ARCH, Verdict, verdict

MACHINES = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}
HIGHEST = 1024  # beyond every number in use
DEFAULT = {machine: compile_policy(make_policy(), machine) for machine in MACHINES}


def number(machine: str, name: str) -> int | None:
    """Return the number of a system call on an architecture, None if it has none there."""
    found = int(pyseccomp.resolve_syscall(MACHINES[machine], name))
    return found if found >= 0 else None


def ask(machine: str, name: str, *arguments: int) -> Verdict:
    found = number(machine, name)
    assert found is not None, name
    return verdict(DEFAULT[machine], found, ARCH[machine], arguments)


@pytest.mark.parametrize("machine", MACHINES)
class TestEveryNumber:
    def test_has_the_verdict_the_tables_give_it(self, machine: str) -> None:
        allowed = {number(machine, name) for name in names.split(names.ALLOWED)}
        denied = {number(machine, name) for name in names.split(names.DENIED)}
        ruled = {number(machine, name) for name in names.RULED}
        for n in range(HIGHEST):
            if n in ruled:
                continue
            found = verdict(DEFAULT[machine], n, ARCH[machine])
            if n in allowed:
                assert found.allowed, n
            elif n in denied:
                assert found.handed_over, n
            else:
                assert found.errno == ENOSYS, n

    def test_of_a_foreign_abi_ends_the_process(self, machine: str) -> None:
        for arch, value in ARCH.items():
            if arch != machine:
                assert all(verdict(DEFAULT[machine], n, value).killed for n in range(HIGHEST)), arch

    def test_what_falls_back_gets_enosys(self, machine: str) -> None:
        for name in ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "openat2", "memfd_secret"):
            assert ask(machine, name).errno == ENOSYS, name

    def test_what_escapes_are_made_of_is_denied(self, machine: str) -> None:
        for name in (
            "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_by_handle_at", "bpf",
            "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "ptrace", "process_vm_readv",
            "kexec_load", "init_module", "finit_module", "fsopen", "open_tree", "move_mount", "pidfd_getfd", "reboot",
        ):  # fmt: skip
            assert ask(machine, name).handed_over, name


def test_no_table_contradicts_another() -> None:
    allowed, denied = set(names.split(names.ALLOWED)), set(names.split(names.DENIED))
    assert not allowed & denied
    assert not (allowed | denied) & set(names.RULED)
    assert len(names.split(names.ALLOWED)) == len(allowed)


@pytest.mark.parametrize("machine", MACHINES)
class TestArguments:
    def test_clone_makes_processes_but_no_namespaces(self, machine: str) -> None:
        assert ask(machine, "clone", 17).allowed
        assert ask(machine, "clone", 0x003D0F00).allowed, "a thread"
        for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
            assert ask(machine, "clone", 17 | flag).errno == EPERM, hex(flag)

    @pytest.mark.parametrize("request_", [0x5412, 0x541C, 0x5423])
    def test_terminal_injection_is_denied_whatever_the_upper_bits(self, machine: str, request_: int) -> None:
        for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
            assert ask(machine, "ioctl", 0, request_ | upper).errno == EPERM
        assert ask(machine, "ioctl", 0, 0x5401).allowed

    def test_socket_families(self, machine: str) -> None:
        for family in (1, 2, 10):
            assert ask(machine, "socket", family, 1, 0).allowed
        for family in (0, 3, 5, 9, 15, 17, 38, 40, 44):
            assert ask(machine, "socket", family, 3, 0).errno == EAFNOSUPPORT, family
            assert not ask(machine, "socket", family | 1 << 32, 3, 0).allowed, family
        assert ask(machine, "socket", 16, 3, 0).allowed, "NETLINK_ROUTE"
        assert all(ask(machine, "socket", 16, 3, protocol).errno == EAFNOSUPPORT for protocol in range(1, 32))
        assert not ask(machine, "socket", 1000, 1, 0).allowed

    def test_personality(self, machine: str) -> None:
        assert ask(machine, "personality", 0xFFFFFFFF).allowed
        assert ask(machine, "personality", 0).allowed
        for persona in (0x0400000, 0x0040000, 0x0100000):  # READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO
            assert not ask(machine, "personality", persona).allowed


def test_x32_ends_the_process() -> None:
    for n in range(HIGHEST):
        assert verdict(DEFAULT["x86_64"], 0x40000000 | n, ARCH["x86_64"]).killed


def test_a_manifest_can_deny_and_allow() -> None:
    filters = compile_policy(make_policy(allow=("ptrace", "io_uring_setup", "clone"), deny=("kill", "ioctl")), "x86_64")

    def asked(name: str, *arguments: int) -> Verdict:
        found = number("x86_64", name)
        assert found is not None
        return verdict(filters, found, ARCH["x86_64"], arguments)

    assert asked("ptrace").allowed
    assert asked("io_uring_setup").allowed
    assert asked("clone", 0x10000000).allowed
    assert asked("kill").handed_over
    assert asked("ioctl", 0, 0x5401).handed_over
    assert asked("tkill").allowed


def test_denying_wins_over_allowing() -> None:
    policy = make_policy(allow=("read",), deny=("read",))
    assert [rule.error for rule in policy.rules if rule.name == "read"] == [EPERM]


def test_setuid_files_can_be_forbidden() -> None:
    filters = compile_policy(make_policy(), "x86_64")
    chmod, openat, mkdirat = (number("x86_64", name) for name in ("chmod", "openat", "mkdirat"))
    assert chmod is not None
    assert openat is not None
    assert mkdirat is not None
    arch = ARCH["x86_64"]
    assert verdict(filters, chmod, arch, (0, 0o755)).allowed
    assert verdict(filters, chmod, arch, (0, 0o4755)).errno == EPERM
    assert verdict(filters, chmod, arch, (0, 0o2755)).errno == EPERM
    assert verdict(filters, openat, arch, (0, 0, 0o101, 0o4755)).errno == EPERM
    assert verdict(filters, openat, arch, (0, 0, 0o0, 0o4755)).allowed, "without O_CREAT the mode is noise"
    assert verdict(filters, mkdirat, arch, (0, 0, 0o1777)).allowed


def test_unknown_names_are_refused() -> None:
    check_names(("read", "clone3"))
    with pytest.raises(UnknownSyscall, match="unknown system call raed"):
        check_names(("raed",))


def test_the_policy_is_measured_rule_by_rule() -> None:
    assert make_policy().rows() == make_policy().rows()
    assert make_policy().rows() != make_policy(deny=("kill",)).rows()
    assert make_policy().rows() != make_policy(deny=("kill",)).rows()

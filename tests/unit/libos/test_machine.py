"""What probes conclude from what the kernel says, on machines that are not this one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from belljar.libos.examining import Finding, State, examine
from belljar.libos.machine import hardware, leaks, remedies
from belljar.libos.machine.attempt import Refusal, refused

SYS = "/proc/sys/"


@pytest.mark.parametrize(
    ("code", "files", "expected"),
    [
        (errno.ENOSPC, {"user/max_user_namespaces": "0\n"}, "as root: sysctl -w user.max_user_namespaces=15000"),
        (errno.ENOSPC, {"user/max_user_namespaces": "9\n"}, "as root, outside of this container"),
        (errno.EPERM, {"kernel/unprivileged_userns_clone": "0\n"}, "sysctl -w kernel.unprivileged_userns_clone=1"),
        (errno.EPERM, {"kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "/etc/apparmor.d/belljar"),
        (errno.EINVAL, {"kernel/unprivileged_userns_clone": "0\n"}, "CONFIG_USER_NS=y"),
        (errno.EPERM, {}, "security policy"),
    ],
)
def test_the_remedy_is_of_the_switch_that_is_off(code: int, files: dict[str, str], expected: str) -> None:
    refusal = Refusal(doing="create a user namespace", code=code, said="no")
    assert expected in remedies.user_namespaces(refusal, lambda path: files.get(path.removeprefix(SYS), ""))


def test_a_profile_names_the_interpreter_itself() -> None:
    refusal = Refusal(doing="have rights in it", code=errno.EPERM, said="no")
    text = remedies.user_namespaces(refusal, lambda path: "1" if "apparmor_restrict" in path else "")
    assert "userns, }" in text
    assert "{{" not in text


@pytest.mark.parametrize(
    ("pattern", "state", "word"),
    [
        ("core\n", State.OK, "core"),
        ("/var/crash/%p\n", State.OK, "limit"),
        ("|/usr/share/apport/apport -p%p\n", State.DEGRADED, "/usr/share/apport/apport"),
        ("|/usr/lib/systemd/systemd-coredump %P\n", State.DEGRADED, "it keeps nothing"),
        ("|\n", State.DEGRADED, "nobody"),
        ("", State.OK, "switched off"),
    ],
)
def test_core_pattern(pattern: str, state: State, word: str) -> None:
    found = leaks.core_pattern(pattern)
    assert found.state == state
    assert word in found.found
    assert bool(found.remedy) == (state != State.OK)


HEAD = "Filename\tType\tSize\tUsed\tPriority\n"


@pytest.mark.parametrize(
    ("swaps", "state"),
    [
        (HEAD, State.OK),
        ("", State.OK),
        (f"{HEAD}/dev/zram0 partition 1 0 100\n", State.OK),
        (f"{HEAD}/swap.img file 1 0 -2\n", State.DEGRADED),
        (f"{HEAD}/dev/zram0 partition 1 0 100\n/dev/sda2 partition 1 0 -2\n", State.DEGRADED),
    ],
)
def test_swap(swaps: str, state: State) -> None:
    found = leaks.swap(swaps)
    assert found.state == state
    assert ("is not known" in found.found) == (state == State.DEGRADED)


@pytest.mark.parametrize(
    ("options", "state"),
    [("rw", State.DEGRADED), ("rw,hidepid=0", State.DEGRADED), ("rw,hidepid=2", State.OK),
     ("rw,gid=4,hidepid=invisible", State.OK)],
)  # fmt: skip
def test_hidden_processes(options: str, state: State) -> None:
    lines = f"1 0 0:1 / / rw - ext4 /dev/sda rw\n22 27 0:21 / /proc rw,relatime - proc proc {options}\n"
    assert leaks.hidden_processes(lines).state == state


def test_hardware_is_named_and_nothing_is_claimed_of_it(tmp_path: Path) -> None:
    assert hardware.tee(f"{tmp_path}/").state == State.MISSING
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sev-guest").touch()
    (tmp_path / "dev/tpmrm0").touch()
    found = hardware.tee(f"{tmp_path}/")
    assert found.state == State.DEGRADED
    assert found.found == "AMD SEV-SNP guest (/dev/sev-guest); belljar does not use it yet"
    assert "simulated enclave" in found.cost
    assert hardware.tpm(f"{tmp_path}/").state == State.OK


def test_a_probe_that_fails_is_a_finding() -> None:
    def broken() -> Finding:
        raise ValueError("odd")

    found = next(examine((("odd one", broken),)))
    assert (found.name, found.state, found.found) == (
        "odd one",
        State.DEGRADED,
        "could not be looked at: ValueError: odd",
    )


def test_steps_are_taken_elsewhere_and_the_first_refusal_is_told(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert refused(("make a mark", lambda _: mark.touch())) is None
    assert mark.exists()
    refusal = refused(
        ("go on", lambda _: None),
        ("read nothing", lambda _: (tmp_path / "nothing").read_text()),
        ("remove the mark", lambda _: mark.unlink()),
    )
    assert str(refusal) == "read nothing: no such file or directory"
    assert refusal is not None
    assert refusal.code == errno.ENOENT
    assert mark.exists()
    assert str(refused(("divide", lambda _: 1 // 0))).startswith("divide: ZeroDivisionError")

"""`belljar doctor` on machines that lack something: each is made so for one process, and what it says is looked at."""

from __future__ import annotations

import glob
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from belljar.attestation.platforms import Reviewed
from belljar.loader.cli import main
from belljar.loader.commands.attestation.surveyed import algorithms, root_of_trust
from support.running import Belljar, has
from support.users import ordinary_prefix

Findings = dict[str, dict[str, Any]]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="taking something away by a mount needs root")

DENY = """
import os, sys
import pyseccomp
denied = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
denied.add_rule(pyseccomp.ERRNO({code}), {name!r})
denied.load()
os.execv(sys.argv[1], sys.argv[1:])
"""


def examined(belljar: Belljar, *, code: int) -> Findings:
    """Run the doctor, expect an exit code, and return what it found by name, the verdict under ""."""
    told = json.loads(belljar("doctor", "--json", check=code).stdout)
    assert told["enclaves_run"] is (code == 0)
    findings: Findings = {finding["name"]: finding for finding in told["findings"]}
    assert len(findings) == len(told["findings"])
    findings[""] = {"found": told["verdict"]}
    return findings


def without(script: str) -> list[str]:
    """Return words that run a command in a mount namespace where a script has taken something away."""
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", f'{script} && exec "$@"', "sh"]


def denying(belljar: Belljar, name: str, code: int) -> list[str]:
    """Return words that run a command under a seccomp filter which denies a system call."""
    return [*belljar.prefix, str(belljar.script.with_name("python")), "-c", DENY.format(name=name, code=code)]


def test_enclaves_run_here(anybody: Belljar) -> None:
    lines = anybody("doctor").stdout.splitlines()
    assert lines[0].startswith("belljar ")
    assert lines[-1].startswith("verdict: enclaves run here; ")
    assert "ok        user namespaces:     can be made by " in "\n".join(lines)
    assert max(map(len, lines)) < 200
    assert any(line.startswith("ML-DSA-65 ") and line.endswith("withstands") for line in lines)


def test_whatever_is_not_ok_has_its_price(anybody: Belljar) -> None:
    findings = examined(anybody, code=0)
    findings.pop("")
    assert {finding["state"] for finding in findings.values()} <= {"ok", "degraded", "missing"}
    assert not [name for name, finding in findings.items() if finding["state"] != "ok" and not finding["cost"]]
    assert not [name for name, finding in findings.items() if finding["state"] == "missing" and finding["required"]]
    assert "simulated enclave" in findings["hardware TEE"]["cost"]


def test_it_takes_no_arguments(belljar: Belljar) -> None:
    assert "doctor takes no arguments, got now" in belljar("doctor", "now", check=2).stderr


def test_without_user_namespaces(belljar: Belljar) -> None:
    shut = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    belljar.prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", shut, "sh"]
    if subprocess.run([*belljar.prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace can be made here to begin with")
    findings = examined(belljar, code=1)
    assert findings["user namespaces"]["state"] == "missing"
    assert findings["user namespaces"]["remedy"] == "as root: sysctl -w user.max_user_namespaces=15000"
    assert findings["own /proc"]["remedy"] == "see user namespaces, other namespaces"
    assert findings[""]["found"].startswith("verdict: no enclave runs here: user namespaces, ")


def test_root_of_a_namespace_with_one_id(belljar: Belljar) -> None:
    belljar.prefix = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*belljar.prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace can be made here to begin with")
    findings = examined(belljar, code=1)
    assert "only 1 user ids are mapped here" in findings["user namespaces"]["found"]
    assert findings["user namespaces"]["remedy"].startswith("run belljar as an ordinary user")


@needs_root
def test_without_dev_fuse(belljar: Belljar, tmp_path: Path) -> None:
    bind = f'touch "{tmp_path}/$n" && mount --bind "/dev/$n" "{tmp_path}/$n"'
    nodes = f"for n in null zero full random urandom tty; do {bind} || exit 9; done"
    belljar.prefix = without(f"mount -t tmpfs none {tmp_path} && {nodes}; mount --rbind {tmp_path} /dev")
    findings = examined(belljar, code=1)
    assert findings["/dev/fuse"]["found"] == "cannot be opened: no such file or directory"
    assert findings["/dev/fuse"]["remedy"].startswith("as root: modprobe fuse")
    assert findings["FUSE mount"]["state"] == "missing"
    assert "/dev/fuse, FUSE mount missing; cannot build the enclave: open /dev/fuse" in findings[""]["found"]


@needs_root
def test_a_device_for_root_only(ordinary: Belljar, belljar: Belljar, ordinary_home: Path) -> None:
    device = ordinary_home / "fuse-of-root"
    os.mknod(device, 0o020600, os.stat("/dev/fuse").st_rdev)
    ordinary.prefix = ordinary_prefix(str(device))
    findings = examined(ordinary, code=1)
    assert findings["/dev/fuse"]["found"] == "cannot be opened: permission denied (mode 0600)"
    assert findings["/dev/fuse"]["remedy"].startswith("as root: chmod 666 /dev/fuse")
    belljar.prefix = without(f"mount --bind {device} /dev/fuse")
    findings = examined(belljar, code=0)
    assert findings["/dev/fuse"]["cost"] == "other users of this machine cannot run enclaves"


@needs_root
def test_a_masked_proc(belljar: Belljar) -> None:
    belljar.prefix = without("mount --bind /dev/null /proc/interrupts")
    findings = examined(belljar, code=1)
    assert findings["own /proc"]["state"] == "missing"
    assert "--security-opt systempaths=unconfined" in findings["own /proc"]["remedy"]
    assert "own /proc missing; cannot build the enclave: mount proc" in findings[""]["found"]


@needs_root
def test_without_cgroups(belljar: Belljar) -> None:
    belljar.prefix = without("mount -t tmpfs none /sys/fs/cgroup")
    findings = examined(belljar, code=0)
    for name in ("memory limit", "cpu limit", "cgroup.kill"):
        assert findings[name]["state"] == "degraded"
    assert "ten times a second" in findings["memory limit"]["cost"]


@needs_root
def test_without_libseccomp(belljar: Belljar) -> None:
    files = [os.path.realpath(path) for where in ("", "*/") for path in glob.glob(f"/usr/lib*/{where}libseccomp.so.2")]
    if not files:
        pytest.skip("libseccomp.so.2 is not where Debian and Fedora have it")
    belljar.prefix = without(" && ".join(f"mount --bind /dev/null {path}" for path in files))
    findings = examined(belljar, code=1)
    assert findings["libseccomp"]["state"] == "missing"
    assert findings["libseccomp"]["remedy"] == "install it, for example with: apt install libseccomp2"


EPERM, EINVAL, ENOSYS, EOPNOTSUPP = 1, 22, 38, 95


@pytest.mark.parametrize(
    ("name", "errno", "finding", "remedy", "code"),
    [
        ("unshare", EPERM, "user namespaces", "--security-opt seccomp=unconfined", 1),
        ("pidfd_open", EPERM, "pidfd", "--security-opt seccomp=unconfined", 1),
        ("seccomp", EINVAL, "seccomp filter", "--security-opt seccomp=unconfined", 1),
        ("landlock_create_ruleset", ENOSYS, "Landlock", "--security-opt seccomp=unconfined", 0),
        ("landlock_create_ruleset", EOPNOTSUPP, "Landlock", "start the kernel with lsm=landlock", 0),
        ("open_tree", ENOSYS, "detached mounts", "--security-opt seccomp=unconfined", 0),
    ],
)
def test_under_a_filter(anybody: Belljar, name: str, errno: int, finding: str, remedy: str, code: int) -> None:
    anybody.prefix = denying(anybody, name, errno)
    found = examined(anybody, code=code)[finding]
    assert found["state"] == "missing"
    assert remedy in found["remedy"]
    assert os.strerror(errno).lower() in found["found"]


def test_killed_by_a_filter(belljar: Belljar) -> None:
    belljar.prefix = denying(belljar, "mount", 0)
    belljar.prefix[-1] = belljar.prefix[-1].replace("pyseccomp.ERRNO(0)", "pyseccomp.KILL_PROCESS")
    assert examined(belljar, code=1)["FUSE mount"]["found"] == "mount fuse: killed by signal 31"


def test_without_a_cache_folder(belljar: Belljar) -> None:
    belljar.cache = Path("/proc/nowhere")
    belljar.environment["TMPDIR"] = "/proc/nowhere"
    findings = examined(belljar, code=1)
    assert findings["cache folder"]["state"] == "missing"
    assert "XDG_CACHE_HOME" in findings["cache folder"]["remedy"]


@pytest.mark.skipif(not has("prlimit"), reason="prlimit takes away processes, and is not installed")
def test_a_probe_that_cannot_be_made_stops_no_other(ordinary: Belljar) -> None:
    ordinary.prefix += ["prlimit", "--nproc=1"]
    findings = examined(ordinary, code=1)
    assert findings["user namespaces"]["found"].startswith("could not be looked at: ")
    assert findings["seccomp listener"]["name"]


def test_the_root_of_trust_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = root_of_trust()
    assert (found.state, found.remedy) == ("missing", "belljar platform init makes one")
    assert main(["platform", "init"]) == 0
    found = root_of_trust()
    assert found.state == "degraded"
    assert found.found.startswith("soft, simulated: a secret in a file, so whoever reads the file or is root")
    (tmp_path / "state/belljar/platform/soft.platform").write_bytes(b"broken")
    assert root_of_trust().state == "missing"


def test_an_overdue_review_is_named() -> None:
    known = (Reviewed(name="old", use="signatures", source="1999", withstands_quantum=False, review_by="2000-01-01"),)
    assert algorithms("1999-12-31", known).state == "ok"
    late = algorithms("2000-01-02", known)
    assert (late.state, late.cost) == ("degraded", "nobody has looked lately whether they still hold: old")

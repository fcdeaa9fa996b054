"""Probes: the system itself, and what hardware could add. Belljar says what is there, and claims nothing of it."""

from __future__ import annotations

import os
import sys

from .finding import Finding, State

_TEES = {
    "/dev/sev-guest": "AMD SEV-SNP guest",
    "/dev/tdx_guest": "Intel TDX guest",
    "/dev/sgx_enclave": "Intel SGX",
    "/sys/kernel/config/tsm/report": "attestation reports by configfs-tsm",
}
_TPM = "/dev/tpmrm0"
_MACHINES = ("x86_64", "aarch64")
_OLDEST = (5, 15)


def linux() -> Finding:
    """Name the kernel and the machine."""
    system = os.uname()
    name, found = "Linux", f"{system.release} on {system.machine}"
    if system.machine not in _MACHINES:
        return Finding(
            name=name, state=State.MISSING, required=True, found=found,
            cost=f"no system call policy is known for {system.machine}",
            remedy=f"a machine that is {' or '.join(_MACHINES)}, and an interpreter of that kind",
        )  # fmt: skip
    if _version(system.release) < _OLDEST:
        return Finding(
            name=name, state=State.DEGRADED, found=found, required=True,
            cost="older than what belljar was ever tried on: what works is what is found below",
            remedy="Linux 5.15 or newer",
        )  # fmt: skip
    return Finding(name=name, state=State.OK, found=found, required=True)


def _version(release: str) -> tuple[int, ...]:
    numbers = release.partition("-")[0].split(".")[:2]
    return tuple(int(number) if number.isdecimal() else 0 for number in numbers)


def python() -> Finding:
    """Name the interpreter that runs belljar; an older one would not have come so far."""
    found = f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}"
    return Finding(name="Python", state=State.OK, found=found, required=True)


def tee(root: str = "/") -> Finding:
    """Look for hardware that protects memory from the host. There is no way to have it by a command.

    Args:
        root: where the file system begins.
    """
    there = [f"{what} ({path})" for path, what in _TEES.items() if os.path.exists(root + path[1:])]
    cost = "simulated enclave: only hardware could protect it against root of this host"
    if there:
        found = f"{', '.join(there)}; belljar does not use it yet"
        return Finding(name="hardware TEE", state=State.DEGRADED, found=found, cost=cost)
    return Finding(name="hardware TEE", state=State.MISSING, found="none that this system shows", cost=cost)


def tpm(root: str = "/") -> Finding:
    """Look for a TPM.

    Args:
        root: where the file system begins.
    """
    if os.path.exists(root + _TPM[1:]):
        return Finding(name="TPM", state=State.OK, found=f"{_TPM}; belljar does not use it yet")
    return Finding(
        name="TPM", state=State.MISSING, found=f"no {_TPM}",
        cost="nothing yet: later it can keep this machine's root of trust",
    )  # fmt: skip

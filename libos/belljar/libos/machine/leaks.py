"""Probes: ways out of an enclave's memory that the host leaves open: dumps, swap, other processes.

Those that judge a file of the kernel take its text, and are pure.
"""

from __future__ import annotations

import os
import signal

from belljar.libos.interfaces import read_text

from .finding import Finding, State

_SYSTEMD = "systemd-coredump"


def core_pattern(text: str) -> Finding:
    """Judge /proc/sys/kernel/core_pattern: a pipe gets the memory of what crashes, whatever its limit is (core(5))."""
    name, pattern = "core dumps", text.strip()
    if not pattern:
        return Finding(name=name, state=State.OK, found="switched off, or /proc shows nothing of them")
    if not pattern.startswith("|"):
        return Finding(name=name, state=State.OK, found=f"files ({pattern}): an enclave's limit of none holds")
    handler = pattern[1:].split()[0] if pattern[1:].split() else "nobody"
    keeps = " (it keeps nothing of programs with our limit)" if _SYSTEMD in handler else ""
    return Finding(
        name=name, state=State.DEGRADED, found=f"are piped to {handler}{keeps}",
        cost=f"when a program crashes in an enclave, the host's {handler} gets its memory, secrets included",
        remedy="as root: sysctl -w kernel.core_pattern=core",
    )  # fmt: skip


def swap(text: str) -> Finding:
    """Judge /proc/swaps."""
    name = "swap"
    places = [line.split()[0] for line in text.splitlines()[1:] if line.strip()]
    on_disk = [place for place in places if not place.startswith("/dev/zram") and not _is_encrypted(place)]
    if not places:
        return Finding(name=name, state=State.OK, found="none")
    if not on_disk:
        return Finding(name=name, state=State.OK, found=f"{', '.join(places)}: in memory, or encrypted by dm-crypt")
    return Finding(
        name=name, state=State.DEGRADED,
        found=f"{', '.join(on_disk)}; whether something below encrypts it is not known",
        cost="memory of an enclave, secrets included, may reach the disk",
        remedy="as root: swapoff -a, or swap on dm-crypt",
    )  # fmt: skip


def _is_encrypted(place: str) -> bool:
    device = os.path.basename(os.path.realpath(place))
    return read_text(f"/sys/class/block/{device}/dm/uuid").startswith("CRYPT-")


def hidden_processes(mounts: str) -> Finding:
    """Judge /proc/self/mountinfo: whether users see each other's processes."""
    name = "processes of others"
    options = [line.rpartition(" ")[2].split(",") for line in mounts.splitlines() if _is_proc(line)]
    hidden = [option for some in options[-1:] for option in some if option.startswith("hidepid=")]
    if hidden and hidden[0] not in ("hidepid=0", "hidepid=off"):
        return Finding(name=name, state=State.OK, found=f"hidden from each other ({hidden[0]})")
    return Finding(
        name=name, state=State.DEGRADED, found="/proc shows them to every user",
        cost="other users of this machine can read the arguments of programs in enclaves",
        remedy="as root: mount -o remount,hidepid=2 /proc",
    )  # fmt: skip


def _is_proc(line: str) -> bool:
    fields, _, kind = line.partition(" - ")
    return fields.split(" ")[4] == "/proc" and kind.startswith("proc ")


def ptrace() -> Finding:
    """Have one process of ours look into the memory of another that is not its child."""
    name = "ptrace"
    if os.geteuid() == 0:
        return Finding(
            name=name, state=State.DEGRADED, found="we are root: every process of root may look into the supervisor",
            cost="the supervisor's memory is open to whatever else runs as root",
            remedy="run belljar as an ordinary user of its own",
        )  # fmt: skip
    if not _can_look():
        return Finding(name=name, state=State.OK, found="processes of one user cannot look into each other")
    scope = read_text("/proc/sys/kernel/yama/ptrace_scope").strip()
    return Finding(
        name=name, state=State.DEGRADED, found="processes of one user can look into each other",
        cost="the supervisor's memory is open to every program you run outside of an enclave",
        remedy="as root: sysctl -w kernel.yama.ptrace_scope=1" if scope else "start the kernel with lsm=yama,…",
    )  # fmt: skip


def _can_look() -> bool:
    """Say whether a process could read the memory of a sibling: opening it asks the same as ptrace(2) does."""
    target = os.fork()
    if target == 0:
        signal.alarm(_PATIENCE_S)
        signal.pause()
        os._exit(0)
    looker = os.fork()
    if looker == 0:
        try:
            os.open(f"/proc/{target}/mem", os.O_RDONLY)
            os._exit(1)
        except OSError:
            os._exit(0)
    looked = os.waitstatus_to_exitcode(os.waitpid(looker, 0)[1])
    os.kill(target, signal.SIGKILL)
    os.waitpid(target, 0)
    return looked == 1


_PATIENCE_S = 10

"""Watch the memory of an enclave where no cgroup can limit it: look at its processes now and then.

In comes the pid of the enclave's init; out comes what all processes below it use. Slower and coarser than a cgroup: an
enclave can be over its limit for as long as the time between two looks. `belljar run --verbose` says which one it is.
"""

from __future__ import annotations

import os

INTERVAL_S = 0.1


def processes(init: int) -> list[int]:
    """Return init and every process below it; orphans of the enclave are init's children."""
    found: list[int] = []
    pending = [init]
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += _children(pid)
    return found


def memory_used(init: int) -> int:
    """Return the bytes of private and shared-memory pages that the processes of an enclave hold."""
    return sum(_private_bytes(pid) for pid in processes(init))


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    except OSError:  # ended meanwhile
        pass
    return children


def _private_bytes(pid: int) -> int:
    """Return resident pages less those of files, which the enclave shares with the page cache."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if line.startswith(("RssAnon", "RssShmem")))
    except OSError:
        return 0
    return sum(int(value.split()[0]) << 10 for value in fields.values())

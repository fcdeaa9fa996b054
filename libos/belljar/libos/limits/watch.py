"""Watch the memory of an enclave where no cgroup can limit it: look at its processes now and then.

In comes the pid of the enclave's init; out comes what all processes below it use. Slower and coarser than a cgroup: an
enclave can be over its limit for as long as the time between two looks. `belljar run --verbose` says which one it is.
"""

from __future__ import annotations

import os

from belljar.libos.interfaces import read_text

INTERVAL_S = 0.1


def processes(roots: list[int]) -> list[int]:
    """Return processes and every process below them; orphans of an enclave are its init's children."""
    found: list[int] = []
    pending = list(roots)
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children(pid)
    return found


def memory_used(roots: list[int], scratch: tuple[str, ...] = ()) -> int:
    """Return the bytes an enclave holds: its processes' own pages, and what lies in memory files and scratch mounts.

    Args:
        roots: host pids of the enclave's init, and of programs that joined.
        scratch: guest paths of its tmpfs mounts.
    """
    pids = processes(roots)
    pages = [_pages(pid) for pid in pids]
    kept = sum(_memory_files(pids).values()) + max((_in_scratch(pid, scratch) for pid in pids), default=0)
    # Mapped pages of memory files and scratch mounts are in both sums; SysV segments only among the mapped.
    return sum(own for own, _ in pages) + max(kept, sum(shared for _, shared in pages))


def birth(pid: int) -> str:
    """Return when a process was started, which tells it from a later one with its pid (proc_pid_stat(5): 22)."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return fields[19] if len(fields) > 19 else ""


def children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    except OSError:  # ended meanwhile
        pass
    return children


def _pages(pid: int) -> tuple[int, int]:
    """Return (anonymous, shared-memory) bytes of a process, pages that several map divided among them."""
    fields = _fields(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))
    if len(fields) != 2:  # not ours to see: what it maps counts whole
        fields = _fields(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:"))
    return (fields[0], fields[1]) if len(fields) == 2 else (0, 0)


def _fields(path: str, names: tuple[str, str]) -> list[int]:
    return [int(line.split()[1]) << 10 for line in read_text(path).splitlines() if line.startswith(names)]


def _memory_files(pids: list[int]) -> dict[tuple[int, int], int]:
    """Return (device, inode) -> bytes of the files that memfd_create(2) made, mapped or not."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):
                if os.readlink(f"{folder}/{name}").startswith("/memfd:"):
                    status = os.stat(f"{folder}/{name}")
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
        except OSError:  # ended meanwhile, or not ours to see
            continue
    return found


def _in_scratch(pid: int, scratch: tuple[str, ...]) -> int:
    """Return the bytes in the tmpfs mounts that a process sees."""
    used = 0
    try:
        for path in scratch:
            status = os.statvfs(f"/proc/{pid}/root{path}")
            used += (status.f_blocks - status.f_bfree) * status.f_frsize
    except OSError:  # ended meanwhile, or not ours to see
        return 0
    return used

"""What the processes of a sandbox use."""

from __future__ import annotations

import glob
import subprocess
import time
from pathlib import Path


def idle_mib(words: list[str], folder: Path) -> float:
    """Return the proportional set size of everything but the innermost process: the program itself."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        pids = family(process.pid)
        total = sum(pss_kib(pid) for pid in pids[:-1]) / 1024
        process.stdin.write("\n")
        process.stdin.close()
    return total


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it; the innermost comes last."""
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        for child in Path(path).read_text().split():
            found += family(int(child))
    return found


def pss_kib(pid: int) -> int:
    """Return the proportional set size: what is shared counts in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def is_alive(pid: int) -> bool:
    """Say whether a process still runs; one that only waits for its parent to look does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

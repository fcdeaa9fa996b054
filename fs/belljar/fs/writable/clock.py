"""The time as the kernel stamps files: asked of the kernel, by making a file in memory.

Some times of files come from the kernel (pages written back) and some from us, and what is written later must not be
older. The kernel stamps with its coarse clock, but never before the finest stamp that it has given to any file on the
machine (multigrain timestamps, Linux 6.13); no clock that clock_gettime(2) reads knows of that.
"""

from __future__ import annotations

import os
import time

_MAKES_FILES = hasattr(os, "memfd_create")  # Linux


def kernel_time_ns() -> int:
    """Return the time, in nanoseconds since the epoch; elsewhere than on Linux, simply the time."""
    if not _MAKES_FILES:
        return time.time_ns()
    file = os.memfd_create("time")
    try:
        return os.fstat(file).st_ctime_ns
    finally:
        os.close(file)

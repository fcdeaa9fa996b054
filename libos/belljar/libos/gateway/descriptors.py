"""How many connections this process has descriptors for: strangers must not take those that the file servers need.

A connection that is led through holds two; one that has proven nothing yet, one; and a door holds as many of either.
When a process has no descriptors left, the file servers cannot open what the program pages in, and that ends it. In
come what a manifest allows and what the kernel does; out come limits that fit. Pure, but for `left`.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from belljar.libos.spec import Traffic

_FOR_ONE = 3
_FOR_FILES = 512  # each hashed folder may hold 64, and there are volumes, sockets in stock, commands that ask


def left() -> int:
    """Return how many descriptors the gateway may take from here on."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return limit - min(_FOR_FILES, limit // 2) - len(os.listdir("/proc/self/fd"))


def fitting(wanted: Sequence[Traffic], descriptors: int) -> list[Traffic]:
    """Return the limits of doors, lowered in proportion if so many descriptors are too few; each keeps one place."""
    needed = sum(_FOR_ONE * traffic.connections for traffic in wanted)
    if needed <= descriptors:
        return list(wanted)
    return [
        traffic.replace(connections=max(1, traffic.connections * max(0, descriptors) // needed)) for traffic in wanted
    ]

"""Be an ordinary user for a while, or run a command as one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ORDINARY_ID = 65432  # nobody's: no account has it, no file belongs to it


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Give up root in this process until the block ends; nothing changes for an ordinary user."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(ORDINARY_ID)
    os.seteuid(ORDINARY_ID)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def ordinary_prefix(device: str) -> list[str]:
    """Return words that run a command as an ordinary user who may open /dev/fuse.

    Args:
        device: a node like /dev/fuse with mode 0666, shown in its place in a mount namespace of its own.
    """
    if os.geteuid() != 0:
        return []
    become = f"setpriv --reuid={ORDINARY_ID} --regid={ORDINARY_ID} --clear-groups --no-new-privs"
    script = f'mount --bind {device} /dev/fuse && exec {become} "$@"'
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]

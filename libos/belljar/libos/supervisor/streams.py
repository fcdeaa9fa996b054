"""The standard descriptors, which are the program's: make sure that they are there, reachable, and not held by us too.

What is a terminal is not handed to the program at all: see `terminal.py`.
"""

from __future__ import annotations

import os
from stat import S_ISDIR

from belljar.libos.errors import SandboxUnavailable


def open_standard_descriptors() -> None:
    """Fill 0, 1 and 2 if the caller closed them, or the next descriptor we open would become the guest's.

    Raises:
        SandboxUnavailable: one of them is a directory: with it, a guest could open host files by relative paths.
    """
    for descriptor, name in enumerate(("input", "output", "error")):
        try:
            if S_ISDIR(os.fstat(descriptor).st_mode):
                raise SandboxUnavailable(f"standard {name} is a directory: a program in an enclave may not have one")
        except OSError:  # closed
            pass
    while (descriptor := os.open("/dev/null", os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def give_pipes_to(streams: tuple[int, ...], uid: int, gid: int) -> None:
    """Let the guest's user own pipes among its standard descriptors: without, it could not open /dev/stdout.

    Only pipes without a name: the owner of a file of the host is not ours to change.
    """
    for descriptor in streams:
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:"):
                os.fchown(descriptor, uid, gid)
        except OSError:  # not ours: the guest can still use it as it is
            pass


def let_go(*descriptors: int) -> None:
    """Stop holding what the program now has: its readers must see the end when it closes it.

    Terminals are kept: we stand between them and the program. So is 2, on which we say how the run ended.
    """
    for descriptor in descriptors:
        if not os.isatty(descriptor):
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, descriptor)
            os.close(null)

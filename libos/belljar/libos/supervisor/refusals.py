"""Refuse the system calls that the filter hands over, and remember which they were (seccomp_unotify(2)).

In come listeners and what is denied; out come errnos to the guest and `Refusal`s for whoever asks why a program failed.
No call is ever continued and no memory of the guest is read, so there is nothing to race with.
"""

from __future__ import annotations

import fcntl
import os
import select
from errno import EPERM
from struct import Struct

from belljar.libos.interfaces import read_text
from belljar.libos.values import Value

_RECV = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV
_SEND = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND
_NOTIF = Struct("<QIIiIQ6Q")  # struct seccomp_notif: id, pid, flags; nr, arch, instruction pointer, arguments
_RESPONSE = Struct("<QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_MOST_KINDS = 256  # a guest must not fill our memory
_MOST_LISTENERS = 64


class Refusal(Value):
    """Something an enclave asked for and did not get.

    Attributes:
        kind: "system-call"; "path": a file that the host has and the enclave has not; or of the network "name" that was
            looked up, "server" that TLS was to reach behind another name, "address" that is not of the public Internet.
        what: name of the system call, guest path, or name of a host.
        count: how often; 1 for paths, which the kernel asks for once.
        program: name of the process that asked first; empty if nobody knows.
        host: path on the host; empty for all but paths.
    """

    kind: str
    what: str
    count: int
    program: str = ""
    host: str = ""


class Refusals:
    """The listeners of one enclave, and what they told.

    Args:
        denied: (number, name) of the calls that are handed over.
    """

    def __init__(self, denied: tuple[tuple[int, str], ...]) -> None:
        self._names = dict(denied)
        self._listeners: list[int] = []
        self._seen: dict[str, tuple[int, str]] = {}

    def listen(self, listener: int) -> bool:
        """Take a listener, which is ours from here on; say whether there was room for it."""
        if len(self._listeners) >= _MOST_LISTENERS:
            os.close(listener)  # its calls get ENOSYS
            return False
        self._listeners.append(listener)
        return True

    def watched(self) -> list[int]:
        """Return the descriptors to poll for reading."""
        return list(self._listeners)

    def ready(self, listener: int) -> bool:
        """Refuse one call; say whether the listener was one of ours."""
        if listener not in self._listeners:
            return False
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        events = sum(event for _, event in poll.poll(0))
        if not events & select.POLLIN:  # RECV could wait for ever
            if events & select.POLLHUP:  # nobody is left who could call
                self._listeners.remove(listener)
                os.close(listener)
            return True
        told = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(listener, _RECV, told)
        except OSError:  # the caller has been killed meanwhile
            return True
        cookie, pid, _, number = _NOTIF.unpack(told)[:4]
        self._note(number, pid)
        try:
            fcntl.ioctl(listener, _SEND, bytearray(_RESPONSE.pack(cookie, 0, -EPERM, 0)))
        except OSError:  # killed meanwhile
            pass
        return True

    def _note(self, number: int, pid: int) -> None:
        name = self._names.get(number, f"number {number}")
        count, program = self._seen.get(name, (0, ""))
        if not count and len(self._seen) >= _MOST_KINDS:
            return
        self._seen[name] = count + 1, program or read_text(f"/proc/{pid}/comm").strip()

    def noted(self) -> tuple[Refusal, ...]:
        """Return what was refused so far."""
        return tuple(
            Refusal(kind="system-call", what=name, count=count, program=program)
            for name, (count, program) in sorted(self._seen.items())
        )

    def close(self) -> None:
        """Release the listeners; what is still handed over gets ENOSYS."""
        for listener in self._listeners:
            os.close(listener)
        self._listeners = []

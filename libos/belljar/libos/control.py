"""The control socket between the supervisor and the guest's side of the fork, until the program is executed.

A SOCK_SEQPACKET pair: one message is one packet of NUL-separated fields, the first names it; descriptors ride along.
Both ends are ours, so a malformed message is a defect, not an attack: the program never holds this socket.
"""

from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from errno import EMFILE
from struct import pack, unpack

# guest's side -> supervisor
UNSHARED = b"unshared"  # namespaces exist; descriptors: /dev/fuse for tree, generated files, volumes, evidence
INIT = b"init"  # host pid of the enclave's init; descriptors: its namespaces, and the line to who gives sockets
VOLUME = b"volume"  # number of an encrypted volume that is mounted: serve it now
ATTESTATION = b"attestation"  # the files for evidence are mounted: serve them now
MOUNTED = b"mounted"  # both FUSE file systems are mounted: serve them now
LISTENING = b"listening"  # descriptors: sockets in the guest's network that the gateway answers on
SET_UP = b"set-up"  # everything is mounted and looked up: the file servers may spread over the CPUs
LISTENER = b"listener"  # descriptor: tells of system calls that the filter hands over
TERMINAL = b"terminal"  # descriptors: both ends of the guest's terminal
STARTED = b"started"  # pid 2 exists; descriptor: a pidfd of it
FAILED = b"failed"  # errno, what was being done
NOT_EXECUTED = b"not-executed"  # errno of execve
EXITED = b"exited"  # wait status of pid 2
# supervisor -> guest's side
GO = b"go"  # limits apply to you: unshare
MAPPED = b"mapped"  # ids are mapped; descriptors: captured host mounts
START = b"start"  # descriptors: a file with the rest of the plan, and what becomes 0, 1 and 2

_MAX_BYTES = 4096
_MAX_DESCRIPTORS = 250  # SCM_MAX_FD is 253


class Control:
    """One end of the control socket."""

    def __init__(self, end: socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """Return the descriptor, for poll(2)."""
        return self._socket.fileno()

    def close(self) -> None:
        """Release the descriptor."""
        self._socket.close()

    def move_to(self, descriptor: int) -> None:
        """Let this end have a certain descriptor number; it stays closed on exec."""
        if self._socket.fileno() != descriptor:
            os.dup2(self._socket.fileno(), descriptor, inheritable=False)
            self._socket.close()
            self._socket = socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)

    def send(self, kind: bytes, *fields: bytes, descriptors: list[int] | None = None) -> None:
        """Send one message.

        Raises:
            OSError: the other side is gone.
        """
        message = b"\0".join((kind, *(field.replace(b"\0", b"?") for field in fields)))[:_MAX_BYTES]
        ancillary: list[tuple[int, int, bytes]] = []
        if descriptors:
            ancillary.append((SOL_SOCKET, SCM_RIGHTS, pack(f"{len(descriptors)}i", *descriptors)))
        self._socket.sendmsg([message], ancillary)

    def receive(self) -> tuple[bytes, list[bytes], list[int]]:
        """Wait for one message and return (kind, fields, descriptors); kind is empty when the other side is gone.

        Raises:
            OSError: EMFILE, this process may not have so many descriptors.
        """
        try:
            message, ancillary, flags, _ = self._socket.recvmsg(_MAX_BYTES, 16 + 4 * _MAX_DESCRIPTORS, MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return b"", [], []
        if flags & MSG_CTRUNC:
            raise OSError(EMFILE, "too many open files: raise the limit (ulimit -n)")
        descriptors: list[int] = []
        for level, kind, content in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                descriptors += unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
        name, *fields = message.split(b"\0")
        return name, fields, descriptors


def control_pair() -> tuple[Control, Control]:
    """Return two connected ends, both closed on exec."""
    one, other = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Control(one), Control(other)

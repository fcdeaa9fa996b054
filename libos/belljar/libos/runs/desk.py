"""The desk of a supervisor: takes requests of its user's other processes, and never waits for any of them.

One SOCK_SEQPACKET packet is one JSON object, `{"do": …}`; so is the answer, `{"error": …}` if it cannot be done.
Descriptors may ride along both ways. A client that asks to wait gets its answer when the run is over. Bad packets are
answered with an error; whoever floods us is cut off. Who may connect is decided by the mode of the run's directory,
and looked at again here.
"""

from __future__ import annotations

import os
from _socket import (
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOL_SOCKET,
    socket,
)
from struct import pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Fields = dict[str, object]
    Answer = Callable[[str, Fields, list[int]], tuple[Fields, list[int]] | None]

MAX_PACKET = 128 << 10
_MAX_CLIENTS = 64
_MAX_DESCRIPTORS = 16


class Refused(Exception):
    """A request cannot be done; the text is for the person who asked."""


class Desk:
    """Answers requests about one run.

    Args:
        listener: a listening socket, not blocking; it stays the caller's.
        answer: given (what to do, other fields and the pid of the "caller", descriptors), returns (fields, descriptors)
            or None to keep the client waiting for the end; raises `Refused`. Descriptors it got are closed here.
    """

    def __init__(self, listener: socket, answer: Answer) -> None:
        self._listener = listener
        self._answer = answer
        self._clients: dict[int, socket] = {}
        self._waiting: dict[int, socket] = {}

    def watched(self) -> list[int]:
        """Return the descriptors to poll for reading."""
        return [self._listener.fileno(), *self._clients, *self._waiting]

    def ready(self, descriptor: int) -> bool:
        """Serve a descriptor that is readable; say whether it was one of ours."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._waiting:  # it has nothing to say any more: it went
            self._waiting.pop(descriptor).close()
        elif descriptor in self._clients:
            self._serve(self._clients.pop(descriptor))
        else:
            return False
        return True

    def _accept(self) -> None:
        from socket import socket as full_socket  # only when somebody asks: 4 ms

        try:
            with full_socket(fileno=os.dup(self._listener.fileno())) as listener:
                accepted, _ = listener.accept()
        except OSError:  # it went already, or we have no descriptors left
            return
        client = socket(fileno=accepted.detach())
        _, uid, _ = _peer(client)
        if uid not in (0, os.geteuid()) or len(self._clients) + len(self._waiting) >= _MAX_CLIENTS:
            client.close()
            return
        client.setblocking(False)
        self._clients[client.fileno()] = client

    def _serve(self, client: socket) -> None:
        received: list[int] = []
        answered: tuple[Fields, list[int]] | None
        try:
            packet, ancillary, _, _ = client.recvmsg(MAX_PACKET, 16 + 4 * _MAX_DESCRIPTORS, MSG_CMSG_CLOEXEC)
            for level, kind, content in ancillary:
                if level == SOL_SOCKET and kind == SCM_RIGHTS:
                    received += unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
            if not packet:
                client.close()
                return
            answered = self._understand(client, packet, received)
        except Refused as error:
            answered = {"error": str(error)}, []
        except OSError:
            client.close()
            return
        finally:
            for descriptor in received:
                os.close(descriptor)
        if answered is None:
            self._waiting[client.fileno()] = client
        else:
            reply(client, *answered)
            client.close()

    def _understand(self, client: socket, packet: bytes, received: list[int]) -> tuple[Fields, list[int]] | None:
        import json  # only when somebody asks: 3 ms

        try:
            fields: Fields | None = json.loads(packet)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise Refused("not a request: expected a JSON object")
        return self._answer(str(fields.pop("do", "")), {**fields, "caller": _peer(client)[0]}, received)

    def close(self, last: Fields | None) -> None:
        """Tell everybody who waits how the run ended, and let go of all clients."""
        for client in self._waiting.values():
            if last is not None:
                reply(client, last, [])
            client.close()
        for client in self._clients.values():
            client.close()
        self._waiting, self._clients = {}, {}


def _peer(client: socket) -> tuple[int, int, int]:
    """Return (pid, uid, gid) of who connected (unix(7), SO_PEERCRED)."""
    pid, uid, gid = unpack("3i", client.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    return pid, uid, gid


def reply(client: socket, fields: Fields, descriptors: list[int]) -> None:
    """Send one answer; who does not read it, does not get it."""
    import json

    ancillary = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(descriptors)}i", *descriptors))] if descriptors else []
    try:
        client.sendmsg([json.dumps(fields).encode()], ancillary, MSG_DONTWAIT)
    except OSError:
        pass

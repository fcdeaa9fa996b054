"""Addresses of the gateway: "HOST:PORT" and "unix:/path", of the host and of the guest.

In come texts that the loader has checked; out come sockets that listen, or addresses to connect to. Nothing here waits.
"""

from __future__ import annotations

import os
import socket
import stat

from belljar.libos.errors import SandboxUnavailable
from belljar.libos.values import Value

UNIX = "unix:"
_BACKLOG = 512


class Address(Value):
    """Where somebody listens: a path, or a host and a port."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Return it as a manifest has it."""
        if self.path:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """Return the address that a text names: unix:/path, HOST:PORT, [IPv6]:PORT."""
    if text.startswith(UNIX):
        return Address(path=text.removeprefix(UNIX))
    host, _, port = text.rpartition(":")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def listen_outside(text: str) -> socket.socket:
    """Return a socket that listens at an address of the host, not blocking.

    Raises:
        SandboxUnavailable: it cannot; the message says why.
    """
    where = address(text)
    try:
        return _at_path(where.path) if where.path else _at_port(where)
    except OSError as error:
        raise SandboxUnavailable(
            f"cannot listen at {text}: {(error.strerror or str(error)).lower()}",
            hint="belljar run --listen PORT=ADDRESS puts it elsewhere",
        ) from error


def _at_port(where: Address) -> socket.socket:
    found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = found[0]
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where.host != "::"))
        made.bind(place)
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _at_path(path: str) -> socket.socket:
    """Listen at a path; a socket that nobody listens at any more is replaced."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode) and _is_dead(path):
            os.unlink(path)
        made.bind(path)
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _is_dead(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def host_and_port(place: object) -> tuple[str, int] | None:
    """Return host and port of an address as the socket module gives it; None for one that has none."""
    if not isinstance(place, tuple) or len(place) < 2:  # pyright: ignore[reportUnknownArgumentType] # of any family
        return None
    host, port = place[:2]  # pyright: ignore[reportUnknownVariableType] # as above
    return str(host), int(port)  # pyright: ignore[reportUnknownArgumentType] # as above


def shown(place: object) -> str:
    """Return the address of a peer for people, as socket.getpeername() gave it."""
    found = host_and_port(place)
    return "a local socket" if found is None else str(Address(host=found[0], port=found[1]))

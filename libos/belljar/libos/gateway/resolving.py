"""From the address of a manifest to a connected socket outside: names are looked up by the host, in a thread.

Where a manifest opens the Internet and nothing else, an answer that is not of the public Internet is refused: a name
whose owner points it to 127.0.0.1 or 10.0.0.1 would otherwise lead a program into the host's own network (DNS
rebinding, request forgery). `ipaddress` knows which addresses these are (IANA's registries of special addresses).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from .served import NotServed

if TYPE_CHECKING:
    from .addresses import Address

_MAX_TRIED = 8
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 4))


class NotPublic(NotServed):
    """A name leads to addresses that are not of the public Internet."""


async def connect_outside(where: Address, *, private: bool) -> socket.socket:
    """Return a socket that is connected to an address outside.

    Args:
        where: a path, or a host and a port.
        private: whether the host may be one that is not of the public Internet.

    Raises:
        OSError: nobody answers; the last address's error.
        NotPublic: the name has no address that may be used.
        NotServed: there is no such name.
    """
    loop = asyncio.get_running_loop()
    if where.path:
        return await _connected(socket.AF_UNIX, where.path)
    try:
        found = await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NotServed(f"{where.host}: {str(error.strerror).lower()}") from error
    places = [(family, place) for family, _, _, _, place in found if private or is_public(str(place[0]))]
    if not places:
        raise NotPublic(f"{where.host} is not at an address of the public Internet: {found[0][4][0]}")
    failed: OSError | None = None
    for family, place in places[:_MAX_TRIED]:
        try:
            return await _connected(family, place)
        except OSError as error:
            failed = error
    raise failed or OSError("no address")


async def _connected(family: int, place: object) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(made, place)  # type: ignore[arg-type] # as getaddrinfo gave it
        if family != socket.AF_UNIX:
            keep_alive(made)
    except BaseException:
        made.close()
        raise
    return made


def keep_alive(made: socket.socket) -> None:
    """Have the kernel find out when the other machine has gone, and send small pieces at once."""
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)


def is_public(text: str) -> bool:
    """Say whether an address is of the public Internet, also where an IPv6 address stands for an IPv4 one."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(found.packed[-4:])
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast

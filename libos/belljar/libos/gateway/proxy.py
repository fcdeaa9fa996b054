"""The header of the PROXY protocol, version 2: who comes, said before the first byte (docs/formats/peers.md).

    0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a   21   family   length (2)   addresses   TLVs

In come two addresses and what is known of the peer; out come bytes. Of the TLVs one is ours: type e0, from the range
0xE0 to 0xEF that HAProxy's specification (section 2.2.7) leaves to applications. Pure.
"""

from __future__ import annotations

import ipaddress
import struct

from .addresses import host_and_port

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
PEER_TYPE = 0xE0
MAX_BYTES = 4096  # nginx reads no longer header
_PROXY = 0x21  # version 2, command PROXY
_STREAM = {4: 0x11, 6: 0x21}
_UNKNOWN = 0x00


def header(source: object, target: object, peer: bytes) -> bytes:
    """Return the header.

    Args:
        source: of the connection outside, as getpeername() gave it.
        target: likewise, as getsockname() gave it.
        peer: JSON of what is known of who comes; empty for nothing.
    """
    family, addresses = _addresses(source, target)
    room = MAX_BYTES - len(SIGNATURE) - 4 - len(addresses) - 3
    record = struct.pack(">BH", PEER_TYPE, len(peer)) + peer if 0 < len(peer) <= room else b""
    return SIGNATURE + struct.pack(">BBH", _PROXY, family, len(addresses) + len(record)) + addresses + record


def _addresses(source: object, target: object) -> tuple[int, bytes]:
    """Return family and addresses; for anything but two of one IP version, none (section 2.2, AF_UNSPEC)."""
    one, other = _place(source), _place(target)
    if one is None or other is None or one[0].version != other[0].version:
        return _UNKNOWN, b""
    packed = one[0].packed + other[0].packed + struct.pack(">HH", one[1], other[1])
    return _STREAM[one[0].version], packed


def _place(found: object) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int] | None:
    place = host_and_port(found)
    return None if place is None else (ipaddress.ip_address(place[0].partition("%")[0]), place[1])

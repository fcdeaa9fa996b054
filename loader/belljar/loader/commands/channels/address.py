"""Addresses as people write them: HOST:PORT, [IPv6]:PORT, unix:/path.

In comes a word; out comes what the channel library takes, or a `UsageError`. A port of 0 is one that the kernel
chooses, where somebody listens.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from belljar.loader.errors import UsageError

if TYPE_CHECKING:
    from belljar.attestation.channel import Address

_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.%a-z]{2,64})\]|([A-Za-z0-9._-]{1,253})):(\d{1,5})")
_MAX_PATH_BYTES = 107  # unix(7), without the zero at its end
_UNIX = "unix:"


def is_address(word: str) -> bool:
    """Say whether a word is meant as an address: names of runs have no colon."""
    return ":" in word


def address_of(word: str, what: str) -> Address:
    """Return an address.

    Args:
        word: as it was written.
        what: what errors call it.

    Raises:
        UsageError: it is none.
    """
    if word.startswith(_UNIX):
        path = word.removeprefix(_UNIX)
        if not 0 < len(path.encode()) <= _MAX_PATH_BYTES or "\0" in path:
            raise UsageError(f"{what}: got a path of {len(path.encode())} bytes, expected 1 to {_MAX_PATH_BYTES}")
        return path
    match = _PLACE.fullmatch(word)
    if match is None or int(match[3]) > 65535:
        raise UsageError(f"{what}: got {word[:80]!r}, expected such as enclave.example:8443, [::1]:8443 or unix:/path")
    return match[1] or match[2], int(match[3])


def shown(address: Address) -> str:
    """Return an address as people write it."""
    if isinstance(address, str):
        return f"{_UNIX}{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

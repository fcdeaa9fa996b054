"""Destroy a volume: overwrite both headers, so that no key slot is left; and say what that does not promise.

The caller removes the container afterwards. The record is canonical JSON (RFC 8785), to be signed; IEEE 2952 7.5 g.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from . import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Region

FORMAT = "belljar.volume-destroyed/1"
NOT_PROMISED = (
    "copies and backups of the container, and of its headers, made earlier, open with the slots they hold",
    "file systems that copy on write, snapshots and flash media below may keep the overwritten blocks",
    "keys in the memory of a computer that has the volume open, or in its swap and hibernation files",
)


def wipe_headers(region: Region, volume_id: bytes, *, time_s: int, random: Callable[[int], bytes]) -> bytes:
    """Overwrite both headers with random bytes, then with zeros, each made durable; return the record of it.

    Args:
        region: the container.
        volume_id: of the volume in it, or zeros if its headers could not be read.
        time_s: when, in seconds since 1970, by the caller's clock.
        random: returns that many random bytes.
    """
    for content in (random(layout.HEADER_BYTES), bytes(layout.HEADER_BYTES)):
        region.pwrite(content, 0)
        region.sync()
    if region.pread(layout.HEADER_BYTES, 0) != bytes(layout.HEADER_BYTES):
        raise OSError("the container does not hold the zeros that were written over its headers")
    return destruction_record(volume_id, time_s)


def destruction_record(volume_id: bytes, time_s: int) -> bytes:
    """Return the record of a destroyed volume."""
    members = {
        "format": FORMAT,
        "not_promised": list(NOT_PROMISED),
        "overwritten": [
            {"bytes": layout.HEADER_BYTES, "offset": 0, "passes": ["random", "zero"], "what": "headers and key slots"}
        ],
        "time_s": time_s,
        "volume": volume_id.hex(),
    }
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()

"""Door of this house to those who mount encrypted volumes for a guest: open one, anchor it, serve it. Linux only.

Beside `volumes.py` and `keeping.py`, which work on any system: here is only what a mount needs, because whoever starts
an enclave waits for its imports (`cryptography` alone is 45 ms).
"""

from __future__ import annotations

from .errors import FsError, VolumeCorrupt, VolumeRefused
from .volume.anchor import Anchor, Anchored
from .volume.container import FileContainer
from .volume.header.unlock import unlock
from .volume.slots.kinds import Credential
from .volume.volume import Volume, format_volume, open_volume
from .writable.server import WritableServer
from .writable.tree import Changes

__all__ = [
    "Anchor",
    "Anchored",
    "Changes",
    "Credential",
    "FileContainer",
    "FsError",
    "Volume",
    "VolumeCorrupt",
    "VolumeRefused",
    "WritableServer",
    "format_volume",
    "open_volume",
    "unlock",
]

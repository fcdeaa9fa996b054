"""Door of this house to those who show a writable tree to a kernel: the server alone, 3 ms and Linux only.

Beside `serving.py`, which is on the start path of every run, and `volumes.py`, which works on any system.
"""

from __future__ import annotations

from .writable.server import WritableServer

__all__ = ["WritableServer"]

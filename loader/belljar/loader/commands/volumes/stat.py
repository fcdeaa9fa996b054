"""`belljar volume stat`: how much a volume holds."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from .session import only_volume, opened_volume

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Say what a volume holds."""
    with opened_volume(parsed, only_volume(parsed), writable=False) as volume:
        usage = volume.stat()
    if parsed.has("json"):
        sys.stdout.write(json.dumps(asdict(usage), indent=2) + "\n")
        return 0
    sys.stdout.write(
        f"generation {usage.generation}\nfiles and folders {usage.inodes}\nin use {usage.used} bytes\n"
        f"container {usage.container} bytes\nsnapshots {usage.snapshots}\n"
    )
    return 0

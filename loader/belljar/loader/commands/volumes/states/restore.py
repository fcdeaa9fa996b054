"""`belljar volume restore`: write a volume's container from a backup; every block is verified."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.fs.keeping import restore
from belljar.loader import report
from belljar.loader.commands.progress import hashing_progress
from belljar.loader.errors import UsageError

from .repository import chosen, opened_repository

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Restore."""
    if len(parsed.words) != 2:
        raise UsageError(
            "expected a repository and a volume", hint="belljar volume restore /mnt/disk/backups state.vol"
        )
    place, path = parsed.words
    with opened_repository(place) as repository, hashing_progress("restoring") as progress:
        found = chosen(repository, parsed.options.get("backup"))
        restore(repository, found.digest, path, replace=parsed.has("replace"), progress=progress)
    if parsed.has("json"):
        members = {"volume": path, "backup": found.digest.hex(), "number": found.backup.number}
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(f"{path}: backup {found.digest.hex()}, number {found.backup.number}\n")
    report.note(f"an older state is refused until you say that it counts: belljar volume anchor {path} --reset REASON")
    return 0

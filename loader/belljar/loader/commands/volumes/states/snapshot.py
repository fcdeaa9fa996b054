"""`belljar volume snapshot`: keep the present state under a name, delete one, or list them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from belljar.loader.commands.runs.table import aligned
from belljar.loader.commands.volumes.session import opened_volume
from belljar.loader.errors import UsageError

from .naming import snapshot_error

if TYPE_CHECKING:
    from belljar.fs.volumes import Volume
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Make, delete or list snapshots."""
    if not 1 <= len(parsed.words) <= 2 or (parsed.has("delete") and len(parsed.words) == 1):
        raise UsageError(
            "expected a volume and perhaps a name", hint="belljar volume snapshot state.vol before-upgrade"
        )
    with opened_volume(parsed, parsed.words[0], writable=len(parsed.words) == 2) as volume:
        if len(parsed.words) == 2:
            _change(volume, parsed.words[1], delete=parsed.has("delete"))
        found = volume.snapshots()
    if parsed.has("json"):
        members = [{"name": each.name, "generation": each.generation, "time_ns": each.time_ns} for each in found]
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
        return 0
    rows = [[each.name, str(each.generation), _when(each.time_ns)] for each in found]
    sys.stdout.writelines(aligned([["NAME", "GENERATION", "MADE"], *rows]))
    return 0


def _change(volume: Volume, name: str, *, delete: bool) -> None:
    try:
        if delete:
            volume.delete_snapshot(name)
        else:
            volume.snapshot(name)
    except OSError as error:
        raise snapshot_error(name, error) from error


def _when(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")

"""`belljar volume rollback`: go back to a snapshot: a new generation, so the anchor moves forward."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader.commands.volumes.session import opened_volume
from belljar.loader.errors import UsageError

from .naming import snapshot_error

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Go back."""
    if len(parsed.words) != 2:
        raise UsageError("expected a volume and the name of a snapshot")
    path, name = parsed.words
    with opened_volume(parsed, path, writable=True) as volume:
        try:
            volume.rollback(name)
        except OSError as error:
            raise snapshot_error(name, error) from error
        generation = volume.stat().generation
    if parsed.has("json"):
        sys.stdout.write(json.dumps({"volume": path, "snapshot": name, "generation": generation}, indent=2) + "\n")
    else:
        sys.stdout.write(f"{path} is as it was at {name}, in generation {generation}\n")
    return 0

"""`belljar ps`: list running enclaves, and with --all those that have ended and are remembered."""

from __future__ import annotations

import json
import shlex
import sys
import time
from typing import TYPE_CHECKING

from belljar.libos.lifecycle import statuses
from belljar.loader.commands.errors import loader_errors

from .table import aligned

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_MEASUREMENT = len("sha256:") + 12
_COMMAND = 60


def main(parsed: Parsed) -> int:
    """List runs."""
    with loader_errors():
        found = [run for run in statuses() if parsed.has("all") or run["state"] != "ended"]
    if parsed.has("json"):
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    rows = [["NAME", "STATE", "SINCE", "PID", "MEASUREMENT", "COMMAND"]]
    sys.stdout.writelines(aligned([*rows, *map(_row, found)]))
    return 0


def _row(run: dict[str, object]) -> list[str]:
    argv = run.get("argv")
    command = shlex.join(map(str, argv)) if isinstance(argv, list) else ""  # pyright: ignore[reportUnknownArgumentType] # JSON
    return [
        str(run["name"]),
        _state(run),
        _since(run.get("ended") or run.get("started")),
        "" if run["state"] == "ended" else str(run.get("supervisor", "")),
        str(run.get("measurement", ""))[:_MEASUREMENT],
        command if len(command) <= _COMMAND else command[: _COMMAND - 1] + "…",
    ]


def _state(run: dict[str, object]) -> str:
    if run["state"] != "ended":
        return str(run["state"])
    return f"exit {run['exit_code']}" if run["reason"] == "exit" else f"{run['reason']} ({run['exit_code']})"


def _since(when: object) -> str:
    """Return how long ago, in the largest unit that fits."""
    if not isinstance(when, int | float):
        return ""
    seconds = max(0, int(time.time() - when))
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"

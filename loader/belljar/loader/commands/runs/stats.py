"""`belljar stats`: print what enclaves use."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, cast

from belljar.libos.lifecycle import ask, statuses
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError

from .table import aligned

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Print what the named runs use, or all that are running."""
    with loader_errors():
        found = [ask(name, "stats") for name in parsed.words] if parsed.words else statuses("stats")
    running = [run for run in found if "uptime_s" in run]
    if parsed.words and len(running) < len(found):
        over = next(str(run["name"]) for run in found if "uptime_s" not in run)
        raise LoaderError(f"{over} has ended and uses nothing any more", hint="belljar ps lists what is running")
    if parsed.has("json"):
        sys.stdout.write(json.dumps(running, indent=2) + "\n")
        return 0
    head = ["NAME", "MEMORY", "LIMIT", "CPU", "PROCESSES", "SUPERVISOR", "SINCE"]
    sys.stdout.writelines(aligned([head, *map(_row, running)]))
    led = [(run, run["gateway"]) for run in running if isinstance(run.get("gateway"), dict)]
    if led:
        names = ["GATEWAY", "OPEN", "SERVED", "REFUSED", "RECEIVED", "SENT", "LISTENING"]
        rows = [_gateway_row(run, cast("dict[str, object]", found)) for run, found in led]
        sys.stdout.writelines(aligned([names, *rows]))
    return 0


def _row(run: dict[str, object]) -> list[str]:
    return [
        str(run["name"]),
        _mib(run["memory_bytes"]),
        _mib(run["memory_limit_bytes"]) if run["memory_limit_bytes"] else "none",
        f"{run['cpu_s']} s",
        str(run["processes"]),
        f"{_mib(run['supervisor_memory_bytes'])}, {run['supervisor_cpu_s']} s",
        f"{run['uptime_s']} s",
    ]


def _gateway_row(run: dict[str, object], found: dict[str, object]) -> list[str]:
    listening = cast("list[object]", found["listening"])
    counted = [str(found[name]) for name in ("open", "served", "refused")]
    passed = [_mib(found[name]) for name in ("received_bytes", "sent_bytes")]
    return [str(run["name"]), *counted, *passed, " ".join(map(str, listening)) or "nowhere"]


def _mib(value: object) -> str:
    return f"{value / (1 << 20):.1f} MiB" if isinstance(value, int) else ""

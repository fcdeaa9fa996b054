"""`belljar volume slots`: list the key slots of a volume (needs no key), add one, or remove one."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.keeping import add_slot, describe, kind_name, remove_slot, unverified_header
from belljar.fs.volumes import FileContainer
from belljar.loader.commands.runs.table import aligned
from belljar.loader.commands.volumes.session import only_volume, unlocked_volume
from belljar.loader.errors import UsageError

from .credentials import enrolment

if TYPE_CHECKING:
    from belljar.fs.keeping import Header
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """List or change key slots."""
    path = only_volume(parsed)
    if parsed.has("add") and parsed.has("remove"):
        raise UsageError("--add and --remove: expected one of them")
    if parsed.has("add") or parsed.has("remove"):
        return _change(parsed, path)
    container = FileContainer(path, writable=False)
    try:
        say_slots(unverified_header(container), as_json=parsed.has("json"))
    finally:
        container.close()
    return 0


def _change(parsed: Parsed, path: str) -> int:
    with unlocked_volume(parsed, path, writable=True) as (container, unlocked):
        if parsed.has("add"):
            whom, label = enrolment(parsed, "new-"), parsed.options.get("label", "")
            changed = add_slot(container, unlocked, whom, label=label, random=os.urandom)
        else:
            number = parsed.options["remove"]
            if not number.isdecimal():
                raise UsageError(f"--remove {number}: expected the number of a slot")
            changed = remove_slot(container, unlocked, number=int(number))
        say_slots(changed.header, as_json=parsed.has("json"))
    return 0


def say_slots(header: Header, *, as_json: bool) -> None:
    """Print the slots of a header."""
    if as_json:
        slots = [
            {
                "slot": slot.number,
                "kind": kind_name(slot.kind),
                "label": slot.label,
                "details": describe(slot.kind, slot.parameters),
            }
            for slot in header.slots
        ]
        members = {"volume": header.volume_id.hex(), "generation": header.generation, "slots": slots}
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
        return
    rows = [
        [str(slot.number), kind_name(slot.kind), slot.label, describe(slot.kind, slot.parameters)]
        for slot in header.slots
    ]
    sys.stdout.writelines(aligned([["SLOT", "KIND", "LABEL", "DETAILS"], *rows]))

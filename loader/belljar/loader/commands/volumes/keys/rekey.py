"""`belljar volume rekey`: replace the key slot that opens by a new one, at once; the data and their keys stay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from belljar.fs.keeping import replace_slot
from belljar.loader import report
from belljar.loader.commands.volumes.session import only_volume, unlocked_volume

from .credentials import enrolment
from .slots import say_slots

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Replace a key slot."""
    with unlocked_volume(parsed, only_volume(parsed), writable=True) as (container, unlocked):
        whom = enrolment(parsed, "new-")
        changed = replace_slot(container, unlocked, whom, number=unlocked.slot, random=os.urandom)
        say_slots(changed.header, as_json=parsed.has("json"))
    report.note("backups and copies made earlier still open with the old slot")
    return 0

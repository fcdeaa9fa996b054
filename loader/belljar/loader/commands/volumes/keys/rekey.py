"""`belljar volume rekey`: replace the key slot that opens, at once; or, with --data, every key of the volume.

The data keep their keys when a slot is replaced: who had the volume key still has it. With --data everything is read,
verified and written anew into another container under new keys, which then takes the place of the old one.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.keeping import replace_slot, sync_folder, wipe_headers
from belljar.fs.volumes import open_volume, salvage_volume
from belljar.loader import report
from belljar.loader.commands.progress import absolute, hashing_progress
from belljar.loader.commands.volumes.create import created_volume
from belljar.loader.commands.volumes.session import (
    now_s,
    only_volume,
    platform_anchor,
    unlocked_volume,
    unlocked_with,
)
from belljar.loader.errors import LoaderError

from .credentials import again, credential, enrolment
from .slots import say_slots

if TYPE_CHECKING:
    from belljar.fs.keeping import Unlocked
    from belljar.fs.volumes import FileContainer
    from belljar.loader.options import Parsed

_SUFFIX = ".rekeyed"


def main(parsed: Parsed) -> int:
    """Replace a key slot, or all keys."""
    path = only_volume(parsed)
    if parsed.has("data"):
        return _rekey_data(parsed, path)
    with unlocked_volume(parsed, path, writable=True) as (container, unlocked):
        whom = enrolment(parsed, "new-")
        changed = replace_slot(container, unlocked, whom, number=unlocked.slot, random=os.urandom)
        say_slots(changed.header, as_json=parsed.has("json"))
    report.note("backups and copies made earlier still open with the old slot")
    return 0


def _rekey_data(parsed: Parsed, path: str) -> int:
    opening = credential(parsed)
    is_new = parsed.has("for") or any(name.startswith("new-") for name in parsed.options)
    whom = enrolment(parsed, "new-") if is_new else again(opening)
    fresh = path + _SUFFIX
    if os.path.lexists(fresh):
        hint = "if no other rekey is under way, it is what one that was killed left: remove it"
        raise LoaderError(f"{fresh}: already there", hint=hint)
    with unlocked_with(opening, path, writable=True) as (container, unlocked):
        key = _key_of_one_line(parsed, path, container, unlocked)
        with created_volume(parsed, fresh, whom) as (volume, volume_id), hashing_progress("rekeying") as progress:
            saved = salvage_volume(
                container, volume.tree, volume_id=unlocked.volume_id, key=key, progress=absolute(progress)
            )
            if saved.lost:
                raise LoaderError(
                    f"{path}: {saved.lost[0]} cannot be read, nothing was changed",
                    hint=f"belljar volume check {path} says what is damaged",
                )
        os.replace(fresh, path)
        sync_folder(os.path.dirname(os.path.abspath(path)))
        wipe_headers(container, unlocked.volume_id, time_s=now_s(), random=os.urandom)
    with platform_anchor(parsed) as anchor:
        anchor.forget(unlocked.volume_id)
    members = {"volume": volume_id.hex(), "replaced": unlocked.volume_id.hex(), "copied": saved.copied}
    sys.stdout.write(json.dumps(members, indent=2) + "\n" if parsed.has("json") else f"volume {volume_id.hex()}\n")
    report.note("it opens with this one slot only; backups and copies made earlier still open with the old keys")
    return 0


def _key_of_one_line(parsed: Parsed, path: str, container: FileContainer, unlocked: Unlocked) -> bytes:
    """Return the volume key, after looking whether the state is the newest one and has no snapshots.

    Raises:
        LoaderError: snapshots would be lost, or stay under the old keys.
    """
    with unlocked.key.view() as view:
        key = bytes(view)
    with platform_anchor(parsed) as anchor:
        volume = open_volume(container, volume_id=unlocked.volume_id, key=key, anchor=anchor, writable=False)
        snapshots = volume.snapshots()
    if snapshots:
        raise LoaderError(
            f"{path} has {len(snapshots)} snapshots, which would not be taken along",
            hint=f"belljar volume snapshot --delete {path} {snapshots[0].name}",
        )
    return key

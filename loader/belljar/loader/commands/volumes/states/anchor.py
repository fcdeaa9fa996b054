"""`belljar volume anchor`: show what this platform knows as the newest state of a volume, or set it on purpose."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from belljar.fs.keeping import unverified_header
from belljar.fs.volumes import newest_root
from belljar.loader.commands.volumes.session import container_of, now_s, only_volume, platform_anchor, unlocked_volume

if TYPE_CHECKING:
    from belljar.fs.keeping import Reset
    from belljar.fs.volumes import Anchored
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Show or reset an anchor."""
    path = only_volume(parsed)
    if parsed.has("reset"):
        _reset(parsed, path)
    with container_of(path, writable=False) as container, platform_anchor(parsed) as anchor:
        volume_id = unverified_header(container).volume_id
        anchored, resets = anchor.read(volume_id), anchor.resets(volume_id)
    if parsed.has("json"):
        sys.stdout.write(json.dumps(_members(volume_id, anchored, resets), indent=2) + "\n")
        return 0
    sys.stdout.write(f"volume {volume_id.hex()}\n")
    if anchored is None:
        sys.stdout.write("never anchored on this platform\n")
    else:
        sys.stdout.write(f"generation {anchored.generation}\nroot sha256:{anchored.digest.hex()}\n")
    for reset in resets:
        when = datetime.fromtimestamp(reset.time_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
        moved = f"{reset.before.generation} to {reset.after.generation}"
        sys.stdout.write(f"reset {reset.number} at {when}: generation {moved}: {reset.reason}\n")
    return 0


def _reset(parsed: Parsed, path: str) -> None:
    with unlocked_volume(parsed, path, writable=True) as (container, unlocked), platform_anchor(parsed) as anchor:
        with unlocked.key.view() as view:
            key = bytes(view)
        anchored = newest_root(container, volume_id=unlocked.volume_id, key=key)
        anchor.reset(unlocked.volume_id, anchored, reason=parsed.options["reset"], time_s=now_s())


def _members(volume_id: bytes, anchored: Anchored | None, resets: tuple[Reset, ...]) -> dict[str, object]:
    log = [
        {
            "number": reset.number,
            "from_generation": reset.before.generation,
            "to_generation": reset.after.generation,
            "time_s": reset.time_s,
            "reason": reset.reason,
        }
        for reset in resets
    ]
    newest = None if anchored is None else {"generation": anchored.generation, "root": anchored.digest.hex()}
    return {"volume": volume_id.hex(), "anchored": newest, "resets": log}

"""`belljar volume create`: make an empty volume, anchored on this platform."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.volumes import Changes, format_header, format_volume, open_volume
from belljar.loader.errors import LoaderError, UsageError

from .keys.credentials import enrolment
from .session import container_of, now_s, only_volume, platform_anchor

if TYPE_CHECKING:
    from belljar.fs.volumes import Enrolment, FileContainer
    from belljar.loader.options import Parsed

_ROOT_INO = 1


def main(parsed: Parsed) -> int:
    """Make a volume."""
    path = only_volume(parsed)
    owner = owner_of(parsed)
    whom = enrolment(parsed)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise LoaderError(f"{path}: already there", hint="choose another name") from None
    try:
        with container_of(path, writable=True) as container:
            volume_id = _make(container, parsed, whom, owner)
    except BaseException:
        os.unlink(path)
        raise
    if parsed.has("json"):
        sys.stdout.write(json.dumps({"volume": path, "id": volume_id.hex()}, indent=2) + "\n")
    else:
        sys.stdout.write(f"volume {volume_id.hex()}\n")
    return 0


def _make(container: FileContainer, parsed: Parsed, whom: Enrolment, owner: tuple[int, int]) -> bytes:
    label = parsed.options.get("label", "")
    made = format_header(container, whom, label=label, created_s=now_s(), random=os.urandom)
    with made, platform_anchor(parsed) as anchor:
        with made.key.view() as view:
            key = bytes(view)
        format_volume(container, volume_id=made.volume_id, key=key, anchor=anchor)
        volume = open_volume(container, volume_id=made.volume_id, key=key, anchor=anchor, writable=True)
        volume.tree.set_attributes(_ROOT_INO, Changes(uid=owner[0], gid=owner[1]))
        volume.close()
    return made.volume_id


def owner_of(parsed: Parsed) -> tuple[int, int]:
    """Return the ids that --owner says."""
    text = parsed.options.get("owner", "1000:1000")
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or not gid.isdecimal() or max(int(uid), int(gid)) >= (1 << 32) - 1:
        raise UsageError(f"--owner {text}: expected two numbers, UID:GID")
    return int(uid), int(gid)

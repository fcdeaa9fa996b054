"""`belljar volume create`: make an empty volume, anchored on this platform."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from belljar.fs.keeping import Changes, format_header
from belljar.fs.volumes import format_volume, open_volume
from belljar.loader.errors import LoaderError, UsageError

from .keys.credentials import enrolment
from .session import container_of, now_s, only_volume, platform_anchor

if TYPE_CHECKING:
    from collections.abc import Generator

    from belljar.fs.keeping import Enrolment
    from belljar.fs.volumes import Volume
    from belljar.loader.options import Parsed

_ROOT_INO = 1


def main(parsed: Parsed) -> int:
    """Make a volume."""
    path = only_volume(parsed)
    uid, gid = owner_of(parsed)
    with created_volume(parsed, path, enrolment(parsed)) as (volume, volume_id):
        volume.tree.set_attributes(_ROOT_INO, Changes(uid=uid, gid=gid))
    if parsed.has("json"):
        sys.stdout.write(json.dumps({"volume": path, "id": volume_id.hex()}, indent=2) + "\n")
    else:
        sys.stdout.write(f"volume {volume_id.hex()}\n")
    return 0


@contextmanager
def created_volume(parsed: Parsed, path: str, whom: Enrolment) -> Generator[tuple[Volume, bytes]]:
    """Make a volume, open, with its id; it is removed again if the block fails.

    Raises:
        LoaderError: something of that name is there.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise LoaderError(f"{path}: already there", hint="choose another name") from None
    label = parsed.options.get("label", "")
    try:
        with container_of(path, writable=True) as container, platform_anchor(parsed) as anchor:
            with format_header(container, whom, label=label, created_s=now_s(), random=os.urandom) as made:
                volume_id = made.volume_id
                with made.key.view() as view:
                    key = bytes(view)
            format_volume(container, volume_id=volume_id, key=key, anchor=anchor)
            volume = open_volume(container, volume_id=volume_id, key=key, anchor=anchor, writable=True)
            yield volume, volume_id
            volume.close()
    except BaseException:
        os.unlink(path)
        raise


def owner_of(parsed: Parsed) -> tuple[int, int]:
    """Return the ids that --owner says."""
    text = parsed.options.get("owner", "1000:1000")
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or not gid.isdecimal() or max(int(uid), int(gid)) >= (1 << 32) - 1:
        raise UsageError(f"--owner {text}: expected two numbers, UID:GID")
    return int(uid), int(gid)

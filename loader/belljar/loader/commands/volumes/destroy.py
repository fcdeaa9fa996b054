"""`belljar volume destroy`: overwrite the key slots, then remove the container. No key is needed for that."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.keeping import HEADER_BYTES, VolumeRefused, sync_folder, unverified_header, wipe_headers
from belljar.loader import report
from belljar.loader.bundle.files import PRIVATE, create_file
from belljar.loader.errors import UsageError

from .session import container_of, now_s, only_volume, platform_anchor

if TYPE_CHECKING:
    from belljar.fs.volumes import FileContainer
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Destroy a volume."""
    path = only_volume(parsed)
    if not parsed.has("yes"):
        raise UsageError(f"{path} would be destroyed for ever", hint=f"belljar volume destroy --yes {path}")
    with container_of(path, writable=True) as container:
        volume_id = _volume_id(container, path)
        record = wipe_headers(container, volume_id, time_s=now_s(), random=os.urandom)
        container.truncate(0)
        container.sync()
    os.unlink(path)
    sync_folder(os.path.dirname(os.path.abspath(path)))
    if parsed.has("record"):
        create_file(parsed.options["record"], record, PRIVATE)
    with platform_anchor(parsed) as anchor:
        anchor.forget(volume_id)
    if parsed.has("json"):
        sys.stdout.write(record.decode() + "\n")
    else:
        sys.stdout.write(f"destroyed {volume_id.hex()}\n")
        report.note("not promised: copies and backups made earlier, and blocks that the media below may keep")
    return 0


def _volume_id(container: FileContainer, path: str) -> bytes:
    """Return whose container it is; anything else than a volume is not touched."""
    try:
        return unverified_header(container).volume_id
    except VolumeRefused:
        begins = container.pread(8, 0)
        if begins != b"BELLJVOL" or container.size() < HEADER_BYTES:
            raise
        report.note(f"{path}: both headers are damaged; destroying what is left of them")
        return container.pread(16, 32)

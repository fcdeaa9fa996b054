"""`belljar volume destroy`: overwrite the key slots, then remove the container. No key is needed for that."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from belljar.fs.keeping import HEADER_BYTES, VolumeRefused, sync_folder, unverified_header, wipe_headers
from belljar.loader import report
from belljar.loader.bundle.files import PRIVATE
from belljar.loader.errors import LoaderError, UsageError

from .session import container_of, now_s, only_volume, platform_anchor

if TYPE_CHECKING:
    from collections.abc import Generator

    from belljar.fs.volumes import FileContainer
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Destroy a volume."""
    path = only_volume(parsed)
    if not parsed.has("yes"):
        raise UsageError(f"{path} would be destroyed for ever", hint=f"belljar volume destroy --yes {path}")
    with ExitStack() as stack:
        container = stack.enter_context(container_of(path, writable=True))
        volume_id = _volume_id(container, path)
        kept = stack.enter_context(_kept(parsed.options.get("record")))
        record = wipe_headers(container, volume_id, time_s=now_s(), random=os.urandom)
        container.truncate(0)
        container.sync()
        kept.append(record)
    os.unlink(path)
    sync_folder(os.path.dirname(os.path.abspath(path)))
    with platform_anchor(parsed) as anchor:
        anchor.forget(volume_id)
    if parsed.has("json"):
        sys.stdout.write(record.decode() + "\n")
    else:
        sys.stdout.write(f"destroyed {volume_id.hex()}\n")
        report.note("not promised: copies and backups made earlier, and blocks that the media below may keep")
    return 0


@contextmanager
def _kept(path: str | None) -> Generator[list[bytes]]:
    """Make the file of the record before anything is destroyed; what the block appends is written to it.

    Raises:
        LoaderError: it exists, or cannot be made or written; in the last case standard error has the record.
    """
    records: list[bytes] = []
    if path is None:
        yield records
        return
    try:
        file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb")  # noqa: SIM115 - closed below
    except FileExistsError as error:
        hint = "choose another name for --record, or move the old one away"
        raise LoaderError(f"{path}: exists already; nothing was destroyed", hint=hint) from error
    except OSError as error:
        raise LoaderError(f"{path}: cannot be made: {error.strerror}; nothing was destroyed") from error
    try:
        with file:
            yield records
            file.write(b"".join(records))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if not records:
            raise
        report.note(f"the record: {records[0].decode()}")
        raise LoaderError(f"{path}: cannot be written: {error.strerror}; the volume is destroyed") from error
    finally:
        if not records:  # nothing was destroyed
            os.unlink(path)


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

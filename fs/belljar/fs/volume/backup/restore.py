"""Restore a backup: every block is verified, zeros become holes, and the container appears whole or not at all.

The work is done under a temporary name beside the target; interrupted, the next restore of the same backup verifies
what is there and goes on. A restored volume is an old one: its owner anchors it anew on purpose.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from belljar.fs.errors import BackupRefused
from belljar.fs.volume import portable

from . import layout
from .layout import ZERO, Backup, Digest
from .tree import Cursor

if TYPE_CHECKING:
    from .repository import Repository
    from .source import Progress


def restore(
    repository: Repository,
    digest: Digest,
    target: str,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> Backup:
    """Write the container of a backup to `target`, durably.

    Args:
        repository: where the backup is.
        digest: its name.
        target: the container to make.
        replace: whether one that is there, and not mounted, is replaced.
        progress: is told what is written.

    Raises:
        BackupRefused: the backup is damaged; the target exists and may not be replaced, or is in use.
        OSError: writing failed; trying again continues.
    """
    backup = repository.read_backup(digest)
    if os.path.lexists(target) and not replace:
        raise BackupRefused(f"{target}: already there", hint="choose another name, or say --replace")
    partial = f"{target}.{digest.hex()[:16]}.partial"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | portable.BINARY_CLOEXEC | portable.NOFOLLOW, 0o600)
    try:
        if not portable.take_lock(descriptor):
            raise BackupRefused(f"{partial}: another restore of this backup is at work")
        _fill(descriptor, repository, backup, progress)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _put_in_place(partial, target, replace=replace)
    return backup


def _fill(descriptor: int, repository: Repository, backup: Backup, progress: Progress | None) -> None:
    resumed = os.fstat(descriptor).st_size > 0
    os.ftruncate(descriptor, backup.container_bytes)
    cursor = Cursor(repository, backup)
    if progress is not None:
        progress.expect(backup.container_bytes)
    for number in range(layout.block_count(backup.container_bytes)):
        length = layout.block_length(backup.container_bytes, number)
        digest = cursor.digest(0, number) or ZERO
        start = number * layout.BLOCK_BYTES
        if not (resumed and _is_there(descriptor, digest, length, start)):
            if digest != ZERO:
                portable.pwrite(descriptor, repository.read_block(digest, length), start)
            elif resumed:
                portable.pwrite(descriptor, bytes(length), start)
        if progress is not None:
            progress.advance(length)


def _is_there(descriptor: int, digest: Digest, length: int, start: int) -> bool:
    content = portable.pread(descriptor, length, start)
    return content == bytes(length) if digest == ZERO else layout.block_digest(content) == digest


def _put_in_place(partial: str, target: str, *, replace: bool) -> None:
    if os.path.lexists(target):
        if not replace:
            raise BackupRefused(f"{target}: appeared meanwhile; the restored container is {partial}")
        old = os.open(target, os.O_RDONLY | portable.BINARY_CLOEXEC)
        try:
            if not portable.take_lock(old):
                raise BackupRefused(
                    f"{target}: the volume is in use, and is not replaced; the restored container is {partial}",
                    hint="end the mount, then restore again: it continues",
                )
            if os.name != "nt":  # which replaces no open file, and has no locks either
                os.replace(partial, target)
        finally:
            os.close(old)
        if os.name == "nt":
            os.replace(partial, target)
    else:
        os.rename(partial, target)
    portable.sync_folder(os.path.dirname(os.path.abspath(target)))

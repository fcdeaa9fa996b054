"""Open a backup repository for one command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from belljar.fs.keeping import BackupRefused, Repository, open_store

if TYPE_CHECKING:
    from collections.abc import Generator

    from belljar.fs.keeping import Listed


@contextmanager
def opened_repository(place: str, *, create: bool = False) -> Generator[Repository]:
    """Open a repository at a folder or URL, and release its lock at the end."""
    store = open_store(place, create=create)
    try:
        yield Repository(store, create=create)
    finally:
        store.close()


def chosen(repository: Repository, beginning: str | None) -> Listed:
    """Return the backup whose id begins so, or the newest one of a repository of one volume.

    Raises:
        BackupRefused: none does, or more than one.
    """
    listed = repository.backups()
    if beginning is None:
        if len({each.backup.volume_id for each in listed}) > 1:
            raise BackupRefused("the repository has backups of several volumes", hint="choose one with --backup ID")
        found = listed[-1:]
    else:
        found = [each for each in listed if each.digest.hex().startswith(beginning)]
    if len(found) != 1:
        what = "no backup" if not found else f"{len(found)} backups"
        raise BackupRefused(f"{what} found", hint="belljar volume backup --list REPOSITORY")
    return found[0]

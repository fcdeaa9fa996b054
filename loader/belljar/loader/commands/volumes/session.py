"""Open a volume for one command, and leave it as it was if the command fails.

The container is locked: alone to write, together with other readers to read. What a command has changed is committed
when it ends well; when it fails, nothing of it was.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from belljar.fs.keeping import VolumeRefused, take_lock, unlock
from belljar.fs.volumes import FileContainer, open_volume
from belljar.libos.identity.anchors import volume_anchor
from belljar.loader import report
from belljar.loader.errors import UsageError

from .keys.credentials import credential
from .states.naming import snapshot_error

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from belljar.fs.anchoring import PlatformAnchor
    from belljar.fs.keeping import Credential, Unlocked, WritableTree
    from belljar.fs.volumes import Volume
    from belljar.loader.options import Parsed


def only_volume(parsed: Parsed) -> str:
    """Return the one word a command takes."""
    if len(parsed.words) != 1:
        raise UsageError(f"expected one volume, got {len(parsed.words)} words")
    return parsed.words[0]


def now_s() -> int:
    """Return the time in seconds since 1970."""
    return int(time.time())


def platform_anchor(parsed: Parsed) -> PlatformAnchor:
    """Return the anchor of this platform, or of the folder that was named, which no platform holds."""
    return volume_anchor(parsed.options.get("anchors"))


@contextmanager
def container_of(path: str, *, writable: bool) -> Generator[FileContainer]:
    """Open a container under its lock.

    Raises:
        VolumeRefused: it is in use.
    """
    container = FileContainer(path, writable=writable)
    try:
        if not writable and not take_lock(container.fd, shared=True):
            raise VolumeRefused(f"{path}: the volume is mounted writable", hint="end the mount first: belljar ps")
        yield container
    finally:
        container.close()


@contextmanager
def unlocked_with(opening: Credential, path: str, *, writable: bool) -> Generator[tuple[FileContainer, Unlocked]]:
    """Open a container and its header with a credential."""
    with (
        container_of(path, writable=writable) as container,
        unlock(container, opening, writable=writable) as unlocked,
    ):
        for line in unlocked.notes:
            report.note(f"{path}: {line}" + ("; healed" if writable else ""))
        yield container, unlocked


def unlocked_volume(
    parsed: Parsed, path: str, *, writable: bool
) -> AbstractContextManager[tuple[FileContainer, Unlocked]]:
    """Open a container and its header with the credential of the options."""
    return unlocked_with(credential(parsed), path, writable=writable)


@contextmanager
def opened_volume(parsed: Parsed, path: str, *, writable: bool) -> Generator[Volume]:
    """Open a volume; what was changed is committed if the block ends well."""
    with unlocked_volume(parsed, path, writable=writable) as (container, unlocked), platform_anchor(parsed) as anchor:
        with unlocked.key.view() as view:
            key = bytes(view)
        if writable:
            anchor.begin(unlocked.volume_id)
        volume = open_volume(container, volume_id=unlocked.volume_id, key=key, anchor=anchor, writable=writable)
        yield volume
        volume.close()


@contextmanager
def opened_tree(parsed: Parsed, path: str) -> Generator[WritableTree]:
    """Open the tree of a volume, or of the snapshot that the options name, to read."""
    with opened_volume(parsed, path, writable=False) as volume:
        yield _chosen_tree(volume, parsed.options.get("snapshot"))


def _chosen_tree(volume: Volume, name: str | None) -> WritableTree:
    if name is None:
        return volume.tree
    try:
        return volume.snapshot_tree(name)
    except OSError as error:
        raise snapshot_error(name, error) from error

"""Whether this machine still has the files that a bundle was built from.

In comes a `Bundle`; out come findings, one per file that is changed or missing, named by its path on the host. Files
that the bundle does not name are never served, so they do not matter.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from belljar.fs.measuring import DigestCache, SourceError, compare_tree
from belljar.loader.manifest.findings import ERROR, Finding
from belljar.loader.manifest.model import FROM_HOST
from belljar.loader.remembered import cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.fs.measuring import Progress

    from .read import Bundle


def drift(bundle: Bundle, folder: str, progress: Progress | None = None) -> list[Finding]:
    """Return what differs between the files here and the indexes of a bundle.

    Args:
        bundle: that holds.
        folder: the cache folder.
        progress: told how far hashing is.
    """
    found: list[Finding] = []
    with DigestCache(cache.digests_path(folder)) as digests:
        for tree, entries in zip(bundle.decided.pinned, bundle.entries, strict=True):
            try:
                differences = compare_tree(os.fsencode(tree.source), [*entries], digests, progress)
            except SourceError as error:
                said = str(error).removeprefix(f"{tree.source}: ")
                found.append(Finding(level=ERROR, place=tree.source, message=f"{said}: it is mounted at {tree.path}"))
                continue
            for difference in differences:
                below = os.fsdecode(difference.path)
                place = os.path.join(tree.source, below) if below else tree.source
                message = f"{difference.reason} since {bundle.path} was built"
                found.append(Finding(level=ERROR, place=place, message=message))
    return [*found, *_host_mounts(bundle)]


def _host_mounts(bundle: Bundle) -> Iterator[Finding]:
    for mount in bundle.decided.manifest.mounts:
        if isinstance(mount, FROM_HOST) and not os.path.exists(mount.source):
            yield Finding(
                level=ERROR, place=mount.source, message=f"no such file or directory: it is mounted at {mount.path}"
            )

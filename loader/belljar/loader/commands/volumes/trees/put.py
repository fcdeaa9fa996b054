"""`belljar volume put`: copy files and trees into a volume; in one commit what needs no more in between."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import TYPE_CHECKING

from belljar.loader.commands.progress import hashing_progress
from belljar.loader.commands.volumes.create import owner_of
from belljar.loader.commands.volumes.session import opened_volume
from belljar.loader.errors import LoaderError, UsageError

from .inward import Inward
from .paths import find, lookup, names_of

if TYPE_CHECKING:
    from belljar.fs.keeping import WritableTree
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Copy in."""
    if len(parsed.words) < 3:
        raise UsageError("expected a volume, sources and a path in it", hint="belljar volume put state.vol models /")
    path, *sources, target = parsed.words
    owner = owner_of(parsed)
    container = os.stat(path)
    with opened_volume(parsed, path, writable=True) as volume, hashing_progress("copying") as progress:
        copy = Inward(
            volume.tree,
            owner=owner,
            replace=parsed.has("replace"),
            itself=(container.st_dev, container.st_ino),
            progress=progress,
        )
        for source, (parent, name) in zip(sources, _places(volume.tree, sources, target), strict=True):
            copy.put(source, parent, name)
    members = {"volume": path, "copied": copy.copied, "bytes": copy.copied_bytes, "left_out": copy.left_out}
    if parsed.has("json"):
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(f"{path}: {copy.copied} copied, {copy.copied_bytes} bytes\n")
        sys.stdout.writelines(f"left out: {name}\n" for name in copy.left_out)
    return 0


def _places(tree: WritableTree, sources: list[str], target: str) -> list[tuple[int, bytes]]:
    """Return folder and name in the volume of each source."""
    names = names_of(target)
    if not names:
        return [(find(tree, "/").ino, _basename(source)) for source in sources]
    parent = find(tree, os.fsdecode(b"/".join(names[:-1])))
    if not stat.S_ISDIR(parent.mode):
        raise LoaderError(f"{target}: leads through something that is no folder")
    there = lookup(tree, parent.ino, names[-1])
    if there is not None and stat.S_ISDIR(there.mode):
        return [(there.ino, _basename(source)) for source in sources]
    if len(sources) > 1 or target.endswith("/"):
        raise LoaderError(f"{target}: no such folder in the volume")
    return [(parent.ino, names[-1])]


def _basename(source: str) -> bytes:
    name = os.path.basename(os.path.abspath(source))
    if not name:
        raise LoaderError(f"{source}: has no name of its own", hint="name the folder it shall become")
    return os.fsencode(name)

"""`belljar volume get`: copy a file or tree out of a volume."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from belljar.loader.commands.progress import hashing_progress
from belljar.loader.commands.volumes.session import opened_tree
from belljar.loader.errors import LoaderError, UsageError

from .outward import Outward
from .paths import find, names_of

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Copy out."""
    if not 2 <= len(parsed.words) <= 3:
        raise UsageError("expected a volume, a path in it, and perhaps a target")
    volume, path = parsed.words[:2]
    names = names_of(path)
    target = parsed.words[2] if len(parsed.words) == 3 else "."
    if names and os.path.isdir(target):
        target = os.path.join(target, os.fsdecode(names[-1]))
    if os.path.lexists(target):
        raise LoaderError(f"{target}: already there, and nothing is overwritten", hint="name a new target")
    with opened_tree(parsed, volume) as tree, hashing_progress("copying") as progress:
        copy = Outward(tree, progress)
        copy.take(find(tree, path), target)
    members = {"target": target, "copied": copy.copied, "bytes": copy.copied_bytes, "left_out": copy.left_out}
    if parsed.has("json"):
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(f"{target}: {copy.copied} copied, {copy.copied_bytes} bytes\n")
        sys.stdout.writelines(f"left out: {name}\n" for name in copy.left_out)
    return 0

"""`belljar volume ls`: list what is in a volume."""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from belljar.loader.commands.runs.table import aligned
from belljar.loader.commands.volumes.session import opened_tree
from belljar.loader.errors import UsageError

from .paths import find, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from belljar.fs.keeping import Attributes, WritableTree
    from belljar.loader.options import Parsed

_Row = tuple[str, "Attributes", str]


def main(parsed: Parsed) -> int:
    """List a folder, or say what a file is."""
    if not 1 <= len(parsed.words) <= 2:
        raise UsageError("expected a volume and perhaps a path", hint="belljar volume ls state.vol /models")
    path = parsed.words[1] if len(parsed.words) == 2 else "/"
    with opened_tree(parsed, parsed.words[0]) as tree:
        rows = list(_rows(tree, path, recursive=parsed.has("recursive")))
    if parsed.has("json"):
        sys.stdout.write(json.dumps([_members(row) for row in rows], indent=2) + "\n")
    elif rows:
        sys.stdout.writelines(aligned([_columns(row) for row in rows]))
    return 0


def _rows(tree: WritableTree, path: str, *, recursive: bool) -> Iterator[_Row]:
    found = find(tree, path)
    if not stat.S_ISDIR(found.mode):
        yield _row(tree, os.fsdecode(b"/".join(names_of(path))), found)
        return
    pending = [("", found.ino)]
    while pending:
        prefix, folder = pending.pop()
        below: list[tuple[str, int]] = []
        for _, name, ino, _ in sorted(tree.entries(folder, 0), key=lambda entry: entry[1]):
            shown = prefix + os.fsdecode(name)
            row = _row(tree, shown, tree.attributes(ino))
            yield row
            if recursive and stat.S_ISDIR(row[1].mode):
                below.append((shown + "/", ino))
        pending += reversed(below)


def _row(tree: WritableTree, shown: str, found: Attributes) -> _Row:
    return shown, found, os.fsdecode(tree.target(found.ino)) if stat.S_ISLNK(found.mode) else ""


def _columns(row: _Row) -> list[str]:
    shown, found, target = row
    when = datetime.fromtimestamp(found.mtime_ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    name = f"{shown} -> {target}" if target else shown
    return [stat.filemode(found.mode), f"{found.uid}:{found.gid}", f"{found.size:>12}", when, name]


def _members(row: _Row) -> dict[str, str | int]:
    shown, found, target = row
    members: dict[str, str | int] = {
        "path": shown,
        "mode": stat.filemode(found.mode),
        "uid": found.uid,
        "gid": found.gid,
        "size": found.size,
        "links": found.nlink,
        "mtime_ns": found.mtime_ns,
    }
    return members | ({"target": target} if target else {})

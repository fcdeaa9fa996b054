"""`belljar volume cat`: print files of a volume."""

from __future__ import annotations

import stat
import sys
from typing import TYPE_CHECKING

from belljar.loader.commands.volumes.session import opened_tree
from belljar.loader.errors import LoaderError, UsageError

from .paths import CHUNK_BYTES, find

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Print files."""
    if len(parsed.words) < 2:
        raise UsageError("expected a volume and a path", hint="belljar volume cat state.vol /log.txt")
    with opened_tree(parsed, parsed.words[0]) as tree:
        for path in parsed.words[1:]:
            found = find(tree, path)
            if not stat.S_ISREG(found.mode):
                raise LoaderError(f"{path}: not a file")
            for offset in range(0, found.size, CHUNK_BYTES):
                sys.stdout.buffer.write(tree.read(found.ino, offset, CHUNK_BYTES))
    sys.stdout.flush()
    return 0

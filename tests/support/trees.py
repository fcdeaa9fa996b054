"""Make folders from a description, and sources from folders."""

from __future__ import annotations

import os
from pathlib import Path

from belljar.fs.hashed.cache import DigestCache
from belljar.fs.hashed.content import Source
from belljar.fs.hashed.index import Index
from belljar.fs.hashed.measure import MeasuredTree, measure_tree
from belljar.fs.hashed.walk import Selection


def make_tree(root: Path, description: dict[str, bytes | str | None]) -> Path:
    """Make files (bytes), links (str, where to) and folders (None) below `root`."""
    for name, content in description.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
    return root


def measured(source: Path, selection: Selection | None = None, cache: str | None = None) -> MeasuredTree:
    """Measure a folder."""
    with DigestCache(cache) as digests:
        return measure_tree(os.fsencode(source), selection or Selection(), digests)


def opened(source: Path, index_file: Path, guest_path: str = "/tree") -> Source:
    """Measure a folder, write its index, and open both."""
    built = measured(source).index
    index_file.write_bytes(built.content)
    return Source(Index(os.open(index_file, os.O_RDONLY), built.digest), os.fsencode(source), guest_path)

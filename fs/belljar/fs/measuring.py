"""Door of this house to those who measure: walk a host tree, hash it, get its index."""

from __future__ import annotations

from .errors import FsError, SourceError
from .hashed.build import BuiltIndex, Found, build_index
from .hashed.cache import DigestCache, is_racy
from .hashed.measure import MeasuredTree, Progress, measure_tree
from .hashed.walk import Selection, Stamp, stamp

__all__ = [
    "BuiltIndex",
    "DigestCache",
    "Found",
    "FsError",
    "MeasuredTree",
    "Progress",
    "Selection",
    "SourceError",
    "Stamp",
    "build_index",
    "is_racy",
    "measure_tree",
    "stamp",
]

"""Door of this house to those who measure: walk a host tree, hash it, get its index."""

from __future__ import annotations

from .errors import FsError, IndexRefused, SourceError
from .hashed.build import BuiltIndex, Found, build_index
from .hashed.cache import DigestCache, is_racy
from .hashed.compare import Difference, compare_tree
from .hashed.listing import Entry, list_entries
from .hashed.measure import MeasuredTree, Progress, measure_tree
from .hashed.walk import Selection, Stamp, selects, stamp

__all__ = [
    "BuiltIndex",
    "Difference",
    "DigestCache",
    "Entry",
    "Found",
    "FsError",
    "IndexRefused",
    "MeasuredTree",
    "Progress",
    "Selection",
    "SourceError",
    "Stamp",
    "build_index",
    "compare_tree",
    "is_racy",
    "list_entries",
    "measure_tree",
    "selects",
    "stamp",
]

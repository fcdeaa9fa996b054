"""Door of this house to those who serve: open indexes, compose the guest's tree, answer the kernel.

On the start path of every run, so nothing here imports `typing`, `dataclasses` or anything else that costs
milliseconds (docs/decisions/0005-start-path.md).
"""

from __future__ import annotations

from .errors import FsError, IndexRefused, IntegrityViolation
from .fuse.session import Session
from .generated.filesystem import operations as generated_operations
from .hashed.ahead import ReadAhead
from .hashed.content import Source
from .hashed.filesystem import operations as tree_operations
from .hashed.index import Index
from .hashed.tree import Tree, TreeConflict
from .hashed.usage import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .fuse.session import Operation
    from .hashed.usage import Warmup

    Operations = dict[int, Operation]
else:  # names for type checkers only: making the types would cost
    Operations = Warmup = None

__all__ = [
    "FsError",
    "Index",
    "IndexRefused",
    "IntegrityViolation",
    "Operations",
    "ReadAhead",
    "Session",
    "Source",
    "Tree",
    "TreeConflict",
    "Usage",
    "Warmup",
    "generated_operations",
    "tree_operations",
]

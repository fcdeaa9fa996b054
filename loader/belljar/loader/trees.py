"""A hashed mount with its index: what is measured, looked into, and served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from belljar.fs.measuring import MeasuredTree

    from .resolve import TreeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A hashed mount with its index.

    Attributes:
        where: its place in the enclave, and its source on the host.
        measured: what was found there.
        index_path: the file that holds its index.
    """

    where: TreeSource
    measured: MeasuredTree
    index_path: str

"""`belljar policy`: write and check appraisal policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dispatch import dispatch

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Run one command of `belljar policy`."""
    return dispatch("policy", parsed)

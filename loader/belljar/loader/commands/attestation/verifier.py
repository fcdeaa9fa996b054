"""`belljar verifier`: appraise evidence for others over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.loader.commands.families import run_member

from .table import COMMANDS

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Run one command of `belljar verifier`."""
    return run_member("verifier", COMMANDS, parsed)

"""Commands of two words, `belljar volume …`: find the second in the family's table, read its options, run it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from belljar.loader.errors import UsageError
from belljar.loader.options import command_help, parse

from .errors import loader_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from belljar.loader.options import Command, Parsed

_USAGE_EXIT = 2


def run_member(family: str, commands: Sequence[Command], parsed: Parsed) -> int:
    """Run one command of a family.

    Args:
        family: its first word.
        commands: a table that has its members, and may have others.
        parsed: what follows the first word.

    Raises:
        UsageError: there is no such command.
    """
    words = parsed.words
    members = [command for command in commands if command.name.startswith(f"{family} ")]
    if not words or words[0] == "help":
        width = max(len(command.name) for command in members)
        rows = "".join(f"  belljar {command.name:<{width}}  {command.help}\n" for command in members)
        sys.stdout.write(f"usage: belljar {family} COMMAND …\n\n{rows}\nbelljar {family} COMMAND --help says more\n")
        return 0 if words else _USAGE_EXIT
    command = next((command for command in members if command.name == f"{family} {words[0]}"), None)
    if command is None:
        known = ", ".join(command.name.partition(" ")[2] for command in members)
        raise UsageError(f"unknown command {family} {words[0]}", hint=f"expected one of {known}")
    ours = parse(command, words[1:])
    if ours.has("help"):
        sys.stdout.write(command_help(command))
        return 0
    module = __import__(command.run, fromlist=["main"])
    with loader_errors():
        return int(module.main(ours))

"""Commands of two words, `belljar policy …` and `belljar verifier …`: find the second, read its options, run it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import UsageError
from belljar.loader.options import command_help, parse

from .table import COMMANDS

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_USAGE_EXIT = 2


def dispatch(family: str, parsed: Parsed) -> int:
    """Run one command of a family."""
    words = parsed.words
    members = [command for command in COMMANDS if command.name.startswith(f"{family} ")]
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

"""`belljar volume`: find the command that was asked for, read its options, run it."""

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
_WIDTH = max(len(command.name) for command in COMMANDS)


def main(parsed: Parsed) -> int:
    """Run one command of `belljar volume`."""
    words = parsed.words
    if not words or words[0] == "help":
        sys.stdout.write(_overview())
        return 0 if words else _USAGE_EXIT
    command = next((command for command in COMMANDS if command.name == f"volume {words[0]}"), None)
    if command is None:
        known = ", ".join(command.name.partition(" ")[2] for command in COMMANDS)
        raise UsageError(f"unknown command volume {words[0]}", hint=f"expected one of {known}")
    ours = parse(command, words[1:])
    if ours.has("help"):
        sys.stdout.write(command_help(command))
        return 0
    module = __import__(command.run, fromlist=["main"])
    with loader_errors():
        return int(module.main(ours))


def _overview() -> str:
    rows = "".join(f"  belljar {command.name:<{_WIDTH}}  {command.help}\n" for command in COMMANDS)
    return f"usage: belljar volume COMMAND …\n\n{rows}\nbelljar volume COMMAND --help says more\n"

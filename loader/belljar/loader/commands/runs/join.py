"""`belljar exec`: start another program in a running enclave, if its manifest lets you."""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.libos.enclave import ProgramNotStarted
from belljar.libos.lifecycle import run_in
from belljar.loader import report
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import ProgramNotExecutable, ProgramNotFound, UsageError

from .explain import summary

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_NOT_FOUND = (2, 20)


def main(parsed: Parsed) -> int:
    """Run a program in a running enclave, and exit as it did."""
    name, command = parsed.words[:1], parsed.words[1:]
    command = command[1:] if command[:1] == ["--"] else command
    if not name or not command:
        raise UsageError("expected a run and a command", hint="belljar exec web -- python3 -c 'print(1)'")
    with loader_errors():
        try:
            outcome, refused = run_in(name[0], tuple(command))
        except ProgramNotStarted as error:
            kind = ProgramNotFound if error.code in _NOT_FOUND else ProgramNotExecutable
            raise kind(f"{command[0]}: cannot be executed in the enclave {name[0]}: {error}") from error
    for note in outcome.notes:
        report.error(note)
    if outcome.exit_code and refused:
        for line in summary(refused):
            report.note(line)
    return outcome.exit_code

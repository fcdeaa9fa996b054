"""`belljar wait`: wait until an enclave has ended, and exit as its program did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.libos.lifecycle import until_ended
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Wait for a run, and return the exit code of its program."""
    if len(parsed.words) != 1:
        raise UsageError("expected the name of one run", hint="belljar ps --all lists them")
    with loader_errors():
        ended = until_ended(parsed.words[0])
    code = ended.get("exit_code")
    return code if isinstance(code, int) else LoaderError.exit_code

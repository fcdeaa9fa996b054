"""`belljar stop`: end enclaves: ask their programs to end, then end them by force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.libos.lifecycle import NotAnswered, until_ended
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """End runs, one after the other; those that have ended already are left alone."""
    if not parsed.words:
        raise UsageError("no run to stop", hint="belljar ps lists them")
    text = parsed.options.get("time", "10")
    try:
        grace = float(text)
    except ValueError:
        raise UsageError(f"--time {text}: expected seconds") from None
    for name in parsed.words:
        with loader_errors():
            try:
                until_ended(name, {"grace_s": grace}, what="stop")
            except NotAnswered as error:
                if not str(error).endswith("has gone"):  # that is what was wanted
                    raise
    return 0

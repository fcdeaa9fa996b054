"""The command line: which command, with what options; the only place that exits.

Hot: `belljar run` comes through here on its way to the first byte of the guest.
"""

from __future__ import annotations

import io
import os
import sys

from . import report
from .commands.table import COMMANDS
from .errors import LoaderError, UsageError
from .options import command_help, overview, parse
from .version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import Command

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell shows it
_USAGE_EXIT = 2  # what argparse and getopt programs exit with; `run` uses 125, since 2 could be the guest's


def console() -> None:
    """Be the console script. Ends without taking the interpreter apart, which nobody needs any more (3 ms)."""
    _open_streams()
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # who read our output has gone
        code = code or _BROKEN_PIPE
    except OSError as error:
        report.error(f"cannot write the output: {error.strerror}")
        code = code or LoaderError.exit_code
    os._exit(code)


def _open_streams() -> None:
    """Have three standard streams that take any text: what the caller has closed leads nowhere."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(words: list[str]) -> int:
    """Run one command line and return its exit code."""
    if not words or words[0] in ("--help", "-h", "help"):
        return _say(overview(COMMANDS), 0 if words else _USAGE_EXIT)
    if words[0] in ("--version", "version"):
        return _say(f"belljar {VERSION}\n")
    command = next((command for command in COMMANDS if command.name == words[0]), None)
    if command is None:
        report.error(f"unknown command {words[0]}", _hint(words[0]))
        return _USAGE_EXIT
    return _run(command, words[1:])


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(text)
    return code


def _hint(word: str) -> str:
    if word.endswith((".py", ".yaml", ".yml")):
        return f"belljar run {word}"
    if word.startswith("-"):
        return "options stand behind the command: belljar run -v …"
    from difflib import get_close_matches

    known = [command.name for command in COMMANDS]
    close = get_close_matches(word, known, 1, 0.6)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}; belljar --help says more"


def _run(command: Command, words: list[str]) -> int:
    try:
        return _take(command, words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _BROKEN_PIPE
    except SystemExit as ended:  # another process of ours failed, and said why
        return int(ended.code or 0)
    except OSError as error:
        what = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        report.error(f"{what}{error.strerror or error}")
    except Exception as failure:
        if os.environ.get("BELLJAR_TRACEBACK"):
            raise
        report.error(
            f"unexpected {type(failure).__name__}: {failure}",
            "this is a defect of belljar: please report it, with what BELLJAR_TRACEBACK=1 shows",
        )
    return LoaderError.exit_code


def _take(command: Command, words: list[str]) -> int:
    try:
        parsed = parse(command, words)
        if parsed.has("help"):
            return _say(command_help(command))
        module = __import__(command.run, fromlist=["main"])
        return int(module.main(parsed))
    except UsageError as error:
        report.error(str(error), error.hint)
        return error.exit_code if command.name == "run" else _USAGE_EXIT
    except LoaderError as error:
        report.error(str(error), error.hint)
        return error.exit_code


if __name__ == "__main__":
    console()

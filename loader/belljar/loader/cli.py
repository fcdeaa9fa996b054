"""The command line: which command, with what options; the only place that exits.

Hot: `belljar run` comes through here on its way to the first byte of the guest.
"""

from __future__ import annotations

import os
import sys

from . import report
from .errors import LoaderError, UsageError
from .options import JSON, Command, Option, command_help, overview, parse
from .version import VERSION

_VERBOSE = Option(name="verbose", short="v", help="say what is measured and how the run ended, on stderr")

COMMANDS = (
    Command(
        name="run",
        usage="[OPTIONS] (-- COMMAND… | SCRIPT.py … | MANIFEST.yaml [-- ARGUMENTS…])",
        help="run a program in an enclave",
        options=(
            _VERBOSE,
            Option(name="explain", help="print the derived manifest instead of running"),
            Option(name="dry-run", help="print every step instead of taking it"),
            Option(name="fresh", help="look at every file again, whatever is remembered"),
        ),
        run="belljar.loader.run",
        greedy=True,
        example='belljar run -- python3 -c "print(6*7)"',
    ),
    Command(
        name="measure",
        usage="[OPTIONS] (MANIFEST.yaml | SCRIPT.py | -- COMMAND…)",
        help="print the measurement, the identity of the enclave",
        options=(
            JSON,
            Option(name="canonical", help="print the canonical manifest: the bytes whose SHA-256 is the measurement"),
        ),
        run="belljar.loader.commands.measure",
        greedy=True,
        example="belljar measure app.yaml",
    ),
    Command(
        name="check",
        usage="[OPTIONS] MANIFEST.yaml…",
        help="check manifests: mistakes with their place, risky settings",
        options=(JSON,),
        run="belljar.loader.commands.check",
        example="belljar check app.yaml",
    ),
    Command(
        name="schema",
        usage="",
        help="print the JSON Schema of manifests, for editors",
        options=(),
        run="belljar.loader.commands.schema",
        example="belljar schema > manifest.schema.json",
    ),
)

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell shows it
_USAGE_EXIT = 2  # what argparse and getopt programs exit with; `run` uses 125, since 2 could be the guest's


def console() -> None:
    """Be the console script. Ends without taking the interpreter apart, which nobody needs any more (3 ms)."""
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:  # who read our output has gone
        code = code or _BROKEN_PIPE
    os._exit(code)


def main(words: list[str]) -> int:
    """Run one command line and return its exit code."""
    if not words or words[0] in ("--help", "-h", "help"):
        sys.stdout.write(overview(COMMANDS))
        return 0 if words else _USAGE_EXIT
    if words[0] == "--version":
        sys.stdout.write(f"belljar {VERSION}\n")
        return 0
    command = next((command for command in COMMANDS if command.name == words[0]), None)
    if command is None:
        known = ", ".join(command.name for command in COMMANDS)
        report.error(
            f"unknown command {words[0]}", f"expected one of {known}; to run a program: belljar run -- {words[0]}"
        )
        return _USAGE_EXIT
    return _run(command, words[1:])


def _run(command: Command, words: list[str]) -> int:
    try:
        parsed = parse(command, words)
        if parsed.has("help"):
            sys.stdout.write(command_help(command))
            return 0
        module = __import__(command.run, fromlist=["main"])
        return int(module.main(parsed))
    except UsageError as error:
        report.error(str(error), error.hint)
        return error.exit_code if command.name == "run" else _USAGE_EXIT
    except LoaderError as error:
        report.error(str(error), error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _BROKEN_PIPE
    except SystemExit as ended:  # another process of ours failed, and said why
        return int(ended.code or 0)

"""The command line as a table: commands, their options, their help. Hot, so without argparse (9 ms).

In come words; out comes a `Parsed`, or a `UsageError`. Options stand before the first word that is none: what follows
is the program's own.
"""

from __future__ import annotations

from belljar.libos.values import Value

from .errors import UsageError

_BETWEEN = "\0"  # no word of a command line holds it


class Option(Value):
    """One option: `--name`, its short letter, what it is followed by, what it does, and whether it may be repeated."""

    name: str
    help: str
    short: str = ""
    value: str = ""
    many: bool = False


class Command(Value):
    """One command.

    Attributes:
        name: the word after `belljar`.
        usage: what follows it.
        help: one line.
        options: what it understands.
        run: module that has `main(parsed) -> int`.
        greedy: whether the words after the first belong to somebody else, options and all.
        example: a line to copy.
    """

    name: str
    usage: str
    help: str
    options: tuple[Option, ...]
    run: str
    greedy: bool = False
    example: str = ""


class Parsed(Value):
    """What a command line says: flags and values by option name, and the other words."""

    options: dict[str, str]
    words: list[str]

    def has(self, name: str) -> bool:
        """Say whether an option was given."""
        return name in self.options

    def each(self, name: str) -> list[str]:
        """Return the values of an option that may be repeated, in their order."""
        return self.options[name].split(_BETWEEN) if name in self.options else []


HELP = Option(name="help", short="h", help="show this help")
JSON = Option(name="json", help="print JSON, for programs")


def parse(command: Command, words: list[str]) -> Parsed:
    """Return what `words` say to `command`.

    Raises:
        UsageError: an option is unknown, or lacks its value.
    """
    known = {f"--{option.name}": option for option in (*command.options, HELP)}
    known.update({f"-{option.short}": option for option in (*command.options, HELP) if option.short})
    options: dict[str, str] = {}
    rest: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            rest.append(word)
            if command.greedy or word == "--":
                rest += pending
                break
            continue
        name, assigned, value = word.partition("=")
        option = known.get(name)
        if option is None:
            raise UsageError(f"unknown option {name}", hint=f"belljar {command.name} --help lists them")
        if option.value and not assigned:
            if not pending:
                raise UsageError(f"{name} needs a value: {option.value}")
            value = pending.pop(0)
        if assigned and not option.value:
            raise UsageError(f"{name} takes no value")
        options[option.name] = f"{options[option.name]}{_BETWEEN}{value}" if _again(option, options) else value
    return Parsed(options=options, words=rest)


def _again(option: Option, options: dict[str, str]) -> bool:
    return option.many and option.name in options


def command_help(command: Command) -> str:
    """Return the help of one command."""
    lines = [f"usage: belljar {command.name} {command.usage}".rstrip(), "", command.help]
    rows = [(_spelled(option), option.help) for option in (*command.options, HELP)]
    width = max(len(left) for left, _ in rows)
    lines += ["", "options:", *(f"  {left:<{width}}  {right}" for left, right in rows)]
    if command.example:
        lines += ["", "example:", f"  {command.example}"]
    return "\n".join(lines) + "\n"


def _spelled(option: Option) -> str:
    short = f"-{option.short}, " if option.short else ""
    return f"{short}--{option.name}" + (f" {option.value}" if option.value else "")


def overview(commands: tuple[Command, ...]) -> str:
    """Return the help of belljar as a whole."""
    width = max(len(command.name) for command in commands)
    lines = ["usage: belljar COMMAND …", "", "Run an unmodified Python program in a sealed, measured sandbox.", ""]
    lines += [f"  {command.name:<{width}}  {command.help}" for command in commands]
    lines += ["", "belljar COMMAND --help says more; belljar --version says which one this is."]
    return "\n".join(lines) + "\n"

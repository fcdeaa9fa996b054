"""Documents as tests see them: files and console sessions of a Markdown page.

<!-- file: NAME -->    the fenced block below it is a file
```console             lines that begin with "$ " are commands, what follows them is what they print
…                      in what is printed: anything; alone on a line: any lines
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)(?P<target>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page, and what it should print."""

    line: int
    words: str
    expected: str


def pages(root: Path) -> list[Path]:
    """Return every Markdown page of the checkout."""
    found = [*root.glob("*.md"), *root.glob("*/README.md"), *(root / "docs").rglob("*.md")]
    return sorted(set(found))


def files_and_commands(page: Path) -> tuple[dict[str, str], list[Command]]:
    """Return the files and the commands of a page."""
    text = page.read_text()
    files: dict[str, str] = {}
    commands: list[Command] = []
    for fence in _FENCE.finditer(text):
        if fence["file"]:
            files[fence["file"]] = fence["body"]
        elif fence["language"] == "console":
            commands += _session(fence["body"], text.count("\n", 0, fence.start("body")) + 1)
    return files, commands


def _session(body: str, line: int) -> list[Command]:
    commands: list[Command] = []
    for number, text in enumerate(body.splitlines()):
        if text.startswith("$ "):
            commands.append(Command(line + number, text[2:], ""))
        elif commands:
            last = commands[-1]
            commands[-1] = Command(last.line, last.words, f"{last.expected}{text}\n")
    return commands


def matches(expected: str, printed: str) -> bool:
    """Say whether what was printed is what a page says."""
    patterns = (
        "(?:[^\n]*\n)*" if line == "…" else re.escape(line).replace("…", "[^\n]*") + "\n"
        for line in expected.splitlines()
    )
    return re.fullmatch("".join(patterns), printed) is not None


def links(page: Path) -> list[tuple[str, str | None]]:
    """Return (target, anchor) of every link into the checkout."""
    return [(link["target"], link["anchor"]) for link in _LINK.finditer(page.read_text())]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}

"""The checkout as contract tests see it: houses, rooms, modules and what they import."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("BELLJAR_CHECKOUT", Path(__file__).parent.parent.parent))
HOUSES = ("fs", "attestation", "libos", "loader")
"""From the ground up: a house may use those before it, never those after it."""


def in_checkout() -> None:
    """Skip a test that looks at the sources when only the tests were brought here."""
    if not (ROOT / "pyproject.toml").exists() or not (ROOT / "loader").exists():
        pytest.skip(f"no checkout at {ROOT}: set BELLJAR_CHECKOUT")


def modules(house: str) -> Iterator[Path]:
    """Yield every Python file of a house."""
    yield from sorted((ROOT / house / "belljar").rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import in a file, also those inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, _absolute(path, node)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "__import__":
            yield from ((node.lineno, str(name.value)) for name in node.args[:1] if isinstance(name, ast.Constant))


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    module = node.module or ""
    if not node.level:
        return module
    package = path.relative_to(ROOT).parent.parts[1:]
    base = package[: len(package) - node.level + 1]
    return ".".join((*base, module)) if module else ".".join(base)


def house_of(name: str) -> str | None:
    """Return the house of a dotted name, or None when it is not ours."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "belljar" and rest else None

"""The size of rooms: what is held here keeps files readable in one sitting."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.source import HOUSES, ROOT, in_checkout

MAX_LINES = 400
MAX_TEST_LINES = 600
MAX_FUNCTION_LINES = 50
MAX_FILES_IN_A_ROOM = 16
_SILENCED = re.compile(r"#\s*(noqa(: [A-Z0-9, ]+)?|(type|pyright): ignore(\[[^]]*\])?)(?P<rest>.*)")
_SHORTEST_REASON = 4

pytestmark = pytest.mark.usefixtures("checkout")


@pytest.fixture(scope="module")
def checkout() -> None:
    in_checkout()


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(("folders", "limit"), [(HOUSES, MAX_LINES), (("tests", "benchmarks"), MAX_TEST_LINES)])
def test_no_file_is_too_long(folders: tuple[str, ...], limit: int) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(*folders)}
    assert not {str(path): length for path, length in lengths.items() if length > limit}


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources(*HOUSES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def test_no_room_is_too_full() -> None:
    rooms = {path.parent for path in sources(*HOUSES)}
    full = {str(room): count for room in rooms if (count := len(list(room.glob("*.py")))) > MAX_FILES_IN_A_ROOM}
    assert not full


def test_every_module_says_what_it_is() -> None:
    assert not [path for path in sources(*HOUSES, "tests", "benchmarks") if not ast.get_docstring(_tree(path))]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_every_silenced_warning_has_its_reason_beside_it() -> None:
    bare = []
    for path in sources(*HOUSES, "tests", "benchmarks"):
        with path.open("rb") as file:
            comments = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
        for comment in comments:
            found = _SILENCED.search(comment.string)
            if found and len(found["rest"].strip(" -#")) < _SHORTEST_REASON:
                bare.append(f"{path.relative_to(ROOT)}:{comment.start[0]} {comment.string}")
    assert not bare, "\n".join(bare)


def test_every_skip_names_what_is_missing() -> None:
    bare = []
    for path in sources("tests"):
        for node in ast.walk(_tree(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in ("skip", "skipif", "xfail"):
                reasons = [*node.args, *(word.value for word in node.keywords if word.arg == "reason")]
                if not any(isinstance(reason, ast.JoinedStr | ast.Constant) for reason in reasons):
                    bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not bare

"""Read YAML strictly and remember where everything stood.

In comes text; out comes a plain value and the place of each part of it. The subset is what a manifest needs, with
YAML 1.2's idea of scalars (`no` is a text, `0777` is 777): no aliases, no tags, no second document, no duplicate keys,
bounded size, depth and count. PyYAML makes the events; building the value is done here, without recursion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from belljar.loader.errors import ManifestError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    Path = tuple[str | int, ...]
    Mark = tuple[int, int]
    """(line, column), counted from 1."""

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 20_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,19}|0o[0-7]{1,21}|0x[0-9a-fA-F]{1,16}")  # longer ones are texts
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,19}|[0-9]{1,19}(\.[0-9]{0,19})?)([eE][-+]?[0-9]{1,2})?")
_WORDS: dict[str, Value] = {"": None, "~": None, "null": None, "true": True, "false": False}
_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest file as read.

    Attributes:
        file: name for messages.
        value: what it says.
        marks: where each value stands, by its path from the root.
        key_marks: where each key stands, by the path of its value.
    """

    file: str
    value: dict[str, Value]
    marks: dict[Path, Mark]
    key_marks: dict[Path, Mark]

    def place(self, path: Path) -> str:
        """Return "file:line:column" of a value, or of the nearest part around it that is in the file."""
        while path not in self.marks and path:
            path = path[:-1]
        line, column = self.marks[path]
        return f"{self.file}:{line}:{column}"

    def key_place(self, path: Path) -> str:
        """Return "file:line:column" of a key."""
        mark = self.key_marks.get(path)
        return self.place(path) if mark is None else f"{self.file}:{mark[0]}:{mark[1]}"


def read_document(text: bytes, file: str) -> Document:
    """Read one YAML file.

    Raises:
        ManifestError: with the place of the first mistake.
    """
    if len(text) > MAX_BYTES:
        raise ManifestError([Problem(f"{file}:1:1", f"got {len(text)} bytes, expected at most {MAX_BYTES}")])
    builder = _Builder(file)
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise ManifestError([Problem(_marked(file, error), _said(error))]) from error
    except (yaml.reader.ReaderError, UnicodeDecodeError) as error:
        message = f"expected UTF-8 text without control characters: {error}"
        raise ManifestError([Problem(f"{file}:1:1", message)]) from error
    value = builder.root
    if not isinstance(value, dict):
        raise ManifestError([Problem(f"{file}:1:1", "expected a manifest, a mapping that starts with `belljar: 1`")])
    return Document(file=file, value=value, marks=builder.marks, key_marks=builder.key_marks)


def _events(text: bytes) -> Iterator[yaml.Event]:
    return iter(yaml.parse(text.decode(), Loader=_Loader))


def _marked(file: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{file}:1:1" if mark is None else f"{file}:{mark.line + 1}:{mark.column + 1}"


def _said(error: yaml.MarkedYAMLError) -> str:
    return "not YAML: " + ", ".join(part for part in (error.context, error.problem) if part)


class _Open:
    """A list or mapping that is still being read."""

    def __init__(self, value: list[Value] | dict[str, Value], path: Path) -> None:
        self.value = value
        self.path = path
        self.key: str | None = None


class _Builder:
    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._count = 0
        self._documents = 0
        self.root: Value = None
        self.marks: dict[Path, Mark] = {(): (1, 1)}
        self.key_marks: dict[Path, Mark] = {}

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(event, "expected one document, found a second one")
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(event, "aliases (*name) are not supported: write the value out")
        elif isinstance(event, yaml.ScalarEvent):
            self._check(event)
            self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._check(event)
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()

    def _check(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            self._refuse(event, f"expected at most {MAX_NODES} values")
        if event.anchor is not None:
            self._refuse(event, "anchors (&name) are not supported: write the value out")
        if event.tag is not None:
            self._refuse(event, f"tags are not supported, found {event.tag}")

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._refuse(event, f"expected at most {MAX_DEPTH} levels")
        value: list[Value] | dict[str, Value] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self._open.append(_Open(value, self._place(event, value)))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(event, top, top.value)
        else:
            self._place(event, _plain(event))

    def _key(self, event: yaml.ScalarEvent, top: _Open, mapping: dict[str, Value]) -> None:
        key = event.value
        if key in mapping:
            line = self.key_marks[(*top.path, key)][0]
            self._refuse(event, f"the key {key} stands here a second time, first in line {line}")
        top.key = key
        self.key_marks[(*top.path, key)] = _mark(event)

    def _place(self, event: yaml.Event, value: Value) -> Path:
        """Put a value where it belongs and return its path."""
        path: Path = ()
        if not self._open:
            self.root = value
        else:
            top = self._open[-1]
            if isinstance(top.value, list):
                path = (*top.path, len(top.value))
                top.value.append(value)
            elif top.key is None:
                self._refuse(event, "expected a key, found a list or mapping")
            else:
                path = (*top.path, top.key)
                top.value[top.key] = value
                top.key = None
        self.marks[path] = _mark(event)
        return path

    def _refuse(self, event: yaml.Event, message: str) -> NoReturn:
        line, column = _mark(event)
        raise ManifestError([Problem(f"{self._file}:{line}:{column}", message)])


def _mark(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)


def _plain(event: yaml.ScalarEvent) -> Value:
    """Resolve a scalar as the core schema of YAML 1.2 does; quoted ones are texts."""
    text = event.value
    if event.style:  # quoted or a block; plain scalars have the style None or "", depending on the parser
        return text
    if text.lower() in _WORDS and text in (text.lower(), text.title(), text.upper()):
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text

"""A policy's text as a tree that knows its lines: scalars, lists and mappings, nothing interpreted yet.

In comes YAML (or JSON, which YAML contains), or values a caller already has; out comes a `Node`, or `PolicyRefused`
with the line. YAML's surprises are left out: no anchors, no tags, no merge keys, no second document, no key twice, and
a scalar stays the text it is, so `no` and `0123` mean what the reader of the policy says they mean. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import yaml

from belljar.attestation.errors import PolicyRefused

MAX_POLICY_BYTES = 256 * 1024
MAX_DEPTH = 8  # a policy needs 5
MAX_NODES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A text, as written. `line` is 0 where there was no file."""

    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """A mapping, in the order written."""

    members: Mapping[str, Node]
    line: int


Node = Scalar | Items | Members


def place(line: int) -> str:
    """Return how errors begin: the line, if there is one."""
    return f"policy, line {line}: " if line else "policy: "


def read_yaml(text: str) -> Node:
    """Return the tree in a policy's text.

    Raises:
        PolicyRefused: it is not YAML, or uses what is left out.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_POLICY_BYTES:
        raise PolicyRefused(f"policy: got more than {MAX_POLICY_BYTES} bytes")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise PolicyRefused(f"{place(line)}not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise PolicyRefused(f"policy: not YAML: {str(error).splitlines()[0]}") from error
    if builder.root is None:
        raise PolicyRefused("policy: got nothing, expected keys and values")
    return builder.root


class _Open:
    """A list or mapping that is still being read."""

    __slots__ = ("items", "key", "line", "members")

    def __init__(self, line: int, *, mapping: bool) -> None:
        self.line = line
        self.items: list[Node] = []
        self.members: dict[str, Node] | None = {} if mapping else None
        self.key: str | None = None

    def add(self, node: Node) -> None:
        if self.members is None:
            self.items.append(node)
        elif self.key is not None:
            self.members[self.key] = node
            self.key = None
        elif not isinstance(node, Scalar):
            raise PolicyRefused(f"{place(node.line)}got a list or mapping as a key, expected a text")
        elif node.text in self.members:
            raise PolicyRefused(f"{place(node.line)}got {node.text} twice, expected each key once")
        else:
            self.key = node.text

    def closed(self) -> Node:
        if self.members is None:
            return Items(items=tuple(self.items), line=self.line)
        return Members(members=self.members, line=self.line)


class _Builder:
    """Makes a tree of a stream of events, without recursion."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._stack: list[_Open] = []
        self._count = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise PolicyRefused(f"{place(line)}got an anchor, an alias or a tag, expected plain YAML")
        if isinstance(event, yaml.ScalarEvent):
            self._put(Scalar(text=event.value, line=line))
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            if len(self._stack) == MAX_DEPTH:
                raise PolicyRefused(f"{place(line)}nested more than {MAX_DEPTH} deep")
            self._stack.append(_Open(line, mapping=isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._put(self._stack.pop().closed())

    def _put(self, node: Node) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise PolicyRefused(f"{place(node.line)}got more than {MAX_NODES} values")
        if self._stack:
            self._stack[-1].add(node)
        elif self.root is None:
            self.root = node
        else:
            raise PolicyRefused(f"{place(node.line)}got a second document, expected one")


def from_plain(value: object, depth: int = MAX_DEPTH) -> Node:
    """Return the tree of values a caller has: mappings, lists, texts, whole numbers, booleans.

    Raises:
        PolicyRefused: there is another kind of value, or it is too deep.
    """
    if depth < 0:
        raise PolicyRefused(f"policy: nested more than {MAX_DEPTH} deep")
    if isinstance(value, bool):
        return Scalar(text="true" if value else "false", line=0)
    if isinstance(value, str | int):
        return Scalar(text=str(value), line=0)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return Members(members={str(key): from_plain(item, depth - 1) for key, item in pairs}, line=0)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return Items(items=tuple(from_plain(item, depth - 1) for item in cast("Sequence[object]", value)), line=0)
    raise PolicyRefused(f"policy: got a value of type {type(value).__name__}, expected texts, numbers, lists, mappings")

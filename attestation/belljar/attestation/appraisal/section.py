"""One mapping of a policy, its keys asked for by name and type, and what it leaves out.

A key that nobody asked for is refused, with the nearest one that exists. A key that must be there and is not becomes a
`Hole`: the caller gathers them, so that one error names everything a policy leaves out, each with the line that would
say it. `insecure_skip_<claim>: true` fills a hole on purpose. Pure.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TypeVar

from belljar.attestation.errors import PolicyRefused

from .tree import Items, Members, Node, Scalar, place

_Choice = TypeVar("_Choice")
MAX_VALUES = 1024
ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """What a policy leaves out, and a line that would say it."""

    what: str
    line: str


class Section:
    """A mapping of a policy.

    Args:
        node: it.
        path: how errors call it; empty for the whole policy.
        holes: where what is left out is gathered.
    """

    def __init__(self, node: Node, path: str, holes: list[Hole]) -> None:
        if not isinstance(node, Members):
            raise PolicyRefused(f"{place(node.line)}got a list or text for {path or 'the policy'}, expected keys")
        self._members = node.members
        self.path = path
        self._holes = holes
        self._asked: set[str] = set()
        self.line = node.line

    def name(self, key: str) -> str:
        """Return how errors call a key."""
        return f"{self.path}.{key}" if self.path else key

    def get(self, key: str) -> Node | None:
        """Return what a key has, None where it is not there."""
        self._asked.add(key)
        return self._members.get(key)

    def hole(self, key: str, example: str, skip: str | None = None) -> None:
        """Note that a key is left out."""
        indent = "  " if self.path else ""
        line = f"{indent}{example}" + (f"   (or: {skip}: true)" if skip else "")
        self._holes.append(Hole(what=self.name(key), line=line))

    def skipped(self, claim: str, *keys: str) -> bool:
        """Say whether the policy skips a claim on purpose; then none of its keys may be there."""
        skip = f"insecure_skip_{claim}"
        if not self.flag(skip):
            return False
        for key in keys or (claim,):
            if (node := self.get(key)) is not None:
                raise PolicyRefused(f"{place(node.line)}got both {self.name(key)} and {skip}, expected one of them")
        return True

    def flag(self, key: str) -> bool:
        """Return a switch, which is off where it is not there."""
        node = self.get(key)
        if node is None:
            return False
        text = scalar(node, self.name(key))
        if text not in ("true", "false"):
            raise PolicyRefused(f"{place(node.line)}{self.name(key)}: got {text!r}, expected true or false")
        return text == "true"

    def number(self, key: str, largest: int = 0xFFFF_FFFF) -> int | None:
        """Return a whole number, None where it is not there."""
        node = self.get(key)
        return None if node is None else number(node, self.name(key), largest)

    def text(self, key: str) -> str | None:
        """Return a text, None where it is not there."""
        node = self.get(key)
        return None if node is None else scalar(node, self.name(key))

    def octets(self, key: str) -> bytes | None:
        """Return bytes in hexadecimal, None where they are not there."""
        node = self.get(key)
        return None if node is None else octets(node, self.name(key))

    def section(self, key: str) -> Section | None:
        """Return a mapping, None where it is not there."""
        node = self.get(key)
        return None if node is None else Section(node, self.name(key), self._holes)

    def each(self, key: str, *, empty: bool = False) -> tuple[Node, ...] | None:
        """Return the items of a list, None where it is not there."""
        node = self.get(key)
        return None if node is None else items(node, self.name(key), empty=empty)

    def every(self) -> tuple[str, ...]:
        """Return all keys, in the order written; they count as asked for."""
        self._asked.update(self._members)
        return tuple(self._members)

    def end(self) -> None:
        """Hold that there is no key that nobody asked for.

        Raises:
            PolicyRefused: there is one.
        """
        for key, node in self._members.items():
            if key not in self._asked:
                near = difflib.get_close_matches(key, sorted(self._asked), 1)
                hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(sorted(self._asked))}"
                raise PolicyRefused(f"{place(node.line)}{self.name(key)}: there is no such key", hint=hint)


def items(node: Node, name: str, *, empty: bool = False) -> tuple[Node, ...]:
    """Return the items of a list.

    Raises:
        PolicyRefused: it is none, is empty and may not be, or is too long.
    """
    if not isinstance(node, Items):
        raise PolicyRefused(f"{place(node.line)}{name}: got something else, expected a list")
    if not node.items and not empty:
        raise PolicyRefused(f"{place(node.line)}{name}: got an empty list, which nothing could satisfy")
    if len(node.items) > MAX_VALUES:
        raise PolicyRefused(f"{place(node.line)}{name}: got {len(node.items)} values, expected at most {MAX_VALUES}")
    return node.items


def scalar(node: Node, name: str) -> str:
    """Return a text.

    Raises:
        PolicyRefused: it is a list or mapping, or empty.
    """
    if not isinstance(node, Scalar) or not node.text:
        raise PolicyRefused(f"{place(node.line)}{name}: got nothing, a list or a mapping, expected a value")
    return node.text


def number(node: Node, name: str, largest: int = 0xFFFF_FFFF) -> int:
    """Return a whole number from 0, in decimal.

    Raises:
        PolicyRefused: it is none, or too large.
    """
    text = scalar(node, name)
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > largest:
        raise PolicyRefused(f"{place(node.line)}{name}: got {text[:40]!r}, expected 0 to {largest}")
    return int(text)


def octets(node: Node, name: str) -> bytes:
    """Return bytes in hexadecimal.

    Raises:
        PolicyRefused: it is something else.
    """
    text = scalar(node, name)
    try:
        return bytes.fromhex(text) if not any(letter.isspace() for letter in text) else _refuse(node, name, text)
    except ValueError:
        return _refuse(node, name, text)


def _refuse(node: Node, name: str, text: str) -> bytes:
    raise PolicyRefused(f"{place(node.line)}{name}: got {text[:40]!r}, expected bytes in hexadecimal")


def one_of(node: Node, name: str, choices: dict[str, _Choice]) -> _Choice:
    """Return what a word stands for.

    Raises:
        PolicyRefused: it is none of them.
    """
    text = scalar(node, name)
    if text not in choices:
        raise PolicyRefused(f"{place(node.line)}{name}: got {text[:40]!r}, expected one of {', '.join(choices)}")
    return choices[text]

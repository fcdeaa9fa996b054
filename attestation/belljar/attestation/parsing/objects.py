"""Members of a JSON object that somebody signed, each asked for by name and type; nothing is guessed or coerced.

In comes text of JSON; out come members, or `EvidenceRefused` that names the path. Members that nobody asks for are
ignored: Intel adds some without changing its version. Pure.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import cast

from belljar.attestation.errors import EvidenceRefused

MAX_JSON_BYTES = 256 * 1024  # TCB info of a processor with many levels has 12 KiB
MAX_ITEMS = 256


class Object:
    """One JSON object, and where it stands in its document."""

    __slots__ = ("_members", "path")

    def __init__(self, members: dict[str, object], path: str) -> None:
        self._members = members
        self.path = path

    @classmethod
    def parse(cls, content: bytes, path: str, *, limit: int = MAX_JSON_BYTES) -> Object:
        """Return the object that is all of `content`.

        Raises:
            EvidenceRefused: it is not JSON, not an object, names a member twice, or is too large.
        """
        if len(content) > limit:
            raise EvidenceRefused(f"{path}: got {len(content)} bytes, expected at most {limit}")
        try:
            found: object = json.loads(content.decode(), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise EvidenceRefused(f"{path}: not JSON: {error}") from error
        return cls(_object(found, path), path)

    def __contains__(self, name: str) -> bool:
        """Say whether there is such a member."""
        return name in self._members

    def exactly(self, *names: str) -> None:
        """Hold that there are these members and no others.

        Raises:
            EvidenceRefused: one is missing, or there is another.
        """
        found = sorted(self._members)
        if found != sorted(names):
            raise EvidenceRefused(f"{self.path}: got members {found}, expected {sorted(names)}")

    def _get(self, name: str, kind: type) -> object:
        found = self._members.get(name)
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            got = "nothing" if found is None else type(found).__name__
            raise EvidenceRefused(f"{self.path}.{name}: got {got}, expected {kind.__name__}")
        return found

    def text(self, name: str) -> str:
        """Return a text."""
        return str(self._get(name, str))

    def number(self, name: str, largest: int = 0xFFFF_FFFF) -> int:
        """Return a whole number from 0."""
        found = cast("int", self._get(name, int))
        if not 0 <= found <= largest:
            raise EvidenceRefused(f"{self.path}.{name}: got {found}, expected 0 to {largest}")
        return found

    def octets(self, name: str, size: int) -> bytes:
        """Return bytes written in hexadecimal."""
        text = self.text(name)
        try:
            found = bytes.fromhex(text)
        except ValueError:
            found = b""
        if len(found) != size or len(text) != 2 * size:
            raise EvidenceRefused(f"{self.path}.{name}: got {text[:80]!r}, expected {size} bytes in hexadecimal")
        return found

    def moment(self, name: str) -> int:
        """Return a time of RFC 3339 in UTC, as seconds since 1970."""
        text = self.text(name)
        try:
            return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
        except ValueError as error:
            expected = "a time such as 2026-01-31T00:00:00Z"
            raise EvidenceRefused(f"{self.path}.{name}: got {text[:80]!r}, expected {expected}") from error

    def member(self, name: str) -> Object:
        """Return an object."""
        return Object(_object(self._members.get(name), f"{self.path}.{name}"), f"{self.path}.{name}")

    def objects(self, name: str) -> list[Object]:
        """Return a list of objects; it may not be missing."""
        found = cast("list[object]", self._get(name, list))
        self._bounded(name, found)
        paths = [f"{self.path}.{name}[{index}]" for index in range(len(found))]
        return [Object(_object(item, path), path) for item, path in zip(found, paths, strict=True)]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; one that is missing is empty."""
        found = cast("list[object]", self._get(name, list)) if name in self else []
        self._bounded(name, found)
        if not all(isinstance(item, str) for item in found):
            raise EvidenceRefused(f"{self.path}.{name}: got something else among texts")
        return tuple(str(item) for item in found)

    def _bounded(self, name: str, found: list[object]) -> None:
        if len(found) > MAX_ITEMS:
            raise EvidenceRefused(f"{self.path}.{name}: got {len(found)} items, expected at most {MAX_ITEMS}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _object(found: object, path: str) -> dict[str, object]:
    if not isinstance(found, dict):
        raise EvidenceRefused(f"{path}: got {type(found).__name__}, expected an object")
    return cast("dict[str, object]", found)

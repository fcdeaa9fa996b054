"""Deterministic CBOR: one sequence of bytes for one value (RFC 8949 4.2.1), read as strictly as it is written.

In come bytes from anybody; out come whole numbers, bytes, text, booleans, null, lists, maps and wanted tags, or a
`CborRefused`. cbor2 decodes and encodes; this room refuses what it would let pass: other spellings of the same value,
bytes behind it, floating point, tags with a meaning of their own (cbor2 would compile regular expressions). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cbor2

from .errors import CborRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH = 16  # COSE needs 5, evidence with submodules 9: more is an attack on somebody's stack
_MAX_INTEGER = 1 << 64  # beyond it CBOR needs tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A value behind a tag."""

    tag: int
    value: Cbor


Cbor = None | bool | int | bytes | str | Tagged | list["Cbor"] | dict["int | str", "Cbor"]


def encode(value: Cbor) -> bytes:
    """Return the only encoding of `value`.

    Raises:
        CborRefused: a number needs more than 64 bits, or a text is not Unicode.
    """
    try:
        return cbor2.dumps(_ordered(value))
    except UnicodeEncodeError as error:
        raise CborRefused("text is not Unicode") from error


def _ordered(value: Cbor) -> object:
    """Return a value as cbor2 takes it, keys in the order of their encodings."""
    if isinstance(value, Tagged):
        return cbor2.CBORTag(value.tag, _ordered(value.value))
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        keys = sorted(value, key=cbor2.dumps)
        return {key: _ordered(value[key]) for key in keys}
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise CborRefused(f"number of {value.bit_length()} bits, expected at most 64")
    return value


def decode(content: bytes, *, tags: frozenset[int] = frozenset()) -> Cbor:
    """Return the value in `content`.

    Args:
        content: exactly one value.
        tags: the tags that may occur.

    Raises:
        CborRefused: it is anything but the deterministic encoding of one value.
    """
    try:
        found = cbor2.loads(
            content,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_NoMeaning(tags),
        )
    except (cbor2.CBORDecodeError, RecursionError) as error:
        raise CborRefused(f"not deterministic CBOR: {error}") from error
    value = _plain(found, tags, MAX_DEPTH)
    if encode(value) != content:
        raise CborRefused("not deterministic CBOR: the value has a shorter or sorted form, or bytes follow it")
    return value


class _NoMeaning(Mapping[int, "Callable[[object, bool], object]"]):
    """Tells cbor2 what to do with a tag: keep it if it is wanted, refuse it otherwise, never act on it."""

    def __init__(self, tags: frozenset[int]) -> None:
        self._tags = tags

    def __getitem__(self, tag: int) -> Callable[[object, bool], object]:
        if tag in self._tags:
            raise KeyError(tag)

        def refuse(*_: object) -> object:
            raise cbor2.CBORDecodeError(f"tag {tag} is not expected here")

        return refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _plain(value: object, tags: frozenset[int], depth: int) -> Cbor:
    """Return a decoded value with the types of this room: below a tag, cbor2 makes tuples and frozen maps."""
    if depth < 0:  # only a value that holds itself is so deep
        raise CborRefused("not deterministic CBOR: nested too deeply")
    if value is None or isinstance(value, bool | int | bytes | str):
        return value
    if isinstance(value, cbor2.CBORTag) and value.tag in tags:
        return Tagged(tag=value.tag, value=_plain(value.value, tags, depth - 1))
    if isinstance(value, list | tuple):
        return [_plain(item, tags, depth - 1) for item in cast("list[object]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {_key(key): _plain(item, tags, depth - 1) for key, item in items}
    raise CborRefused(f"{type(value).__name__} is not expected here")


def _key(key: object) -> int | str:
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise CborRefused(f"a map has a key of type {type(key).__name__}, expected whole numbers and texts")
    return key

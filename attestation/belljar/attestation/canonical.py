"""Canonical JSON: one sequence of bytes for one value (RFC 8785, for the values we use).

In come text, whole numbers, booleans, null, lists and objects with ASCII keys; out come UTF-8 bytes, no white space,
keys sorted. Numbers with fractions are refused: their spelling is where canonical JSON goes wrong. Pure.
"""

from __future__ import annotations

import json
from typing import cast

MAX_INTEGER = (1 << 53) - 1  # RFC 8785 3.2.2.3: beyond it other implementations lose digits
Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


class NotCanonical(ValueError):
    """A value has no canonical form here."""


def canonical_bytes(value: Json) -> bytes:
    """Return the only encoding of `value`.

    Raises:
        NotCanonical: a number is not whole or too large, a key is not ASCII, or a text is not Unicode.
    """
    _check(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise NotCanonical(f"text is not Unicode: {error.object[error.start : error.end]!r}") from error


def _check(value: object) -> None:
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonical(f"number {value} is beyond 2^53")
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            _check(item)
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str) or not key.isascii():
                raise NotCanonical(f"key {key!r} is not ASCII text")
            _check(item)
    else:
        raise NotCanonical(f"{type(value).__name__} has no canonical form")

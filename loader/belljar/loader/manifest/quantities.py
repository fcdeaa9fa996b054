"""Sizes, durations and CPU shares as people write them: `64MiB`, `1.5h`, `0.5`. Pure.

Numbers become whole bytes, milliseconds and thousandths of a CPU: nothing measured may have a fraction.
"""

from __future__ import annotations

import re

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "kb": 1000,
    "m": 1 << 20,
    "mib": 1 << 20,
    "mb": 1000**2,
    "g": 1 << 30,
    "gib": 1 << 30,
    "gb": 1000**3,
    "t": 1 << 40,
    "tib": 1 << 40,
    "tb": 1000**4,
}
_TIME_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-zA-Z]*)\s*")

SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?\s*$"
TIME_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$"
MAX_BYTES = 1 << 50
MAX_MILLISECONDS = 366 * 86_400_000


def size_bytes(value: object) -> int:
    """Return a size in bytes.

    Raises:
        ValueError: says what was expected.
    """
    number = _scaled(value, _SIZE_UNITS, "a size such as 64MiB or 2G")
    if not 0 < number <= MAX_BYTES:
        raise ValueError(f"got {value}, expected a size between 1 byte and 1024 TiB")
    return number


def duration_ms(value: object) -> int:
    """Return a duration in milliseconds. A number without unit is refused: seconds or milliseconds?

    Raises:
        ValueError: says what was expected.
    """
    if isinstance(value, int | float):
        raise ValueError(f"got the number {value}, expected a duration with its unit, such as 30s or 500ms")
    number = _scaled(value, _TIME_UNITS, "a duration such as 30s, 500ms or 2h")
    if not 0 < number <= MAX_MILLISECONDS:
        raise ValueError(f"got {value}, expected a duration between 1ms and a year")
    return number


def cpu_millis(value: object) -> int:
    """Return thousandths of a CPU.

    Raises:
        ValueError: says what was expected.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"got {_kind(value)}, expected a number of CPUs such as 2 or 0.5")
    if not 0.01 <= value <= 4096:
        raise ValueError(f"got {value}, expected between 0.01 and 4096 CPUs")
    return round(value * 1000)


def _scaled(value: object, units: dict[str, int], expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"got {_kind(value)}, expected {expected}")
    match = _NUMBER_AND_UNIT.fullmatch(str(value))
    unit = None if match is None else units.get(match[2].lower())
    if match is None or unit is None:
        raise ValueError(f"got {str(value)[:40]!r}, expected {expected}")
    return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names = (("true or false", bool), ("a number", int | float), ("a list", list), ("a mapping", dict))
    return next((name for name, kind in names if isinstance(value, kind)), f"the text {str(value)[:40]!r}")

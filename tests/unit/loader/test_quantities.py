"""Sizes, durations and CPU shares as people write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belljar.loader.manifest.quantities import cpu_millis, duration_ms, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (1, 1), ("1", 1), ("1b", 1), ("4k", 4096), ("4K", 4096), ("4KiB", 4096), ("4kB", 4000), ("64MiB", 64 << 20),
        ("1.5G", 3 << 29), ("2 TiB", 2 << 40), (" 7 M ", 7 << 20),
    ],
)  # fmt: skip
def test_sizes(text: object, expected: int) -> None:
    assert size_bytes(text) == expected


NO_SIZES = ["", "x", "-1", "1X", "1.2.3", "1e9", "MiB", "0", 0, "0x10", "\u0663", "9" * 20, 1.5, None, []]


@pytest.mark.parametrize("text", NO_SIZES)
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match=r"expected a size"):
        size_bytes(text)


@pytest.mark.parametrize(("text", "expected"), [("500ms", 500), ("1s", 1000), ("1.5h", 5_400_000), ("2d", 172_800_000)])
def test_durations(text: str, expected: int) -> None:
    assert duration_ms(text) == expected


@pytest.mark.parametrize("text", ["", "1", 30, 1.5, "1x", "-1s", "0s", "400d", None])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        duration_ms(text)


@pytest.mark.parametrize(("number", "expected"), [(1, 1000), (0.5, 500), (1.2345, 1234)])
def test_cpus(number: float, expected: int) -> None:
    assert cpu_millis(number) == expected


@pytest.mark.parametrize("number", [0, -1, 5000, "2", True, None])
def test_no_cpus(number: object) -> None:
    with pytest.raises(ValueError, match="CPUs"):
        cpu_millis(number)


@given(st.text(max_size=20))
def test_no_text_surprises(text: str) -> None:
    for convert in (size_bytes, duration_ms, cpu_millis):
        with suppress(ValueError):
            assert convert(text) > 0

"""Canonical JSON and the measurement over it."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belljar.attestation.measurement import FORMAT, NotCanonical, canonical_bytes, measure

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"b": 1, "a": [True, None, "x"]}, b'{"a":[true,null,"x"],"b":1}'),
        ({"key": "é€\U0001f512"}, '{"key":"é€\U0001f512"}'.encode()),
        ('\x00\x1f"\\/\b\f\n\r\t\x7f', b'"\\u0000\\u001f\\"\\\\/\\b\\f\\n\\r\\t\x7f"'),
        (-0, b"0"),
        (2**53 - 1, b"9007199254740991"),
        ([], b"[]"),
        ({}, b"{}"),
    ],
)
def test_golden(value: object, encoded: bytes) -> None:
    assert canonical_bytes(value) == encoded  # type: ignore[arg-type]  # any JSON


@given(VALUES)
def test_it_means_the_same_and_is_its_own_canonical_form(value: object) -> None:
    encoded = canonical_bytes(value)  # type: ignore[arg-type]  # any JSON
    assert json.loads(encoded) == value
    assert canonical_bytes(json.loads(encoded)) == encoded


@pytest.mark.parametrize("value", [1.0, 2**53, -(2**53), {"é": 1}, {1: 2}, b"x", ("x",), "\ud800", ["\udfff"]])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_bytes(value)  # type: ignore[arg-type]  # what is being tested


def test_the_measurement_is_the_digest_of_what_is_shown() -> None:
    encoded, measurement = measure({"name": "x"})
    assert encoded == f'{{"format":"{FORMAT}","name":"x"}}'.encode()
    assert measurement == hashlib.sha256(encoded).digest()
    assert measurement.hex() == "4516a9968b8c9057ad844080d4c3e342bd493f67b0b270811c0fc0dc9f558005"

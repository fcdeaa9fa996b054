"""Deterministic CBOR: what is written can be read, and nothing else can (RFC 8949 4.2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.cbor import MAX_DEPTH, Cbor, Tagged, decode, encode
from belljar.attestation.errors import CborRefused

KEYS = st.integers(-(2**64), 2**64 - 1) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.builds(Tagged, tag=st.just(18), value=inner)
    ),
    max_leaves=10,
)


@settings(deadline=None)  # others use this machine, too
@given(VALUES)
def test_what_is_written_can_be_read(value: Cbor) -> None:
    assert decode(encode(value), tags=frozenset({18})) == value


@settings(deadline=None)  # others use this machine, too
@given(st.binary(max_size=60))
def test_any_bytes_are_read_in_one_form_or_refused(content: bytes) -> None:
    try:
        value = decode(content, tags=frozenset({18}))
    except CborRefused:
        return
    assert encode(value) == content


@settings(deadline=None)  # others use this machine, too
@given(VALUES, st.data())
def test_a_cut_or_longer_value_is_refused(value: Cbor, data: st.DataObject) -> None:
    content = encode(value)
    cut = data.draw(st.integers(0, len(content) - 1))
    for other in (content[:cut], content + b"\x00"):
        with pytest.raises(CborRefused):
            decode(other, tags=frozenset({18}))


def test_keys_are_sorted_by_their_bytes() -> None:
    """RFC 8949 4.2.1, not the older order by length (4.2.3)."""
    assert encode({-1: 0, "a": 0, 256: 0, 10: 0}) == bytes.fromhex("a40a00190100002000616100")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "premature end"),
        ("0101", "bytes follow it"),
        ("1801", "shorter"),
        ("1900ff", "shorter"),
        ("5801ff", "shorter"),
        ("f97e00", "float is not expected"),
        ("fb3ff8000000000000", "float is not expected"),
        ("f7", "not expected here"),
        ("e0", "not expected here"),
        ("5f4161ff", "indefinite"),
        ("9fff", "indefinite"),
        ("bfff", "indefinite"),
        ("61ff", "text"),
        ("a201020103", "not deterministic CBOR"),
        ("a202000100", "sorted"),
        ("a1410000", "key of type bytes"),
        ("a1f500", "key of type bool"),
        ("a1810100", "key of type tuple"),
        ("c24101", "tag 2 is not expected"),
        ("d8236128", "tag 35 is not expected"),
        ("d81c81d81d00", "not deterministic CBOR"),
        ("c06178", "tag 0 is not expected"),
        ("d20000", "bytes follow it"),
        ("d9001200", "shorter"),
        ("9b0000001000000000", "premature end"),
        ("5b0000001000000000", "premature end"),
        ("81" * (MAX_DEPTH + 1) + "00", "depth"),
        ("d2" * 5000 + "00", "depth"),
    ],
)
def test_what_is_refused(content: str, why: str) -> None:
    with pytest.raises(CborRefused, match=why):
        decode(bytes.fromhex(content), tags=frozenset({18}))


@pytest.mark.parametrize("value", [1 << 64, -(1 << 64) - 1, "\ud800"])
def test_what_cannot_be_written(value: Cbor) -> None:
    with pytest.raises(CborRefused):
        encode(value)

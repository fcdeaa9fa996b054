"""Strict YAML: what is read, what is refused, and where the refusal points."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belljar.loader.errors import ManifestError
from belljar.loader.manifest import reader
from belljar.loader.manifest.reader import read_document


def read(text: str) -> dict[str, reader.Value]:
    return read_document(text.encode(), "m.yaml").value


def problem(text: str | bytes) -> str:
    with pytest.raises(ManifestError) as raised:
        read_document(text if isinstance(text, bytes) else text.encode(), "m.yaml")
    assert len(raised.value.problems) == 1
    return str(raised.value.problems[0])


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("true", True), ("False", False), ("tRue", "tRue"),
        ("null", None), ("~", None), ("", None),
        ("12", 12), ("-3", -3), ("0777", 777), ("0o17", 15), ("0x1F", 31), ("1_000", "1_000"), ("12:30:45", "12:30:45"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"),
        ("2001-01-01", "2001-01-01"), ("9" * 30, "9" * 30),
        ("'12'", "12"), ('"true"', "true"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(scalar: str, value: object) -> None:
    found = read(f"key: {scalar}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_structures_and_places() -> None:
    document = read_document(b"a: 1\nb:\n  - x\n  - {c: d}\n", "m.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": "d"}]}
    assert document.place(("b", 1, "c")) == "m.yaml:4:9"
    assert document.key_place(("b", 1, "c")) == "m.yaml:4:6"
    assert document.place(("b", 7, "nowhere")) == "m.yaml:3:3", "the nearest part that is there"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\na: 2\n", "m.yaml:2:1", "the key a stands here a second time, first in line 1"),
        ("x: &y 1\n", "m.yaml:1:4", "anchors (&name) are not supported: write the value out"),
        ("x: *y\n", "m.yaml:1:4", "aliases (*name) are not supported: write the value out"),
        ("x: !!python/object:os.system 1\n", "m.yaml:1:4", "tags are not supported"),
        ("x: !!str 1\n", "m.yaml:1:4", "tags are not supported"),
        ("a: 1\n---\nb: 2\n", "m.yaml:2:1", "expected one document, found a second one"),
        ("- 1\n", "m.yaml:1:1", "expected a manifest, a mapping"),
        ("", "m.yaml:1:1", "expected a manifest, a mapping"),
        ("? [a]\n: 1\n", "m.yaml:1:3", "expected a key, found a list or mapping"),
        ("a: [1\n", "m.yaml:2:1", "not YAML"),
        ("a:\n\tb: 1\n", "m.yaml:2:1", "not YAML"),
        ("a: " + "[" * 30 + "]" * 30, "m.yaml:1:27", f"expected at most {reader.MAX_DEPTH} levels"),
        ("a: [" + "1," * 30_000 + "]", "m.yaml:1", f"expected at most {reader.MAX_NODES} values"),
        ("a: " + "x" * reader.MAX_BYTES, "m.yaml:1:1", "bytes, expected at most"),
    ],
)
def test_what_is_refused_and_where(text: str, place: str, message: str) -> None:
    said = problem(text)
    assert said.startswith(place)
    assert message in said


@pytest.mark.parametrize("text", [b"a: \xff\n", b"a: \x00\n", b"a: \x1b[2J\n"])
def test_what_is_no_text_is_refused(text: bytes) -> None:
    assert "expected UTF-8 text without control characters" in problem(text) or "not YAML" in problem(text)


def test_an_alias_bomb_is_refused_at_once() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    assert "anchors" in problem("l0: &l0 [x]\n" + levels)


TEXTS = st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXTS, children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, PLAIN, max_size=5))
def test_json_means_the_same(value: dict[str, object]) -> None:
    """JSON is YAML, but for its way to escape what lies beyond 16 bits: what it says, it says here, too."""
    text = json.dumps(value, ensure_ascii=False)
    assert read_document(text.encode(), "m").value == value


@given(st.binary(max_size=300))
def test_no_bytes_lead_to_anything_but_a_value_or_a_problem(text: bytes) -> None:
    with suppress(ManifestError):
        assert isinstance(read_document(text, "m.yaml").value, dict)


@given(st.text(alphabet="ab:-[]{},&*!|>'\"#% \n\t0.", max_size=60))
def test_nothing_that_looks_like_yaml_does(text: str) -> None:
    with suppress(ManifestError):
        assert isinstance(read_document(text.encode(), "m.yaml").value, dict)

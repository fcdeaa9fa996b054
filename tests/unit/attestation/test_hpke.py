"""Encrypting to a public key, and the table of what algorithms are used and when somebody looked at them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.crypto.hpke import HYBRID, MAX_PLAINTEXT_BYTES, X25519, make_key, open_with, seal_to
from belljar.attestation.crypto.reviewed import ALGORITHMS
from belljar.attestation.errors import KeyRefused, SealRefused

KEYS = {suite: make_key(lambda size: b"r" * size, suite) for suite in (X25519, HYBRID)}
SEALED = {suite: seal_to(key.public, b"secret", b"use", suite=suite) for suite, key in KEYS.items()}

suites = pytest.mark.parametrize("suite", KEYS)


@suites
def test_what_is_sealed_opens(suite: int) -> None:
    assert open_with(KEYS[suite], SEALED[suite], b"use") == b"secret"
    assert seal_to(KEYS[suite].public, b"secret", b"use", suite=suite) != SEALED[suite]
    assert b"rrrr" not in repr(KEYS[suite]).encode()


@suites
def test_another_key_use_or_suite_is_refused(suite: int) -> None:
    with pytest.raises(SealRefused, match="sealed to another key, for another use, or changed"):
        open_with(KEYS[suite], SEALED[suite], b"another use")
    with pytest.raises(SealRefused, match="sealed to another key"):
        open_with(make_key(os.urandom, suite), SEALED[suite], b"use")
    other = KEYS[X25519 + HYBRID - suite]
    with pytest.raises(SealRefused, match=f"sealed with suite 0{suite}, this key is of suite {other.suite}"):
        open_with(other, SEALED[suite], b"use")


@settings(deadline=None)  # others use this machine, too
@given(st.sampled_from(list(KEYS)), st.data())
def test_no_bit_can_be_flipped_and_no_byte_missing(suite: int, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(SEALED[suite]) - 1))
    changed = bytearray(SEALED[suite])
    changed[bit // 8] ^= 1 << bit % 8
    for sealed in (bytes(changed), SEALED[suite][: bit // 8]):
        with pytest.raises(SealRefused):
            open_with(KEYS[suite], sealed, b"use")


def test_keys_that_are_none_are_refused() -> None:
    for suite, key in KEYS.items():
        with pytest.raises(KeyRefused, match=f"not a public key of suite {suite}"):
            seal_to(b"x" * 31, b"", b"", suite=suite)
        with pytest.raises(KeyRefused, match=f"not a private key of suite {suite}"):
            open_with(dataclasses.replace(key, private=b"x"), SEALED[suite], b"use")
    with pytest.raises(KeyRefused, match="suite 9, expected one of 1, 2"):
        seal_to(b"", b"", b"", suite=9)
    with pytest.raises(KeyRefused, match="suite 9, expected one of 1, 2"):
        make_key(os.urandom, 9)
    with pytest.raises(SealRefused, match="expected at most 1048576"):
        seal_to(KEYS[X25519].public, bytes(MAX_PLAINTEXT_BYTES + 1), b"", suite=X25519)


def test_every_algorithm_has_a_review_and_the_next_one() -> None:
    for item in ALGORITHMS:
        done, due = (dt.date.fromisoformat(day) for day in (item.reviewed, item.review_by))
        assert done < due <= done + dt.timedelta(days=366)
    assert len({item.name for item in ALGORITHMS}) == len(ALGORITHMS)

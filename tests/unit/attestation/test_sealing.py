"""Sealing: who can open what, on which platform, in which version, and that nothing else opens it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice.enclave import MAX_SVN, Enclave
from belljar.attestation.errors import SealRefused
from belljar.attestation.roots.soft import Birth, SoftRoot, make_soft, open_soft, rotate_soft
from belljar.attestation.sealing import MAX_PLAINTEXT_BYTES, Policy, Sealer
from belljar.attestation.sealing.ladder import Standing, stand
from belljar.attestation.sealing.layout import HEADER_BYTES
from support.roots import FixedRoot

VECTORS = Path(__file__).parents[2] / "vectors/attestation"
BIRTH = Birth(random=os.urandom, now=1_795_000_000)
V1 = Enclave(measurement=b"1" * 32, signer=b"s" * 32, product_id=7, svn=1, debug=False)
V2 = dataclasses.replace(V1, measurement=b"2" * 32, svn=2)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the soft platform needs owners and modes of POSIX systems")
policies = pytest.mark.parametrize("policy", list(Policy))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[SoftRoot]:
    with make_soft(str(tmp_path / "platform"), BIRTH) as made:
        yield made


def sealer(root: SoftRoot | FixedRoot, enclave: Enclave = V1) -> Sealer:
    return Sealer(root=root, enclave=enclave, random=os.urandom)


@policies
def test_what_is_sealed_opens(root: SoftRoot, policy: Policy) -> None:
    for plaintext in (b"", b"x", os.urandom(5000)):
        assert sealer(root).unseal(sealer(root).seal(plaintext, policy, b"ad"), b"ad") == plaintext


def test_sealing_twice_is_never_the_same(root: SoftRoot) -> None:
    assert len({bytes(sealer(root).seal(b"secret", Policy.SIGNER)) for _ in range(20)}) == 20


# --- the upgrade


def test_a_newer_version_of_the_same_signer_opens_what_an_older_one_sealed(root: SoftRoot) -> None:
    assert sealer(root, V2).unseal(sealer(root, V1).seal(b"secret", Policy.SIGNER)) == b"secret"


def test_an_older_version_does_not_open_what_a_newer_one_sealed(root: SoftRoot) -> None:
    with pytest.raises(SealRefused, match="sealed by security version 2, this is 1: a newer one opens") as caught:
        sealer(root, V1).unseal(sealer(root, V2).seal(b"secret", Policy.SIGNER))
    assert caught.value.hint == "run the version that sealed it, or a newer one"


def test_claiming_a_newer_version_than_sealed_gives_other_keys(root: SoftRoot) -> None:
    """The header is authenticated: writing a lower version into it does not lower the ladder."""
    blob = bytearray(sealer(root, V2).seal(b"secret", Policy.SIGNER))
    blob[13] = 1
    with pytest.raises(SealRefused, match="changed since it was sealed"):
        sealer(root, V1).unseal(bytes(blob))


REFUSALS: list[tuple[dict[str, Any], Policy, str]] = [
    ({"signer": b"x" * 32}, Policy.SIGNER, "sealed for signer 7373.*, this is 7878"),
    ({"measurement": b"x" * 32}, Policy.MEASUREMENT, "sealed for measurement 3131.*, this is 7878"),
    ({"product_id": 8}, Policy.SIGNER, "sealed for product 7, this is 8"),
    ({"product_id": 8}, Policy.MEASUREMENT, "sealed for product 7, this is 8"),
    ({"debug": True}, Policy.SIGNER, "sealed in normal mode, this runs in debug mode"),
    ({"debug": True}, Policy.MEASUREMENT, "sealed in normal mode, this runs in debug mode"),
    ({"svn": 2}, Policy.MEASUREMENT, "sealed by security version 1, this is 2"),
    ({"signer": None}, Policy.SIGNER, "nobody signed this enclave"),
]


@pytest.mark.parametrize(("change", "policy", "message"), REFUSALS)
def test_another_enclave_is_told_why_it_cannot(
    root: SoftRoot, change: dict[str, Any], policy: Policy, message: str
) -> None:
    blob = sealer(root).seal(b"secret", policy)
    other = dataclasses.replace(V1, **change)
    with pytest.raises(SealRefused, match=message):
        sealer(root, other).unseal(blob)


@pytest.mark.parametrize("change", [change for change, policy, _ in REFUSALS if policy is Policy.SIGNER][:3])
def test_another_enclave_cannot_lie_in_the_header(root: SoftRoot, change: dict[str, Any]) -> None:
    other = dataclasses.replace(V1, **change)
    mine, theirs = sealer(root).seal(b"secret", Policy.SIGNER), sealer(root, other)
    header = theirs.seal(b"", Policy.SIGNER)[:HEADER_BYTES]
    for forged in (header + mine[HEADER_BYTES:], header[:72] + mine[72:]):
        with pytest.raises(SealRefused):
            theirs.unseal(forged)


@policies
def test_another_platform_is_refused(root: SoftRoot, tmp_path: Path, policy: Policy) -> None:
    blob = sealer(root).seal(b"secret", policy)
    with make_soft(str(tmp_path / "other"), BIRTH) as other:
        with pytest.raises(
            SealRefused, match=f"sealed on platform {root.platform.hex()}, this is {other.platform.hex()}"
        ):
            sealer(other).unseal(blob)
        forged = blob[:16] + other.platform + blob[36:]
        with pytest.raises(SealRefused, match="changed since it was sealed"):
            sealer(other).unseal(forged)


@policies
def test_what_an_older_generation_sealed_opens(tmp_path: Path, policy: Policy) -> None:
    path = str(tmp_path / "platform")
    with make_soft(path, BIRTH) as older:
        blob = sealer(older).seal(b"secret", policy)
    rotate_soft(path, BIRTH).close()
    with open_soft(path) as newer:
        assert sealer(newer).unseal(blob) == b"secret"
        assert sealer(newer).seal(b"secret", policy)[16:36] != blob[16:36]


def test_associated_data_must_be_given_again(root: SoftRoot) -> None:
    blob = sealer(root).seal(b"secret", Policy.SIGNER, b"volume 1")
    for given_back in (b"", b"volume 2", b"volume 11"):
        with pytest.raises(SealRefused, match="associated data is not that of sealing"):
            sealer(root).unseal(blob, given_back)


def test_what_cannot_be_sealed(root: SoftRoot) -> None:
    with pytest.raises(SealRefused, match="expected at most 1048576"):
        sealer(root).seal(bytes(MAX_PLAINTEXT_BYTES + 1), Policy.SIGNER)
    with pytest.raises(SealRefused, match="associated data, expected at most"):
        sealer(root).seal(b"", Policy.SIGNER, bytes((1 << 20) + 1))
    with pytest.raises(SealRefused, match="policy signer, but nobody signed"):
        sealer(root, dataclasses.replace(V1, signer=None)).seal(b"", Policy.SIGNER)


# --- bytes from anybody

FIXED = FixedRoot(b"u" * 32)
BLOB = Sealer(root=FIXED, enclave=V1, random=lambda size: b"r" * size).seal(b"plaintext", Policy.SIGNER, b"ad")


@settings(deadline=None)  # others use this machine, too
@given(st.integers(0, 8 * len(BLOB) - 1))
def test_no_bit_can_be_flipped(bit: int) -> None:
    changed = bytearray(BLOB)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealRefused):
        sealer(FIXED).unseal(bytes(changed), b"ad")


@settings(deadline=None)
@given(st.integers(0, len(BLOB) - 1))
def test_no_byte_can_be_missing(length: int) -> None:
    with pytest.raises(SealRefused, match=r"cut|not something sealed|changed since"):
        sealer(FIXED).unseal(BLOB[:length], b"ad")


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 16))
def test_nothing_but_what_is_sealed_is_read(content: bytes, kept: int) -> None:
    with pytest.raises(SealRefused):
        sealer(FIXED).unseal(BLOB[:kept] + content)


def test_another_version_of_the_format_says_so() -> None:
    with pytest.raises(SealRefused, match="sealed in format 2, expected 1"):
        sealer(FIXED).unseal(BLOB[:8] + b"\x02" + BLOB[9:])
    with pytest.raises(SealRefused, match="policy 2, algorithm 9, mode 1: unknown here"):
        sealer(FIXED).unseal(BLOB[:10] + b"\x09" + BLOB[11:])


# --- the ladder

SECRET = b"k" * 32
svns = st.integers(0, MAX_SVN)


@settings(deadline=None)
@given(svns, svns)
def test_every_rung_is_reached_from_above_and_from_nowhere_else(mine: int, other: int) -> None:
    here = stand(SECRET, mine)
    if other <= mine:
        assert here.key(other) == stand(SECRET, other).rung
    else:
        with pytest.raises(SealRefused, match=f"sealed by security version {other}, this is {mine}"):
            here.key(other)


@settings(deadline=None)
@given(svns)
def test_what_a_rung_holds_is_not_on_a_path_to_a_higher_one(svn: int) -> None:
    """Its two secrets are outputs of one-way steps from those above: neither equals one that leads up."""
    here = stand(SECRET, svn)
    above = stand(SECRET, min(svn + 1, MAX_SVN))
    assert here.below is None or here.below != here.rung
    assert svn == MAX_SVN or above.rung not in (here.rung, here.below)


def test_the_ends_of_blocks_fit_together() -> None:
    edges = (0, 1, 254, 255, 256, 257, 511, 512, 65_279, 65_280, 65_534, 65_535)
    rungs = {svn: stand(SECRET, svn) for svn in edges}
    assert len({standing.rung for standing in rungs.values()}) == len(edges)
    for mine in edges:
        for other in edges[: edges.index(mine) + 1]:
            assert rungs[mine].key(other) == rungs[other].rung


def test_a_place_off_the_ladder_is_refused() -> None:
    for svn in (-1, MAX_SVN + 1):
        with pytest.raises(SealRefused, match="expected 0 to 65535"):
            stand(SECRET, svn)
    with pytest.raises(SealRefused, match="not on the ladder"):
        Standing(svn=300, rung=SECRET, below=None).key(3)


def test_the_longest_way_is_short() -> None:
    start = time.process_time()
    stand(SECRET, MAX_SVN).key(0)
    stand(SECRET, 0)
    assert time.process_time() - start < 0.1


# --- golden vectors


def test_what_the_first_release_sealed_opens() -> None:
    for name, policy in (("sealed-signer", Policy.SIGNER), ("sealed-measurement", Policy.MEASUREMENT)):
        blob = bytes.fromhex((VECTORS / f"{name}.hex").read_text())
        assert sealer(FIXED).unseal(blob, b"ad") == b"plaintext"
        assert Sealer(root=FIXED, enclave=V1, random=lambda size: b"r" * size).seal(b"plaintext", policy, b"ad") == blob


def test_the_ladder_is_that_of_the_first_release() -> None:
    wanted = (VECTORS / "ladder.hex").read_text().split()
    assert [stand(SECRET, svn).rung.hex() for svn in (0, 1, 255, 256, 40_000, 65_535)] == wanted


def test_the_fixed_root_is_what_it_says() -> None:
    assert FIXED.derive(b"s", b"i") == derive(32, b"u" * 32, b"s", b"i")

"""Reference values: what they make of claims, and their exchange as CoRIM (draft-ietf-rats-corim)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.appraisal.corim import from_corim, to_corim
from belljar.attestation.appraisal.reference import ReferenceValues, differences
from belljar.attestation.cbor import Cbor, Tagged, encode
from belljar.attestation.claims import Claims, Tee
from belljar.attestation.errors import PolicyRefused

ONE = ReferenceValues(name="payroll", measurement=bytes(range(32)), signer=b"S" * 32, product_id=7, svn=3)
CLAIMS = Claims(
    tee=Tee.SOFT, format="x", measurement=ONE.measurement, debug=False, simulated=True, root=b"",
    signer=ONE.signer, product_id=7, svn=3,
)  # fmt: skip
GOLDEN = (
    "d901f5a20067706179726f6c6c0181d901fa5883a201a10067706179726f6c6c04a1008182a100a300d90227070167426"
    "56c6c6a61720267706179726f6c6c81a101a301d9022903028182015820000102030405060708090a0b0c0d0e0f1011121314"
    "15161718191a1b1c1d1e1f0d81d9022d820158205353535353535353535353535353535353535353535353535353535353535353"
)

values = st.builds(
    ReferenceValues,
    name=st.text(st.characters(codec="utf-8"), max_size=20),
    measurement=st.sampled_from([32, 48, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    signer=st.none() | st.binary(min_size=32, max_size=32),
    product_id=st.integers(0, 0xFFFF_FFFF),
    svn=st.integers(0, 0xFFFF_FFFF),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(values, min_size=1, max_size=5).map(tuple))
def test_what_goes_out_comes_back(found: tuple[ReferenceValues, ...]) -> None:
    assert from_corim(to_corim("id", found)) == found


def test_the_bytes_stay_what_they_are() -> None:
    assert to_corim("payroll", (ONE,)).hex() == GOLDEN
    assert from_corim(bytes.fromhex(GOLDEN)) == (ONE,)


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=60) | st.integers(0, 8 * len(GOLDEN) // 2 - 1))
def test_any_bytes_are_read_or_refused(found: bytes | int) -> None:
    content = bytearray(bytes.fromhex(GOLDEN))
    if isinstance(found, int):
        content[found // 8] ^= 1 << found % 8
    try:
        assert from_corim(bytes(content) if isinstance(found, int) else found) != (ONE,) or isinstance(found, int)
    except PolicyRefused:
        pass


def corim(comid: Cbor, *, outer: dict[int | str, Cbor] | None = None) -> bytes:
    body: dict[int | str, Cbor] = {0: "id", 1: [Tagged(tag=506, value=encode(comid))]}
    return encode(Tagged(tag=501, value=outer or body))


def triple(kind: Cbor, measured: Cbor) -> Cbor:
    return {1: {0: "id"}, 4: {0: [[{0: kind}, [{1: measured}]]]}}


KIND: dict[int | str, Cbor] = {0: Tagged(tag=551, value=7), 1: "v", 2: "n"}
MEASURED: dict[int | str, Cbor] = {1: Tagged(tag=553, value=3), 2: [[1, bytes(32)]]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not deterministic CBOR"),
        (bytes(2 << 20), "got 2097152 bytes"),
        (encode({0: "id"}), "CoRIM: CoRIM: got NoneType"),
        (
            corim(0, outer={0: "id", 1: [], 4: {0: 1}}),
            r"got \['0', '1', '4'\], expected a map of \[0, 1\] and nothing else",
        ),
        (corim(0, outer={0: "id", 1: [b"", b""]}), "tags: expected a list of one"),
        (corim(0, outer={0: "id", 1: [b""]}), "expected one CoMID"),
        (corim({1: {0: "x"}}), "CoMID: got"),
        (corim({1: {0: "x"}, 4: {0: []}}), "got no reference triples"),
        (corim({1: {0: "x"}, 4: {0: [[]]}}), "no pair of environment and measurements"),
        (corim(triple({**KIND, 3: 1}, MEASURED)), "class: got"),
        (corim(triple({**KIND, 0: Tagged(tag=553, value=1)}, MEASURED)), "something else than tag 551"),
        (corim(triple({**KIND, 0: Tagged(tag=551, value=-1)}, MEASURED)), "got -1, expected 0"),
        (corim(triple({**KIND, 2: b"n"}, MEASURED)), "vendor and model must be texts"),
        (corim(triple(KIND, {**MEASURED, 3: {3: True}})), "measurement values: got"),
        (corim(triple(KIND, {**MEASURED, 2: [[1, bytes(32)], [1, bytes(32)]]})), "digests: expected a list of one"),
        (corim(triple(KIND, {**MEASURED, 2: [[2, bytes(32)]]})), "with a hash we know"),
        (corim(triple(KIND, {**MEASURED, 2: [[7, bytes(32)]]})), "got a digest of 32 bytes, expected 48"),
        (corim(triple(KIND, {**MEASURED, 13: [Tagged(tag=557, value=[1, bytes(31)])]})), "digest of 31 bytes"),
    ],
)
def test_what_says_more_or_less_is_refused(content: bytes, text: str) -> None:
    with pytest.raises(PolicyRefused, match=text):
        from_corim(content)


def test_what_is_no_measurement_is_not_written() -> None:
    for found in ((), (ReferenceValues(name="x", measurement=b"", signer=None, product_id=0, svn=0),)):
        with pytest.raises(PolicyRefused):
            to_corim("id", found)


def test_differences_name_what_differs() -> None:
    assert differences(ONE, CLAIMS) == ()
    other = ReferenceValues(name="x", measurement=bytes(32), signer=None, product_id=8, svn=4)
    assert [str(difference) for difference in differences(other, CLAIMS)] == [
        f"measurement: expected {bytes(32).hex()}, found {ONE.measurement.hex()}",
        f"signer: expected nothing, found {(b'S' * 32).hex()}",
        "product id: expected 8, found 7",
        "svn: expected 4, found 3",
    ]


def test_rules_take_this_build_or_later_ones() -> None:
    assert ONE.rule().measurement == ONE.measurement
    later = ONE.upgradable_rule()
    assert later is not None
    assert (later.signer, later.product_id, later.min_svn, later.measurement) == (ONE.signer, 7, 3, None)
    assert ReferenceValues(name="x", measurement=bytes(32), signer=None, product_id=0, svn=0).upgradable_rule() is None

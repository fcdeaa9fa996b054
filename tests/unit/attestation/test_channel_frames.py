"""Frames and what they say: round trips for all that may be sent, a clear refusal of everything else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.cbor import encode
from belljar.attestation.channel import ChannelRefused, Role, make_token, read_token, read_tokens
from belljar.attestation.channels.binding import LABELS, binder
from belljar.attestation.channels.frames import MAX_BYTES, Frame, FrameReader, Kind, framed, header
from belljar.attestation.channels.messages import (
    Hello,
    Proof,
    Verdict,
    challenge,
    failure,
    read_challenge,
    read_failure,
    read_hello,
    read_verdict,
)
from belljar.attestation.errors import PolicyRefused

CONTROL = [kind for kind in Kind if kind not in (Kind.DATA, Kind.FINISH)]
Parts = tuple[bytes, bytes, bytes]
PROOFS = st.frozensets(st.sampled_from(list(Proof)))
READERS = (read_hello, read_verdict, read_challenge, read_failure)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Kind, bytes]:
    kind = draw(st.sampled_from(list(Kind)))
    least = 1 if kind is Kind.DATA else 0
    return kind, draw(st.binary(min_size=least, max_size=min(300, MAX_BYTES[kind])))


@given(st.lists(frames(), max_size=6), st.lists(st.integers(1, 200), min_size=1, max_size=8))
@settings(max_examples=60)
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[tuple[Kind, bytes]], cuts: list[int]) -> None:
    stream = b"".join(framed(kind, body) for kind, body in sent)
    reader, found, start, turn = FrameReader(), list[Frame](), 0, 0
    while start < len(stream):
        size = cuts[turn % len(cuts)]
        found += reader.feed(stream[start : start + size])
        start, turn = start + size, turn + 1
    assert joined(found) == joined([Frame(kind, body) for kind, body in sent])


def joined(found: list[Frame]) -> list[tuple[Kind, bytes]]:
    """Return frames with neighbouring pieces of data as one: where one frame of it ends means nothing."""
    out: list[tuple[Kind, bytes]] = []
    for frame in found:
        if out and frame.kind is Kind.DATA and out[-1][0] is Kind.DATA:
            out[-1] = (Kind.DATA, out[-1][1] + frame.body)
        else:
            out.append((frame.kind, frame.body))
    return out


@pytest.mark.parametrize("kind", list(Kind))
def test_a_frame_longer_than_its_type_is_refused_by_its_header_alone(kind: Kind) -> None:
    too_long = MAX_BYTES[kind] + 1
    with pytest.raises(ChannelRefused, match=f"a frame {kind.name.lower()} of {too_long} bytes, expected at most"):
        list(FrameReader().feed(header(kind, too_long)))
    with pytest.raises(ChannelRefused, match=f"{kind.name.lower()}: {too_long} bytes, expected at most"):
        framed(kind, bytes(too_long))


@pytest.mark.parametrize("first", [0, 9, 22, 71, 255])
def test_an_unknown_type_is_refused(first: int) -> None:
    with pytest.raises(ChannelRefused, match=f"a frame of type {first}, expected one of 1 to 8"):
        list(FrameReader().feed(bytes([first, 0, 0, 1, 0])))


def test_data_without_content_is_refused() -> None:
    with pytest.raises(ChannelRefused, match="a frame data of 0 bytes"):
        list(FrameReader().feed(header(Kind.DATA, 0)))


@given(st.binary(min_size=32, max_size=32), PROOFS, PROOFS)
def test_a_hello_comes_out_as_it_went_in(nonce: bytes, asks: frozenset[Proof], shows: frozenset[Proof]) -> None:
    hello = Hello(nonce=nonce, asks=asks, shows=shows)
    assert read_hello(hello.encode()) == hello
    assert len(hello.encode()) <= MAX_BYTES[Kind.HELLO]


@given(st.from_regex(r"[a-z][a-z-]{0,47}", fullmatch=True), st.binary(min_size=32, max_size=32))
def test_reasons_and_nonces_come_out_as_they_went_in(reason: str, nonce: bytes) -> None:
    assert read_failure(failure(reason)) == reason
    assert read_challenge(challenge(nonce)) == nonce
    refused = Verdict(accepted=False, reason=reason)
    assert read_verdict(refused.encode()) == refused
    assert read_verdict(Verdict(accepted=True).encode()) == Verdict(accepted=True)
    assert max(len(refused.encode()), len(failure(reason))) <= MAX_BYTES[Kind.ERROR]


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_garbage_is_no_message(body: bytes) -> None:
    for read in READERS:
        with pytest.raises(ChannelRefused):
            read(body)


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_hello_is_refused_or_says_something_else(place: int, by: int) -> None:
    body = bytearray(Hello(nonce=bytes(32), asks=frozenset(Proof), shows=frozenset({Proof.EVIDENCE})).encode())
    before = read_hello(bytes(body))
    body[place % len(body)] ^= by
    try:
        assert read_hello(bytes(body)) != before
    except ChannelRefused:
        pass


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({1: 2, 2: bytes(32), 3: [], 4: []}, "hello: got version 2, expected 1"),
        ({1: True, 2: bytes(32), 3: [], 4: []}, "hello: got version True, expected 1"),
        ({1: 1, 2: bytes(31), 3: [], 4: []}, "hello: a nonce that has not 32 bytes"),
        ({1: 1, 2: bytes(32), 3: ["money"], 4: []}, "proofs that are not known"),
        ({1: 1, 2: bytes(32), 3: ["token", "evidence"], 4: []}, "or not in their order"),
        ({1: 1, 2: bytes(32), 3: ["token", "token"], 4: []}, "or not in their order"),
        ({1: 1, 2: bytes(32), 3: "token", 4: []}, "proofs that are not known"),
        ({1: 1, 2: bytes(32), 3: []}, "hello: not a map of the members 1 to 4"),
        ({1: 1, 2: bytes(32), 3: [], 4: [], 5: 0}, "hello: not a map of the members 1 to 4"),
    ],
)
def test_a_wrong_hello_is_refused(body: dict[int, object], said: str) -> None:
    with pytest.raises(ChannelRefused, match=said):
        read_hello(encode(body))  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("reason", ["", "Policy: measurement 00ff", "x" * 49, "-", "a\n", 7, None])
def test_a_reason_is_a_short_word(reason: object) -> None:
    for content in ({1: False, 2: reason}, {1: True, 2: reason or "why"}):
        with pytest.raises(ChannelRefused, match="verdict: a reason that is not a short word"):
            read_verdict(encode(content))  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(ChannelRefused, match="error: a reason that is not a short word"):
        read_failure(encode({1: reason}))  # type: ignore[dict-item] # wrong on purpose


@given(
    st.lists(st.binary(max_size=40), min_size=3, max_size=3), st.lists(st.binary(max_size=40), min_size=3, max_size=3)
)
def test_no_two_bindings_have_one_binder(one: list[bytes], other: list[bytes]) -> None:
    values = {binder(role, *parts) for role in Role for parts in (one, other)}
    assert len(values) == (2 if one == other else 4)


def test_each_role_has_a_label_of_its_own() -> None:
    assert set(LABELS) == set(Role)
    assert len(set(LABELS.values())) == 2
    assert all(role.other.other is role is not role.other for role in Role)


def test_tokens_are_kept_as_hashes_and_found() -> None:
    token, line = make_token("alice", bytes)
    assert token not in line
    assert line.startswith(f"sha256:{hashlib.sha256(token.encode()).hexdigest()}")
    tokens = read_tokens(f"# who may\n{line}  # laptop\n\n")
    assert tokens.holder(token.encode()) == "alice"
    with pytest.raises(ChannelRefused, match="the client's token is nobody's"):
        tokens.holder(token.encode() + b"A")
    assert read_token(f" {token}\n") == token


@pytest.mark.parametrize("text", ["", "# nobody", "sha256:00 a", f"sha256:{'0' * 64}", f"md5:{'0' * 64} a", "x" * 900])
def test_a_wrong_file_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefused, match="tokens"):
        read_tokens(text)


@pytest.mark.parametrize("text", ["", "short", "two words of it all", "ä" * 20, "x" * 257])
def test_a_wrong_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(PolicyRefused) as refused:
        read_token(text)
    assert not text.strip() or text.strip() not in str(refused.value)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(PolicyRefused, match="expected 1 to 64 letters"):
        make_token("a b", bytes)

"""Both ends of a channel without a network: what is agreed, what flows, what ends it, in which words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.attestation.channel import (
    ChannelRefused,
    ChannelSession,
    Endpoint,
    Limits,
    Role,
    Terms,
    appraises_by,
    attests_with,
    load_authorities,
    load_identity,
    make_identity,
    make_token,
    read_tokens,
)
from belljar.attestation.channels.frames import MAX_DATA_BYTES, Kind, framed
from belljar.attestation.channels.messages import challenge
from belljar.attestation.claims import Purpose
from belljar.attestation.errors import KeyRefused, PlatformRefused
from belljar.attestation.verifier import Message
from support.channels import (
    CLIENT,
    SERVER,
    attester_of,
    client_terms,
    clock,
    exchange,
    issued,
    mutual,
    opened,
    policy_for,
    server_terms,
    sessions,
)
from support.roots import NOW

TOKEN, LINE = make_token("alice", lambda count: b"t" * count)
TOKENS = read_tokens(LINE)


def carried(source: ChannelSession, target: ChannelSession, content: bytes) -> bytes:
    """Return content that went through a channel."""
    found, view = b"", memoryview(content)
    while view:
        view = view[source.write(view) :]
        exchange(source, target)
        while part := target.read():
            found += part
    return found


def refused_with(
    client: Terms | None, server: Terms | None, said: str, code: str
) -> tuple[ChannelSession, ChannelSession]:
    """Hold that no channel is opened, which words are said, and which one goes over to the other side."""
    both = sessions(client, server)
    with pytest.raises(ChannelRefused, match=said) as refused:
        exchange(*both)
    assert refused.value.code == code
    assert not both[0].is_open
    assert not both[1].is_open
    for session in both:
        with pytest.raises(ChannelRefused):
            session.read()
        with pytest.raises(ChannelRefused):
            session.write(b"x")
    return both


def test_a_client_without_a_tee_and_a_server_with_one() -> None:
    client, server = opened()
    assert client.peer.group == "X25519MLKEM768"
    assert client.peer.claims is not None
    assert client.peer.claims.measurement == SERVER.measurement
    assert server.peer.appraisal is None
    assert (server.peer.holder, server.peer.certified) == (None, False)
    assert carried(client, server, b"to the server") == b"to the server"
    assert carried(server, client, b"to the client") == b"to the client"


def test_two_enclaves() -> None:
    client, server = opened(*mutual())
    assert server.peer.claims is not None
    assert server.peer.claims.measurement == CLIENT.measurement
    assert carried(client, server, b"x" * 100_000) == b"x" * 100_000


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 120))
@settings(max_examples=15)
def test_content_comes_out_as_it_went_in(pattern: bytes, times: int) -> None:
    client, server = OPEN
    assert carried(client, server, pattern * times) == pattern * times


@pytest.mark.parametrize("size", [1, MAX_DATA_BYTES - 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 3 * MAX_DATA_BYTES])
def test_sizes_about_a_frame(size: int) -> None:
    client, server = OPEN
    assert carried(client, server, bytes(size)) == bytes(size)
    client.write(bytes(100))
    exchange(client, server)
    assert [len(server.read(33)) for _ in range(5)] == [33, 33, 33, 1, 0]


OPEN = opened()


def test_each_side_finishes_for_itself() -> None:
    client, server = opened()
    client.write(b"all of it")
    client.finish()
    exchange(client, server)
    assert [server.at_end] == [False]
    assert server.read() == b"all of it"
    assert [server.at_end] == [True]
    with pytest.raises(ChannelRefused, match="this side has finished"):
        client.write(b"more")
    assert carried(server, client, b"answer") == b"answer"
    server.finish()
    exchange(client, server)
    assert client.is_over
    assert server.is_over
    client.receive(b"")
    server.receive(b"")


def test_an_end_without_finish_is_told_from_a_whole_one() -> None:
    client, server = opened()
    client.write(b"half of")
    exchange(client, server)
    with pytest.raises(ChannelRefused, match="the other side has gone without finish: what came may be cut short"):
        server.receive(b"")
    assert server.read() == b"half of"
    with pytest.raises(ChannelRefused, match="cut short"):
        server.read()


def test_nothing_flows_before_both_have_agreed() -> None:
    client, server = sessions()
    for session in (client, server):
        with pytest.raises(ChannelRefused, match="nothing can be written: the channel is not open yet"):
            session.write(b"early")
        with pytest.raises(ChannelRefused, match="nothing can be finished"):
            session.finish()
        with pytest.raises(ChannelRefused, match="nobody knows yet who is on the other side"):
            _ = session.peer
        assert session.read() == b""


def test_back_pressure_both_ways() -> None:
    small = Limits(buffer_bytes=1000)
    client, server = opened(client_terms(limits=small), server_terms(limits=small))
    assert client.write(bytes(5000)) == 1000
    assert (client.write(b"x"), client.room) == (0, 0)
    server.receive(client.to_send())
    assert client.room == 1000
    assert (server.wants_input, server.readable) == (False, 1000)
    assert len(server.read()) == 1000
    assert server.wants_input


def test_a_token_is_shown_after_the_server_was_accepted() -> None:
    _, server = opened(client_terms(token=TOKEN), server_terms(tokens=TOKENS))
    assert server.peer.holder == "alice"


def test_a_token_is_not_shown_to_a_server_that_is_refused() -> None:
    shown: list[bytes] = []

    class Watching:
        holders = TOKENS.holders

        def holder(self, token: bytes) -> str:
            shown.append(token)
            return "anybody"

    terms = client_terms(token=TOKEN, appraises=appraises_by(policy_for(CLIENT), clock=clock))
    watching: Any = Watching()
    refused_with(terms, server_terms(tokens=watching), "evidence refused by the policy: code: got", "evidence-refused")
    assert not shown


def test_a_wrong_token_and_none() -> None:
    asking = server_terms(tokens=TOKENS)
    refused_with(client_terms(token=TOKEN + "x"), asking, "the client's token is nobody's", "token-refused")
    client, server = sessions(client_terms(), asking)
    with pytest.raises(ChannelRefused, match="shows no token, expected some"):
        exchange(client, server)
    with pytest.raises(ChannelRefused, match="asks for token, and there is none here"):
        client.read()


def test_a_refusal_tells_the_other_side_a_word_and_no_policy() -> None:
    client, server = sessions(client_terms(appraises=appraises_by(policy_for(CLIENT), clock=clock)))
    with pytest.raises(ChannelRefused, match="the other side's evidence: evidence refused by the policy: code"):
        exchange(client, server)
    with pytest.raises(ChannelRefused) as told:
        server.read()
    assert str(told.value) == "the other side refuses this one: evidence-refused"


def test_a_policy_for_other_purposes_takes_no_channel() -> None:
    terms = client_terms(appraises=appraises_by(policy_for(purposes=(Purpose.LOCAL,)), clock=clock))
    refused_with(terms, None, "purpose of the report data: got channel, expected local", "evidence-refused")


def test_evidence_that_cannot_be_made_ends_the_channel() -> None:
    def broken(_nonce: bytes, _body: bytes) -> Message:
        raise PlatformRefused("the TPM does not answer")

    said = "this side's evidence cannot be made: the TPM does not answer"
    refused_with(None, server_terms(attests=broken), said, "has-no-evidence")

    def untyped(_nonce: bytes, _body: bytes) -> Message:
        return Message(content=b"evidence")

    refused_with(None, server_terms(attests=untyped), "it has no media type", "has-no-evidence")


def test_an_appraiser_that_forgets_the_binding_is_not_enough() -> None:
    """Whatever judges: what the evidence binds is compared by the session, too."""
    attests = attests_with(attester_of(), clock=clock)
    judge = appraises_by(policy_for(), clock=clock)

    def elsewhere(nonce: bytes, body: bytes) -> Message:
        return attests(nonce, bytes(len(body)))

    def careless(evidence: Message, asked: Any) -> Any:
        return judge(evidence, dataclasses.replace(asked, report_data=None))

    terms = client_terms(appraises=careless)
    refused_with(terms, server_terms(attests=elsewhere), "it binds another session, side or key", "evidence-refused")


def test_both_attest_anew_while_content_flows() -> None:
    client, server = opened(*mutual())
    before = client.peer.appraisal
    client.reattest(1.0)
    with pytest.raises(ChannelRefused, match="has yet to answer"):
        client.reattest(1.0)
    assert [client.is_attesting_anew] == [True]
    assert carried(server, client, b"meanwhile") == b"meanwhile"
    assert [client.is_attesting_anew] == [False]
    assert client.peer.appraisal is not before
    server.reattest(2.0)
    exchange(client, server)
    assert not server.is_attesting_anew
    client.reattest(3.0)
    exchange(client, server)
    assert client.due is None


def test_attesting_anew_by_the_clock() -> None:
    limits = Limits(reattest_s=60.0, answer_s=5.0)
    client, server = opened(client_terms(limits=limits))
    client.tick(100.0)
    assert client.due == 160.0
    client.tick(159.0)
    assert not client.is_attesting_anew
    client.tick(160.0)
    assert (client.is_attesting_anew, client.due) == (True, 165.0)
    exchange(client, server)
    client.tick(161.0)
    assert client.due == 221.0
    client.tick(221.0)
    with pytest.raises(ChannelRefused, match="the other side has not attested anew in time"):
        client.tick(226.0)


def test_an_enclave_that_is_not_accepted_any_more_is_left() -> None:
    judge, verdicts = appraises_by(policy_for(), clock=clock), appraises_by(policy_for(CLIENT), clock=clock)
    turns = iter((judge, verdicts))

    def changing(evidence: Message, asked: Any) -> Any:
        return next(turns)(evidence, asked)

    client, server = opened(client_terms(appraises=changing))
    server.write(b"of yesterday")
    client.reattest(1.0)
    with pytest.raises(ChannelRefused, match="evidence refused by the policy: code"):
        exchange(client, server)
    with pytest.raises(ChannelRefused, match="evidence refused"):
        client.read()
    with pytest.raises(ChannelRefused, match="the other side gives up: evidence-refused"):
        server.read()


def test_a_side_without_evidence_cannot_be_asked_later() -> None:
    client, server = opened()
    with pytest.raises(ChannelRefused, match="nothing to attest anew"):
        server.reattest(1.0)
    server._engine.write(framed(Kind.CHALLENGE, challenge(bytes(32))))
    with pytest.raises(ChannelRefused, match="asks for evidence, and there is none here"):
        exchange(client, server)


def test_the_deadline_is_the_callers() -> None:
    client, server = sessions()
    assert server.due == 10.0
    server.tick(9.9)
    with pytest.raises(ChannelRefused, match="has not proved itself in time") as late:
        server.tick(10.0)
    assert late.value.code == "too-late"
    del client


def test_work_is_given_away() -> None:
    terms = mutual()
    client = Endpoint(Role.CLIENT, terms[0]).session(0.0, inline=False)
    server = Endpoint(Role.SERVER, terms[1]).session(0.0, inline=False)
    done = 0
    while not (client.is_open and server.is_open):
        exchange(client, server)
        for session in (client, server):
            if (work := session.work) is not None:
                work.run()
                session.complete(work)
                done += 1
                with pytest.raises(ChannelRefused, match="work that this session has not given"):
                    server._exchange.complete(work)
    assert done == 4


def test_the_instance_can_be_pinned() -> None:
    first, second = b"1" * 16, b"2" * 16
    server = server_terms(attests=attests_with(attester_of(instance=first), clock=clock))
    judge = appraises_by(policy_for(), instances=frozenset({first}), clock=clock)
    opened(client_terms(appraises=judge), server)
    other = appraises_by(policy_for(), instances=frozenset({second}), clock=clock)
    refused_with(
        client_terms(appraises=other),
        server,
        f"instance: got {first.hex()}, expected {second.hex()}",
        "evidence-refused",
    )


@pytest.mark.parametrize(
    ("role", "terms", "said"),
    [
        (Role.CLIENT, Terms(), "nothing says what the server must be"),
        (Role.CLIENT, Terms(insecure_unattested=True, token=TOKEN), "its token would go to anybody"),
        (Role.CLIENT, Terms(insecure_unattested=True, tokens=TOKENS), "a client: it asks for no token"),
        (Role.SERVER, Terms(), "nothing makes its evidence"),
        (Role.SERVER, Terms(insecure_unattested=True, token=TOKEN), "a server: it shows no token"),
        (Role.SERVER, Terms(insecure_unattested=True, limits=Limits(handshake_s=0)), "must be positive"),
        (Role.SERVER, Terms(insecure_unattested=True, limits=Limits(buffer_bytes=0)), "must be positive"),
    ],
)
def test_terms_that_leave_something_out_are_refused(role: Role, terms: Terms, said: str) -> None:
    with pytest.raises(ChannelRefused, match=said):
        Endpoint(role, terms)


def test_a_token_is_not_printed() -> None:
    assert TOKEN not in repr(client_terms(token=TOKEN))
    assert "key" not in repr(make_identity(NOW)).replace("public_key", "")


def test_a_plain_channel_only_by_name() -> None:
    client, server = opened(Terms(insecure_unattested=True), Terms(insecure_unattested=True))
    assert client.peer.appraisal is None
    assert carried(client, server, b"plain") == b"plain"
    said = "asks for evidence, and there is none here"
    refused_with(client_terms(), Terms(insecure_unattested=True), said, "has-no-evidence")


def test_operators_certificates_and_authorities() -> None:
    root = issued("services")
    leaf = issued("client", root)
    pinned = server_terms(authorities=load_authorities(root.certificate))
    client = Endpoint(Role.CLIENT, client_terms(), load_identity(leaf.certificate, leaf.key)).session(0.0)
    server = Endpoint(Role.SERVER, pinned).session(0.0)
    exchange(client, server)
    assert server.peer.certified
    assert load_pem_x509_certificate(leaf.certificate).public_bytes(Encoding.DER) == server.peer.certificate
    both = sessions(None, pinned)
    with pytest.raises(ChannelRefused, match=r"the TLS handshake failed: .*certificate verify failed"):
        exchange(*both)


def test_wrong_identities_are_refused() -> None:
    one, other = make_identity(NOW), make_identity(NOW)
    pem = one.chain[0].public_bytes(Encoding.PEM)
    key = other.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyRefused, match="not that of its certificate"):
        load_identity(pem, key)
    with pytest.raises(KeyRefused, match="certificate cannot be read"):
        load_identity(b"nothing", key)
    with pytest.raises(KeyRefused, match="chain has 9 certificates"):
        load_identity(pem * 9, key)
    with pytest.raises(KeyRefused, match="key cannot be read"):
        load_identity(pem, b"nothing")
    with pytest.raises(KeyRefused, match="is encrypted"):
        load_identity(pem, one.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    big = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyRefused, match="expected one on a NIST curve, or Ed25519"):
        load_identity(pem, big)
    with pytest.raises(KeyRefused, match="authorities cannot be read"):
        load_authorities(b"nothing")

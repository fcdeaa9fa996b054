"""Attacks on attested channels, over real sockets: each is refused with its reason, and others are served on.

A man in the middle ends TLS on both sides and carries every frame. IEEE 2952 5.2.2.2, 7.2.1; facts and prior breaks:
docs/decisions/0019-channels.md.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from belljar.attestation.attesting import wrapped_cwt
from belljar.attestation.cbor import encode
from belljar.attestation.channel import (
    ChannelRefused,
    Endpoint,
    Limits,
    Role,
    Terms,
    appraises_by,
    attests_with,
    connect,
    make_identity,
)
from belljar.attestation.channels.binding import Role as Side
from belljar.attestation.channels.frames import MAX_BYTES, Kind, framed, header
from belljar.attestation.channels.messages import Hello, Proof, Verdict
from belljar.attestation.channels.tls import make_context
from belljar.attestation.verifier import Challenge, Message
from support.channel_sockets import Served, listening, middle, raw
from support.channels import CLIENT, SERVER, attester_of, client_terms, clock, policy_for, server_terms
from support.roots import NOW

HALF_OPEN = int(os.environ.get("BELLJAR_HALF_OPEN", "150"))
ACCEPTED = framed(Kind.VERDICT, Verdict(accepted=True).encode())


def works(served: Served) -> None:
    """Hold that an honest client is served."""
    with connect(served.address, terms=client_terms()) as channel:
        channel.sendall(b"still there?")
        assert channel.recv(100) == b"still there?"


# -- a man in the middle


@pytest.mark.parametrize("stolen", [False, True], ids=["his own key", "the enclave's stolen key"])
def test_evidence_that_is_carried_over_another_session_is_refused(*, stolen: bool) -> None:
    """Relay, the attack on evidence inside certificates (CVE-2026-33697): also with a key that leaked."""
    with listening() as served, middle(served.address, served.endpoint.identity if stolen else None) as (there, read):
        with pytest.raises(ChannelRefused, match=r"report data: got [0-9a-f]+, expected") as refused:
            connect(there, terms=client_terms(token="t" * 20))
        assert refused.value.code == "evidence-refused"
        assert b"t" * 20 not in bytes(read)
        works(served)


def test_a_genuine_enclave_cannot_be_put_in_place_of_another() -> None:
    other, said = server_terms(attests=attests_with(attester_of(CLIENT), clock=clock)), "code: got measurement 6363"
    with listening(other) as served:
        with pytest.raises(ChannelRefused, match=said):
            connect(served.address, terms=client_terms())
        assert "the other side refuses this one: evidence-refused" in served.why()


def test_a_client_is_not_led_to_another_instance() -> None:
    """Diversion: the other run is as genuine as the one that was meant, and pinned apart only by its instance."""
    meant, other = b"m" * 16, b"o" * 16
    judge = appraises_by(policy_for(), instances=frozenset({meant}), clock=clock)
    for instance, taken in ((meant, True), (other, False)):
        terms = server_terms(attests=attests_with(attester_of(instance=instance), clock=clock))
        with listening(terms) as served:
            if taken:
                connect(served.address, terms=client_terms(appraises=judge)).close()
            else:
                with pytest.raises(ChannelRefused, match=rf"instance: got {other.hex()}, expected {meant.hex()}"):
                    connect(served.address, terms=client_terms(appraises=judge))


# -- evidence of other sessions


def test_evidence_of_an_earlier_session_is_refused() -> None:
    kept: list[Message] = []
    genuine = attests_with(attester_of(), clock=clock)

    def recording(nonce: bytes, body: bytes) -> Message:
        kept.append(genuine(nonce, body))
        return kept[-1]

    with listening(server_terms(attests=recording)) as served:
        works(served)
    fake = server_terms(attests=lambda _nonce, _body: kept[0])
    with listening(fake) as served, pytest.raises(ChannelRefused, match=r"nonce: got [0-9a-f]+, expected"):
        connect(served.address, terms=client_terms())


def test_a_server_s_own_evidence_is_none_of_its_client() -> None:
    """Reflection: exporters are the same on both sides, so roles have labels of their own."""
    seen: list[Message] = []
    judge = appraises_by(policy_for(), clock=clock)

    def taking(evidence: Message, challenge: Challenge) -> object:
        seen.append(evidence)
        return judge(evidence, challenge)

    mirror = client_terms(appraises=taking, attests=lambda _nonce, _body: seen[0])
    with listening(server_terms(appraises=appraises_by(policy_for(SERVER), clock=clock))) as served:
        with pytest.raises(ChannelRefused, match="refuses this one: evidence-refused"):
            connect(served.address, terms=mirror).recv(1)
        assert "report data: got" in served.why()


def test_an_own_nonce_that_comes_back_is_refused() -> None:
    with listening() as served, raw(served) as client:
        client.shake()
        hello = client.heard()
        assert hello is not None
        client.say(framed(Kind.HELLO, hello.body))
        assert "this side's own nonce came back" in served.why()


def test_a_server_without_evidence_is_refused() -> None:
    """Stripped attestation: whoever takes the evidence away is left with nothing that is accepted."""
    said = "shows no evidence, expected some|gives up: has-no-evidence"
    with listening(Terms(insecure_unattested=True)) as served, pytest.raises(ChannelRefused, match=said):
        connect(served.address, terms=client_terms())


def test_a_server_that_only_says_so_is_refused() -> None:
    """It promises evidence, and sends something else."""
    fake = server_terms(attests=lambda _nonce, _body: Message(content=b"\x00", media_type="text/plain"))
    with listening(fake) as served, pytest.raises(ChannelRefused, match="got media type 'text/plain', expected one of"):
        connect(served.address, terms=client_terms())


# -- downgrade


def stdlib_context(tmp_path: Path) -> ssl.SSLContext:
    """Return the standard library's TLS with a certificate, as another program would speak it."""
    identity = make_identity(NOW)
    pem = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "both.pem").write_bytes(pem + identity.chain[0].public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "both.pem")
    return context


@contextmanager
def spoken(context: ssl.SSLContext, served: Served) -> Iterator[ssl.SSLSocket]:
    """Connect with the standard library's TLS."""
    with socket.create_connection(served.address, 20) as plain, context.wrap_socket(plain) as tls:
        yield tls


def test_tls_1_2_is_refused(tmp_path: Path) -> None:
    context = stdlib_context(tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with listening() as served:
        with socket.create_connection(served.address, 20) as plain, pytest.raises(ssl.SSLError, match=r"(?i)version"):
            context.wrap_socket(plain)
        assert "only TLS 1.3 is spoken here" in served.why()
        works(served)


def test_a_classical_key_exchange_is_refused_unless_named(tmp_path: Path) -> None:
    context = stdlib_context(tmp_path)
    context.set_ecdh_curve("prime256v1")  # the only group it offers
    context.set_alpn_protocols(["belljar/1"])
    with listening() as served, spoken(context, served) as tls:
        assert tls.version() == "TLSv1.3"
        assert "expected X25519MLKEM768" in served.why()
    with listening(server_terms(insecure_classical_group=True)) as served, spoken(context, served) as tls:
        tls.sendall(framed(Kind.HELLO, Hello(nonce=b"n" * 32, asks=frozenset(), shows=frozenset()).encode()))
        assert tls.recv(1) == bytes([Kind.HELLO])


def test_another_protocol_inside_is_refused(tmp_path: Path) -> None:
    for protocols in ([], ["h2", "http/1.1"], ["belljar/2"]):
        context = stdlib_context(tmp_path)
        if protocols:
            context.set_alpn_protocols(protocols)
        with listening(server_terms(insecure_classical_group=True)) as served, spoken(context, served):
            assert "does not speak belljar/1" in served.why()


def test_another_version_is_refused() -> None:
    with listening() as served, raw(served) as client:
        client.shake().say(framed(Kind.HELLO, encode({1: 2, 2: bytes(32), 3: [], 4: []})))
        assert "hello: got version 2, expected 1" in served.why()


def test_a_client_without_a_certificate_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with listening(server_terms(insecure_classical_group=True)) as served, spoken(context, served):
        assert "peer did not return a certificate" in served.why()


def test_no_session_is_resumed() -> None:
    """OpenSSL's server sends tickets that name nothing: offered, they lead to a whole handshake; nothing goes early."""
    context = make_context(Side.CLIENT, make_identity(NOW), (), plain=False)
    kept: SSL.Session | None = None
    with listening() as served:
        for _ in range(2):
            connection = SSL.Connection(context, socket.create_connection(served.address, 20))
            connection.set_connect_state()
            connection.setblocking(1)
            if kept is not None:
                connection.set_session(kept)
            connection.do_handshake()
            connection.send(framed(Kind.HELLO, Hello(nonce=b"n" * 32, asks=frozenset(), shows=frozenset()).encode()))
            assert connection.recv(1) == bytes([Kind.HELLO])
            assert b"resumed" not in connection.get_state_string()
            assert vars(SSL)["_lib"].SSL_session_reused(connection._ssl) == 0  # pyOpenSSL has no call for it
            kept = connection.get_session()
            connection.close()


# -- floods and garbage


def test_giant_frames_are_refused_by_their_headers() -> None:
    stages: list[tuple[bytes, Kind]] = [(b"", Kind.HELLO), (b"hello", Kind.EVIDENCE), (b"hello", Kind.TOKEN)]
    with listening() as served:
        for number, (first, kind) in enumerate(stages, 1):
            with raw(served) as client:
                client.shake()
                if first:
                    client.hello()
                client.say(header(kind, (1 << 24) - 1))
                assert (
                    f"a frame {kind.name.lower()} of 16777215 bytes, expected at most {MAX_BYTES[kind]}"
                    in served.why(number)
                )
        works(served)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (ACCEPTED, "verdict before hello"),
        (framed(Kind.DATA, b"x"), "data before both sides have agreed"),
        (framed(Kind.FINISH, b""), "finish before both sides have agreed"),
        (framed(Kind.EVIDENCE, b"x"), "evidence before hello"),
        (framed(Kind.ERROR, b"x"), "error: not deterministic CBOR"),
        (bytes([99, 0, 0, 1, 0]), "a frame of type 99"),
    ],
)
def test_frames_before_hello_are_refused(frames: bytes, said: str) -> None:
    with listening() as served, raw(served) as client:
        client.shake().say(frames)
        assert said in served.why()


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (framed(Kind.HELLO, Hello(nonce=b"m" * 32, asks=frozenset(), shows=frozenset()).encode()), "a second hello"),
        (framed(Kind.DATA, b"x"), "data before both sides have agreed"),
        (framed(Kind.EVIDENCE, b"x"), "evidence that nobody asked for"),
        (framed(Kind.TOKEN, b"x"), "a token that nobody asked for"),
        (framed(Kind.CHALLENGE, encode({1: bytes(32)})), "a challenge before its time"),
        (ACCEPTED + ACCEPTED, "a verdict that nobody asked for"),
        (ACCEPTED + framed(Kind.FINISH, b"") + framed(Kind.DATA, b"x"), "data after finish"),
        (ACCEPTED + framed(Kind.FINISH, b"") * 2, "finish before both sides have agreed, or again"),
        (framed(Kind.VERDICT, Verdict(accepted=False, reason="no").encode()), "refuses this one: no"),
    ],
)
def test_frames_out_of_order_are_refused(frames: bytes, said: str) -> None:
    with listening() as served, raw(served) as client:
        client.shake().hello(asks=(Proof.EVIDENCE,))
        client.say(frames)
        assert said in served.why()


def test_evidence_in_another_wrapper_is_refused() -> None:
    mutual = server_terms(appraises=appraises_by(policy_for(), clock=clock))
    for number, (body, said) in enumerate(
        [
            (b"[]", "evidence: not a CBOR record"),
            (b"\x83\x00\x00\x00", "evidence: a wrapper without the media type"),
            (wrapped_cwt(b"nothing"), "got 7 bytes that begin 6e6f7468696e67, expected one of"),
        ],
        1,
    ):
        with listening(mutual) as served, raw(served) as client:
            client.shake().hello(shows=(Proof.EVIDENCE,))
            client.say(framed(Kind.EVIDENCE, body))
            assert said in served.why(), number


@given(garbage=st.binary(min_size=1, max_size=400), stage=st.integers(0, 3))
@settings(max_examples=int(os.environ.get("BELLJAR_GARBAGE", "25")), suppress_health_check=[HealthCheck.too_slow])
def test_garbage_at_every_stage(garbage: bytes, stage: int) -> None:
    """Whatever comes ends this client's connection, or waits for more; never the listener."""
    with listening(server_terms(limits=Limits(handshake_s=0.5))) as served:
        with raw(served) as client:
            if stage == 0:
                client.socket.sendall(garbage)
            else:
                client.shake()
                if stage > 1:
                    client.hello()
                client.say((ACCEPTED if stage == 3 else b"") + garbage)
            client.socket.shutdown(socket.SHUT_WR)
            client.socket.settimeout(5)
            while client.socket.recv(1 << 16):
                pass
        served.why()
        works(served)


def test_who_stalls_is_let_go_and_stops_nobody() -> None:
    with listening(server_terms(limits=Limits(handshake_s=1.0))) as served:
        silent = [socket.create_connection(served.address, 20) for _ in range(4)]
        silent[1].sendall(b"\x16\x03\x01")
        started = time.monotonic()
        works(served)
        assert time.monotonic() - started < 30  # it did not wait for them; how fast is no matter of a test
        assert "has not proved itself in time" in served.why(4)
        for connection in silent:
            connection.settimeout(20)
            assert connection.recv(4096) == b""
            connection.close()
    with listening(server_terms(limits=Limits(handshake_s=0.5))) as served, raw(served) as client:
        client.shake()
        assert "has not proved itself in time" in served.why()


def test_a_client_does_not_wait_for_a_silent_server() -> None:
    said, hasty = "has not proved itself in time", client_terms(limits=Limits(handshake_s=0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ChannelRefused, match=said):
        connect(silent.getsockname()[:2], terms=hasty)


def test_half_open_connections_do_not_keep_others_out() -> None:
    with listening(waiting=HALF_OPEN // 2) as served:
        knocking = [socket.create_connection(served.address, 20) for _ in range(HALF_OPEN)]
        works(served)
        assert "too many are waiting, and this one the longest" in served.why(HALF_OPEN - HALF_OPEN // 2)
        for connection in knocking:
            connection.close()
        works(served)


def test_so_many_channels_and_no_more() -> None:
    with listening(channels=1) as served:
        with connect(served.address, terms=client_terms()) as channel:
            channel.sendall(b"first")
            assert channel.recv(10) == b"first"
            second = connect(served.address, terms=client_terms())
            with pytest.raises(ChannelRefused, match="gives up: too-many"):
                second.recv(1)
            second.close()
            assert "too many channels are open" in served.why()
        endpoint = Endpoint(Role.CLIENT, client_terms())
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with connect(served.address, endpoint=endpoint) as channel:
                try:
                    channel.sendall(b"x")
                    if channel.recv(1) == b"x":
                        break
                except ChannelRefused:
                    time.sleep(0.05)
        else:
            pytest.fail("its place was not given to another")


def test_a_flipped_bit_on_the_way_ends_the_channel() -> None:
    from support.channels import opened

    client, server = opened()
    client.write(b"pay 1")
    record = bytearray(client.to_send())
    record[-1] ^= 1
    with pytest.raises(ChannelRefused, match=r"the TLS session broke: .*bad record mac"):
        server.receive(bytes(record))
    with pytest.raises(ChannelRefused):
        server.read()

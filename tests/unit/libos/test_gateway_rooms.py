"""The rooms of the gateway, one by one: headers, names, server names, addresses, lines; hostile input at each."""

from __future__ import annotations

import os
import select
import ssl
import struct

import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.pseudo import PseudoFolder
from belljar.libos.gateway.addresses import Address, address, shown
from belljar.libos.gateway.codecs import Plain
from belljar.libos.gateway.hello import MAX_HELLO_BYTES, Hello
from belljar.libos.gateway.journal import Counts, Journal
from belljar.libos.gateway.names import Names
from belljar.libos.gateway.peers import Peers
from belljar.libos.gateway.proxy import MAX_BYTES, header
from belljar.libos.gateway.resolving import is_public
from belljar.libos.gateway.served import NotServed

GOLDEN = (
    "0d0a0d0a000d0a515549540a" "21" "11" "0011" "cb007107" "c6336409" "d431" "20fb" "e0" "0002" "7b7d"
)  # fmt: skip
GOLDEN_V6 = "0d0a0d0a000d0a515549540a21210024" + "20010db8" + "00" * 11 + "01" + "00" * 15 + "01" + "d431" + "20fb"


def test_the_header_of_the_proxy_protocol_byte_for_byte() -> None:
    assert header(("203.0.113.7", 54321), ("198.51.100.9", 8443), b"{}").hex() == GOLDEN
    assert header(("2001:db8::1", 54321, 0, 0), ("::1", 8443, 0, 0), b"").hex() == GOLDEN_V6
    assert header("", "", b"").hex() == "0d0a0d0a000d0a515549540a21000000"


@settings(max_examples=30)
@given(st.binary(max_size=9000))
def test_a_header_is_never_longer_than_others_read(peer: bytes) -> None:
    made = header(("203.0.113.7", 1), ("198.51.100.9", 2), peer)
    assert len(made) <= MAX_BYTES
    assert struct.unpack(">H", made[14:16])[0] == len(made) - 16


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("1.1.1.1", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("0.0.0.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("nonsense", False), ("192.168.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_of_the_public_internet(text: str, *, public: bool) -> None:
    assert is_public(text) is public


def client_hello(name: str | None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


@settings(max_examples=30)
@given(st.integers(min_value=1, max_value=300))
def test_a_server_name_is_read_however_it_is_cut(piece: int) -> None:
    hello, content, found = Hello(), client_hello("api.example.com"), None
    for start in range(0, len(content), piece):
        assert found is None
        found = hello.receive(content[start : start + piece])
    assert found == "api.example.com"


def test_a_client_hello_without_a_name_is_refused() -> None:
    with pytest.raises(NotServed, match="names no server"):
        Hello().receive(client_hello(None))


@settings(max_examples=30)
@given(st.binary(min_size=6, max_size=2000))
def test_what_is_no_client_hello_names_nothing(content: bytes) -> None:
    try:
        found = Hello().receive(content)
    except NotServed:
        return
    assert found is None


def test_a_client_hello_without_end_is_refused() -> None:
    hello = Hello()

    def pour() -> None:
        for _ in range(MAX_HELLO_BYTES // 1000 + 2):
            hello.receive(b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(991))

    with pytest.raises(NotServed, match=r"no end of a ClientHello|expected a ClientHello"):
        pour()


@pytest.fixture
def names() -> Names:
    return Names({"api.example.com": "127.0.1.1"}, Counts(), Journal(os.open(os.devnull, os.O_WRONLY)))


def asked(names: Names, name: str, kind: str = "A") -> dns.message.Message:
    question = dns.message.make_query(name, kind)
    answer = names.answer(question.to_wire())
    assert answer is not None
    found = dns.message.from_wire(answer)
    assert question.is_response(found)
    return found


def test_only_known_names_have_an_address(names: Names) -> None:
    assert asked(names, "API.example.com.").answer[0].to_text().endswith("IN A 127.0.1.1")
    assert asked(names, "api.example.com", "AAAA").rcode() == dns.rcode.NOERROR
    assert not asked(names, "api.example.com", "AAAA").answer
    for other in ("example.com", "x.api.example.com", "localhost", "."):
        assert asked(names, other).rcode() == dns.rcode.NXDOMAIN


@settings(max_examples=30)
@given(st.binary(max_size=600))
def test_nonsense_is_answered_by_nothing_or_a_refusal(content: bytes) -> None:
    names = Names({}, Counts(), Journal(os.open(os.devnull, os.O_WRONLY)))
    answer = names.answer(content)
    assert answer is None or dns.message.from_wire(answer).rcode() in (dns.rcode.NXDOMAIN, dns.rcode.NOTIMP)


def test_an_answer_is_no_question(names: Names) -> None:
    answer = names.answer(dns.message.make_query("api.example.com", "A").to_wire())
    assert answer is not None
    assert names.answer(answer) is None


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:443", "db.example:5432", "unix:/run/x.sock"])
def test_addresses_are_written_as_they_are_read(text: str) -> None:
    assert str(address(text)) == text


def test_peers_without_a_port_are_local() -> None:
    assert shown("") == "a local socket"
    assert shown(("::1", 5, 0, 0)) == "[::1]:5"
    assert Address(path="/x") == address("unix:/x")


def test_a_flood_of_lines_is_cut_and_counted() -> None:
    reader, writer = os.pipe()
    now = [0.0]
    journal = Journal(writer, lambda: now[0])
    for number in range(100):
        journal.say(f"line {number}\x1b[31m")
    now[0] = 61.0
    journal.say("later")
    journal.close()
    os.close(writer)
    with os.fdopen(reader) as lines:
        said = lines.read().splitlines()
    assert len(said) == 32
    assert said[0] == "belljar: gateway: line 0\\x1b[31m"
    assert said[-2:] == ["belljar: gateway: 70 more lines of the gateway were not written", "belljar: gateway: later"]


def test_a_peer_is_shown_as_long_as_its_connection() -> None:
    folder = PseudoFolder({})
    peers = Peers(folder)
    one, another = bytes(bytearray(b"one")), bytes(bytearray(b"one"))
    peers.come(4000, one)
    first = folder.children["4000.json"]
    assert first.load is not None  # type: ignore[union-attr] # a file
    assert first.load(1) == b"one"  # type: ignore[union-attr] # as above
    peers.go(4000, one)
    peers.go(4000, one)
    assert folder.children == {}
    peers.come(4000, another)
    peers.go(4000, one)  # late: the port has been taken again
    assert folder.children["4000.json"] is first
    Peers(None).come(1, b"")


def test_nothing_in_between_changes_nothing() -> None:
    codec = Plain()
    codec.write(b"out")
    codec.receive(b"i")
    codec.receive(b"n")
    assert (codec.to_send(), codec.read(), codec.to_send(), codec.has_ended) == (b"out", b"in", b"", False)
    codec.receive_end()
    assert codec.has_ended


def test_a_reader_that_does_not_read_holds_nobody() -> None:
    reader, writer = os.pipe()
    while select.select([], [writer], [], 0)[1]:
        os.write(writer, bytes(4096))
    journal = Journal(writer)
    for number in range(10):
        journal.say(f"nobody hears line {number}")
    journal.close()
    os.close(reader)  # the writing thread wakes, and ends
    os.close(writer)

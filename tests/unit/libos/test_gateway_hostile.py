"""Servers of the Internet and programs inside that keep the gateway waiting, spinning or full; without an enclave."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path

import dns.message
from OpenSSL import SSL

from belljar.libos.gateway.bridge import PIECE, Bridge
from belljar.libos.gateway.codecs import Plain, Tls, tls_context
from belljar.libos.gateway.doors import Visit
from belljar.libos.gateway.journal import Counts, Journal
from belljar.libos.gateway.names import Names
from support.channels import issued


class Server:
    """A server of the Internet with TLS, in memory."""

    def __init__(self, folder: Path, *, newest: int = SSL.TLS1_3_VERSION) -> None:
        authority = issued("an authority")
        own = issued("api.example.com", authority)
        (folder / "key.pem").write_bytes(own.key)
        (folder / "certificate.pem").write_bytes(own.certificate)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(newest)
        context.use_privatekey_file(str(folder / "key.pem"))
        context.use_certificate_file(str(folder / "certificate.pem"))
        self.tls = SSL.Connection(context, None)
        self.tls.set_accept_state()
        trusted = tls_context(authority.certificate.decode())
        trusted.check_hostname = False
        self.codec = Tls(trusted, "api.example.com")
        while not self.codec.is_open:
            self.take()
            self.give()
        self.take()

    def take(self) -> None:
        """Take what the codec sends."""
        if sent := self.codec.to_send():
            self.tls.bio_write(sent)
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            pass

    def give(self) -> None:
        """Give it what the server sends."""
        try:
            self.codec.receive(self.tls.bio_read(1 << 20))
        except SSL.WantReadError:
            pass


def test_a_server_that_shakes_hands_again_does_not_stop_the_gateway(tmp_path: Path) -> None:
    server = Server(tmp_path, newest=SSL.TLS1_2_VERSION)
    server.tls.renegotiate()
    try:
        server.tls.do_handshake()
    except SSL.Error:
        pass
    server.give()
    server.codec.write(b"this must not spin")
    assert len(server.codec.to_send()) > len(b"this must not spin")


def test_what_a_server_sends_after_the_end_of_tls_is_not_kept(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.tls.send(b"all of it")
    server.tls.shutdown()
    server.give()
    assert server.codec.has_ended
    for _ in range(10):
        server.codec.receive(bytes(PIECE))
    assert server.codec._incoming.pending == 0
    assert server.codec.read() == b"all of it"


class Talkative(Plain):
    """What a peer that asks and asks makes of a codec: it has ever more to send."""

    def receive(self, octets: bytes) -> None:
        """Answer a question of one byte with a lot."""
        self._outward.append(bytes(len(octets) * 1000))


def test_who_asks_for_more_than_it_reads_has_to_go() -> None:
    async def lead() -> str:
        asking, outside = socket.socketpair()
        loop = asyncio.get_running_loop()
        with asking:
            asking.setblocking(False)
            outside.setblocking(False)
            bridge = Bridge(Talkative(), Counts(), (memoryview(bytearray(PIECE)), None))  # type: ignore[arg-type] # no work
            await bridge.attach_far(outside)
            near, guest = socket.socketpair()
            guest.setblocking(False)
            await bridge.attach_near(guest)
            with near:
                for _ in range(100):
                    if bridge.done.done():
                        break
                    await loop.sock_sendall(asking, bytes(100))
                    await asyncio.sleep(0)
                bridge.abort("")
                return await bridge.done

    assert asyncio.run(lead()) == "the other side does not read what it asks for"


def test_a_program_that_reads_no_answers_about_names_keeps_no_connection() -> None:
    async def ask() -> None:
        loop = asyncio.get_running_loop()
        silent = os.open(os.devnull, os.O_WRONLY)
        names = Names({}, Counts(), Journal(silent), patience_s=0.3)
        asking, answering = socket.socketpair()
        with asking:
            asking.setblocking(False)
            answering.setblocking(False)
            question = dns.message.make_query("x.example.com", "A").to_wire()
            serving = asyncio.ensure_future(names.serve_stream(Visit(answering, "the program")))
            try:
                while True:
                    await loop.sock_sendall(asking, (len(question).to_bytes(2, "big") + question) * 1000)
            except OSError:  # it is cut
                pass
            await serving
            await asyncio.sleep(0.05)
            assert answering.fileno() == -1
        os.close(silent)

    asyncio.run(ask())


def test_nothing_that_a_program_sends_as_a_question_escapes() -> None:
    names = Names({}, Counts(), Journal(-1))
    good = bytearray(dns.message.make_query("api.example.com", "A", use_edns=0, payload=512).to_wire())
    for place in range(len(good)):
        for value in (0, 1, 0x3F, 0x40, 0x80, 0xC0, 0xFF, good[place] ^ 0x10):
            changed = good.copy()
            changed[place] = value
            names.answer(bytes(changed))
            names.answer(bytes(changed[:place]))


def test_a_context_for_the_internet_validates() -> None:
    context = tls_context("")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.options & ssl.OP_NO_RENEGOTIATION

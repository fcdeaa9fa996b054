"""Peers that know nothing but TLS: the gateway shows, and takes, evidence in certificates where a manifest says so."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.attesting import quoter
from belljar.attestation.channel import (
    Channel,
    ChannelRefused,
    Endpoint,
    RatlsEndpoint,
    Role,
    Terms,
    connect,
    make_identity,
)
from belljar.attestation.errors import RootCannot
from support.channels import ROOT, SERVER
from support.gateways import Enclave, Written, certificate_policy_of, measured, with_platform
from support.roots import NOW
from support.running import Belljar

ANYONE = 'listen: [{outside: "127.0.0.1:0", guest: 8080, anyone: true, insecure_ra_tls: true}]'
HTTP = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"inside")

HTTPServer(("127.0.0.1", 8080), Answer).serve_forever()
"""


def shown(enclave: Enclave) -> bytes:
    """Return the certificate that a client of the standard library sees, once it was answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", enclave.port()), 20) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.sendall(b"hello")
        assert tls.recv(100) == b"hello"
        assert tls.version() == "TLSv1.3"
        certificate = tls.getpeercert(binary_form=True) or b""
        tls.unwrap()
        return certificate


def test_a_plain_client_is_served_and_sees_evidence(belljar: Belljar) -> None:
    with_platform(belljar)
    with Written(belljar, "echo", network=ANYONE).write().running() as enclave:
        certificate = shown(enclave)
        assert shown(enclave) == certificate  # made once, for many connections
        who = measured(belljar, "echo")
        path = belljar.folder / "seen.pem"
        path.write_bytes(x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM))
        for name, measurement, code in (("right", who, 0), ("wrong", "ab" * 32, 1)):
            (belljar.folder / name).write_text(certificate_policy_of(belljar, measurement))
            found = belljar("verify-evidence", "seen.pem", "--policy", name, "--json", check=code)
            assert json.loads(found.stdout)["claims"]["measurement"] == who
        told = json.loads(belljar("verify-evidence", "seen.pem", "--json", check=4).stdout)
        assert told["claims"]["format"] == "ra-tls-belljar-quote-v3"
    assert enclave.said == ""


def test_our_own_clients_take_the_right_enclave(belljar: Belljar) -> None:
    with_platform(belljar)
    with Written(belljar, "web", program=HTTP, network=ANYONE).write().running() as enclave:
        (belljar.folder / "right").write_text(certificate_policy_of(belljar, measured(belljar, "web")))
        (belljar.folder / "wrong").write_text(certificate_policy_of(belljar, "ab" * 32))
        assert fetched(belljar, enclave, "right", "--insecure-ra-tls") == (b"inside", "")
        answer, said = fetched(belljar, enclave, "wrong", "--insecure-ra-tls")
        assert (answer, "the other side's certificate" in said, "code" in said) == (b"", True, True)
        (belljar.folder / "plain").write_text(enclave.policy())
        answer, said = fetched(belljar, enclave, "plain")
        assert (answer, "does not speak belljar/1" in said) == (b"", True)


def fetched(belljar: Belljar, enclave: Enclave, policy: str, *words: str) -> tuple[bytes, str]:
    """Return what an HTTP client gets through `belljar connect`, and what that says."""
    process = belljar.start("connect", f"127.0.0.1:{enclave.port()}", "--policy", policy, "--once", *words)
    assert process.stdout is not None
    local = process.stdout.readline().split()[2].rpartition(":")
    content = b""
    try:
        with socket.create_connection((local[0], int(local[2])), 20) as near:
            near.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while part := near.recv(4096):
                content += part
    except ConnectionError:  # refused: reset
        pass
    return content.rpartition(b"\r\n\r\n")[2], process.communicate(timeout=30)[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reaches_it(belljar: Belljar) -> None:
    with_platform(belljar)
    with Written(belljar, "web", program=HTTP, network=ANYONE).write().running() as enclave:
        got = subprocess.run(
            ["curl", "-sk", f"https://127.0.0.1:{enclave.port()}/"], capture_output=True, timeout=30, check=False
        )
        assert got.stdout == b"inside"


ASK = """
import socket

found = socket.create_connection(("database", 5432))
found.sendall(b"hello")
found.shutdown(socket.SHUT_WR)
print(found.recv(100).decode())
"""


@pytest.mark.parametrize("is_right", [True, False])
def test_two_enclaves_take_each_others_certificates(belljar: Belljar, is_right: bool) -> None:  # noqa: FBT001 - a parameter
    with_platform(belljar)
    web = Written(belljar, "web", program=ASK)
    policy = certificate_policy_of(belljar)
    (belljar.folder / "any.policy").write_text(policy)
    network = 'listen: [{outside: "unix:in.sock", guest: 8080, policy: any.policy, insecure_ra_tls: true}]'
    with Written(belljar, "database", network=network).write().running() as database:
        who = measured(belljar, "database") if is_right else "ab" * 32
        (belljar.folder / "database.policy").write_text(certificate_policy_of(belljar, who))
        places = 'guest: "database:5432", outside: "unix:in.sock"'
        web.network = f"connect: [{{{places}, policy: database.policy, insecure_ra_tls: true}}]"
        done = web.write().run(check=None)
        assert (done.stdout == "hello\n") is is_right
        assert ("the other side's certificate: evidence refused by the policy: code" in done.stderr) is not is_right
        stats = database.stats()
        assert (stats["served"], stats["refused"]) in (((1, 0),) if is_right else ((0, 1), (1, 0)))


def echoed(channel: Channel) -> bytes:
    """Return what comes back; nothing where it was refused."""
    try:
        channel.sendall(b"x")
        return channel.recv(1)
    except (OSError, ChannelRefused):
        return b""


def test_a_client_without_evidence_is_refused_where_a_policy_asks_for_it(belljar: Belljar) -> None:
    with_platform(belljar)
    (belljar.folder / "p.policy").write_text(certificate_policy_of(belljar, "ab" * 32))
    network = 'listen: [{outside: "127.0.0.1:0", guest: 8080, policy: p.policy, insecure_ra_tls: true}]'
    with Written(belljar, "echo", network=network).write().running() as enclave:
        with pytest.raises((OSError, AssertionError)):
            shown(enclave)
        terms = Terms(insecure_ra_tls=True, insecure_unattested=True)
        nobody = Endpoint(Role.CLIENT, terms, make_identity(int(time.time())))
        with connect(("127.0.0.1", enclave.port()), endpoint=nobody) as channel:
            assert echoed(channel) == b""
        assert enclave.stats()["served"] == 0
    assert "the other side has shown no certificate" in enclave.said
    assert "got no extension 2.23.133.5.4.9" in enclave.said


def test_a_certificate_is_made_when_it_is_needed_and_again_before_it_ends() -> None:
    now, asked = [float(NOW)], []
    maker = quoter(ROOT, SERVER, NOW)

    def quote(content: bytes) -> bytes:
        asked.append(content)
        return maker.quote(content)

    endpoint = RatlsEndpoint(
        Role.SERVER, Terms(insecure_ra_tls=True, insecure_unattested=True), quote, clock=lambda: now[0]
    )
    with pytest.raises(ChannelRefused, match="no certificate with evidence yet"):
        endpoint.session(0.0)
    for _ in range(3):
        assert endpoint.is_due is (len(asked) == 0)
        endpoint.renew()
        endpoint.session(0.0)
    assert len(asked) == 1
    now[0] += 24 * 3600
    assert endpoint.is_due
    endpoint.renew()
    assert len(asked) == 2


def test_a_server_without_evidence_serves_nobody() -> None:
    def none(_: bytes) -> bytes:
        raise RootCannot("tsm certifies no keys")

    for role in Role:
        terms = Terms(insecure_ra_tls=True, insecure_unattested=True)
        endpoint = RatlsEndpoint(role, terms, none)
        if role is Role.SERVER:
            with pytest.raises(ChannelRefused, match="no certificate with evidence can be made: tsm certifies no keys"):
                endpoint.renew()
        else:
            endpoint.renew()  # and shows a certificate that says nothing
            endpoint.session(0.0)

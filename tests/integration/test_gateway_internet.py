"""One named server of the Internet and nothing else: TLS of the program's own, or TLS that the gateway ends (7.1 c)."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from support.gateways import Written
from support.running import Belljar

NAME = "api.example.com"
CALL = """
import socket, ssl, sys

mode, name, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    found = socket.create_connection((name, port), 10)
    if mode == "tls":
        context = ssl.create_default_context(cafile="/app/ca.pem")
        found = context.wrap_socket(found, server_hostname=sys.argv[4])
    found.sendall(b"GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
    answer = b""
    while content := found.recv(65536):
        answer += content
    print(answer.partition(b"\\r\\n\\r\\n")[2].decode() or "nothing")
except OSError as error:
    print(type(error).__name__)
"""


@dataclass
class Server:
    """A TLS server on this machine, and the name that belljar's resolver finds it under.

    Attributes:
        port: of 127.0.0.1.
        authority: its certificate, PEM.
    """

    port: int
    authority: str


def certificate(folder: Path, name: str) -> tuple[Path, str]:
    """Return a file with a key and a certificate for a name, which signed itself, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    path = folder / f"{name}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    return path, pem.decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    path, authority = certificate(tmp_path, NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as found:
                    found.recv(65536)
                    found.sendall(b"HTTP/1.0 200 OK\r\n\r\nfrom the Internet")
                    found.unwrap()
            except OSError:
                if listener.fileno() < 0:
                    return

    threading.Thread(target=serve, daemon=True).start()
    yield Server(listener.getsockname()[1], authority)
    listener.close()


@pytest.fixture
def resolving(belljar: Belljar, tmp_path: Path) -> Belljar:
    """Belljar on a machine where the name leads to 127.0.0.1."""
    if os.geteuid() != 0:
        pytest.skip("only root can show belljar another /etc/hosts")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {NAME}\n")
    script = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    belljar.prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    return belljar


def called(belljar: Belljar, server: Server, entry: str, *arguments: str) -> tuple[str, str]:
    """Run a program that calls the server; return what it printed and what the gateway said."""
    written = Written(belljar, "caller", program=CALL, arguments=[*arguments])
    written.network = f"internet: [{{name: {NAME}, port: {server.port}, {entry}}}]"
    folder = belljar.folder / "caller-app"
    folder.mkdir()
    (folder / "ca.pem").write_text(server.authority)
    (belljar.folder / "ca.pem").write_text(server.authority)
    done = written.write().run()
    return done.stdout.strip(), done.stderr


def test_the_programs_own_tls_passes_to_the_named_server(resolving: Belljar, server: Server) -> None:
    words = ("tls", NAME, str(server.port), NAME)
    assert called(resolving, server, "insecure_private: true", *words) == ("from the Internet", "")


def test_another_server_name_is_refused_before_anything_is_sent(resolving: Belljar, server: Server) -> None:
    words = ("tls", NAME, str(server.port), "evil.example.com")
    out, said = called(resolving, server, "insecure_private: true", *words)
    assert out in ("ConnectionResetError", "SSLEOFError", "SSLZeroReturnError")
    assert "the program wants the server evil.example.com, expected api.example.com" in said


def test_bytes_that_are_no_tls_are_refused(resolving: Belljar, server: Server) -> None:
    out, said = called(resolving, server, "insecure_private: true", "plain", NAME, str(server.port))
    assert out in ("ConnectionResetError", "nothing")
    assert "the program did not begin with TLS, expected a ClientHello" in said


def test_a_name_that_leads_into_this_machine_is_refused(resolving: Belljar, server: Server) -> None:
    out, said = called(resolving, server, "tls: program", "tls", NAME, str(server.port), NAME)
    assert out in ("ConnectionResetError", "SSLEOFError", "SSLZeroReturnError")
    assert "api.example.com is not at an address of the public Internet: 127.0.0.1" in said


GATEWAY = "tls: gateway, insecure_private: true"


def test_the_gateway_ends_tls_for_a_program_that_does_not(resolving: Belljar, server: Server) -> None:
    entry = f"{GATEWAY}, authorities: ca.pem"
    assert called(resolving, server, entry, "plain", NAME, "80") == ("from the Internet", "")


def test_a_certificate_that_nobody_trusts_is_refused(resolving: Belljar, server: Server) -> None:
    out, said = called(resolving, server, GATEWAY, "plain", NAME, "80")
    assert out in ("ConnectionResetError", "nothing")
    assert "the server's certificate: self-signed certificate" in said


def test_a_certificate_for_another_name_is_refused(resolving: Belljar, server: Server, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.1 other.example.com\n")
    written = Written(resolving, "caller", program=CALL, arguments=["plain", "other.example.com", "80"])
    (resolving.folder / "ca.pem").write_text(server.authority)
    written.network = f"internet: [{{name: other.example.com, port: {server.port}, {GATEWAY}, authorities: ca.pem}}]"
    done = written.write().run()
    assert done.stdout.strip() in ("ConnectionResetError", "nothing")
    assert "the server's certificate: Hostname mismatch" in done.stderr

"""More than there is room for, at asyncio's server of the library; and bytes that come before a handshake is over.

BELLJAR_HALF_OPEN is the number of connections that say nothing (by default 150).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from belljar.attestation.channel import (
    ChannelRefused,
    Endpoint,
    Limits,
    Role,
    create_server,
    make_identity,
    open_channel,
    serve,
)
from belljar.attestation.channels.frames import Kind, framed
from belljar.attestation.channels.messages import Hello
from support.channel_sockets import listening
from support.channels import client_terms, server_terms
from support.roots import NOW

HALF_OPEN = int(os.environ.get("BELLJAR_HALF_OPEN", "150"))
PATIENCE_S = 30
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ChannelRefused, OSError):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
    writer.close()


async def works(address: tuple[str, int], endpoint: Endpoint) -> Streams:
    """Hold that an honest client is served, and return its streams."""
    reader, writer = await open_channel(address, endpoint=endpoint)
    writer.write(b"still there?")
    assert await reader.readexactly(12) == b"still there?"
    return reader, writer


async def parted(server: asyncio.Server, streams: list[Streams]) -> None:
    """End everything, and wait until the other side has seen it."""
    for _, writer in streams:
        writer.close()
        with suppress(ChannelRefused, OSError):
            await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.3)


def test_half_open_connections_do_not_keep_others_out() -> None:
    refused: list[ChannelRefused] = []

    async def main() -> None:
        endpoint = Endpoint(Role.SERVER, server_terms(limits=Limits(handshake_s=60)))
        there = await serve(
            echo, ("127.0.0.1", 0), endpoint, refused=refused.append, waiting=HALF_OPEN // 2, channels=4
        )
        address, client = there.sockets[0].getsockname()[:2], Endpoint(Role.CLIENT, client_terms())
        knocking = [await asyncio.open_connection(*address) for _ in range(HALF_OPEN)]
        honest = await works(address, client)
        assert [error.code for error in refused] == ["too-many"] * (HALF_OPEN - HALF_OPEN // 2 + 1)
        assert await asyncio.wait_for(knocking[0][0].read(), PATIENCE_S) == b""  # who came first has gone first
        await parted(there, [*knocking, honest, await works(address, client)])

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_so_many_channels_and_no_more() -> None:
    refused: list[ChannelRefused] = []
    made: list[asyncio.Protocol] = []

    class Silent(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002 - asyncio's name
            made.append(self)

    async def main() -> None:
        there = await create_server(
            Silent, ("127.0.0.1", 0), Endpoint(Role.SERVER, server_terms()), refused=refused.append, channels=2
        )
        address, client = there.sockets[0].getsockname()[:2], Endpoint(Role.CLIENT, client_terms())
        held = [await open_channel(address, endpoint=client) for _ in range(2)]
        more: list[Streams] = []
        for _ in range(3):
            more.append(await open_channel(address, endpoint=client))
            with pytest.raises(ChannelRefused, match="gives up: too-many"):
                await more[-1][0].read(1)
        assert (len(made), [str(error) for error in refused]) == (2, ["too many channels are open"] * 3)
        held[0][1].close()
        while len(made) < 3:  # its place is given to another
            more.append(await open_channel(address, endpoint=client))
            await asyncio.sleep(0.05)
        await parted(there, [*held, *more])

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_a_server_without_places_is_a_mistake() -> None:
    endpoint = Endpoint(Role.SERVER, server_terms())
    for waiting, channels in ((0, 1), (1, 0)):
        said = f"places of a server: got {waiting} and {channels}, expected 1 or more of each"
        with pytest.raises(ChannelRefused, match=said):
            asyncio.run(serve(echo, ("127.0.0.1", 0), endpoint, waiting=waiting, channels=channels))


# -- early data


def openssl(*words: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *words], input=content, capture_output=True, timeout=PATIENCE_S, check=False)


def session_of_another(folder: Path, identity: list[str]) -> str:
    """Return a session that a server which takes early data gave to OpenSSL's client: one that makes it send some."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        place = f"127.0.0.1:{made.getsockname()[1]}"
    path = str(folder / "session.pem")
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", place, "-tls1_3", "-early_data", "-alpn", "belljar/1", "-quiet", *identity],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            words = ("s_client", "-connect", place, "-tls1_3", "-alpn", "belljar/1", "-sess_out", path, *identity)
            found = subprocess.Popen(
                ["openssl", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            with suppress(subprocess.TimeoutExpired):
                found.communicate(timeout=0.7)
            if Path(path).exists():
                return path
    finally:
        server.kill()
        server.communicate()
    raise AssertionError("no session")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_nothing_is_taken_early(tmp_path: Path) -> None:
    """A client that has a session with early data sends some with its ClientHello: it is thrown away, unread."""
    made = make_identity(NOW)
    (tmp_path / "cert.pem").write_bytes(made.chain[0].public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    identity = ["-cert", str(tmp_path / "cert.pem"), "-key", str(tmp_path / "key.pem")]
    session = session_of_another(tmp_path, identity)
    hello = Hello(nonce=b"n" * 32, asks=frozenset(), shows=frozenset())
    (tmp_path / "early").write_bytes(framed(Kind.HELLO, hello.encode()))
    with listening(server_terms(insecure_classical_group=True)) as served:
        words = ("-sess_in", session, "-early_data", str(tmp_path / "early"), "-alpn", "belljar/1", *identity)
        done = openssl("s_client", "-connect", f"127.0.0.1:{served.port}", "-tls1_3", *words, content=b"Q\n")
        assert b"Early data was rejected" in done.stdout
        assert b"New, TLSv1.3" in done.stdout  # and not resumed
        assert "the other side has gone" in served.why()

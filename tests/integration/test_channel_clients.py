"""Channels as people use them: sockets, files, asyncio's streams, httpx and requests, over a real listener."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import requests

from belljar.attestation.channel import (
    Channel,
    ChannelRefused,
    Endpoint,
    Limits,
    Role,
    appraises_by,
    connect,
    create_server,
    open_channel,
    serve,
)
from belljar.attestation.clients.httpx import AsyncChannelTransport, ChannelTransport
from belljar.attestation.clients.requests import ChannelAdapter
from support.channel_sockets import PATIENCE_S, Served, listening
from support.channels import CLIENT, SERVER, client_terms, clock, mutual, policy_for, server_terms

MIB = 1 << 20


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with listening() as made:
        yield made


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint(Role.CLIENT, client_terms())


def test_a_channel_is_used_as_a_socket_is(served: Served, endpoint: Endpoint) -> None:
    with connect(served.address, endpoint=endpoint) as channel:
        channel.settimeout(PATIENCE_S)
        assert channel.gettimeout() == PATIENCE_S
        assert channel.send(b"") == 0
        channel.sendall(bytearray(b"one two"))
        buffer = bytearray(3)
        assert channel.recv_into(buffer) == 3
        assert (bytes(buffer), channel.pending(), channel.recv(2), channel.recv(10)) == (b"one", 4, b" t", b"wo")
        channel.shutdown(socket.SHUT_WR)
        assert channel.recv(1) == b""
        with pytest.raises(ChannelRefused, match="this side has finished"):
            channel.sendall(b"x")


def test_a_channel_is_used_as_a_file_is(served: Served, endpoint: Endpoint) -> None:
    with connect(served.address, endpoint=endpoint) as channel:
        with channel.makefile("rwb") as file:
            file.write(b"a line\nand another\n")
            file.flush()
            assert file.readline() == b"a line\n"
            assert file.readline() == b"and another\n"
        with channel.makefile("w", encoding="utf-8") as text, channel.makefile("r", encoding="utf-8") as back:
            text.write("ü\n")
            text.flush()
            assert back.readline() == "ü\n"
        raw = channel.makefile("rb", 0)
        channel.sendall(b"bare")
        assert raw.read(4) == b"bare"


def receive_all(channel: Channel, found: bytearray) -> None:
    while part := channel.recv(MIB):
        found += part


def test_much_goes_both_ways_at_once(served: Served, endpoint: Endpoint) -> None:
    sent, found = bytes(range(256)) * 4096 * 8, bytearray()
    with connect(served.address, endpoint=endpoint) as channel:
        thread = threading.Thread(target=receive_all, args=(channel, found))
        thread.start()
        channel.sendall(sent)
        channel.shutdown()
        thread.join(60)
    assert bytes(found) == sent


def test_nothing_in_time(served: Served, endpoint: Endpoint) -> None:
    with connect(served.address, endpoint=endpoint) as channel:
        channel.settimeout(0.05)
        with pytest.raises(TimeoutError):
            channel.recv(1)
        channel.settimeout(PATIENCE_S)
        channel.sendall(b"later")
        assert channel.recv(10) == b"later"


def test_a_server_that_takes_nothing_more() -> None:
    hold = threading.Event()

    def deaf(_channel: Channel) -> None:
        hold.wait(PATIENCE_S)

    with listening(serve=deaf) as served, connect(served.address, terms=client_terms()) as channel:
        channel.settimeout(0.2)
        with pytest.raises(TimeoutError, match="the other side takes nothing"):
            channel.sendall(bytes(64 * MIB))
        with pytest.raises(ChannelRefused):
            channel.sendall(b"x")
        hold.set()


def test_attesting_anew_by_hand_and_by_the_clock() -> None:
    often = Limits(reattest_s=0.2)
    client, server = mutual()
    with listening(server) as served, connect(served.address, terms=client_terms(attests=client.attests)) as channel:
        first = channel.peer.appraisal
        assert channel.reattest().appraisal is not first
    with listening(server_terms(limits=often)) as served:
        terms = client_terms(limits=often)
        with connect(served.address, terms=terms) as channel:
            first = channel.peer.appraisal
            until = time.monotonic() + PATIENCE_S
            while channel.peer.appraisal is first and time.monotonic() < until:
                channel.sendall(b"x")
                assert channel.recv(1) == b"x"
            assert channel.peer.appraisal is not first


def test_a_broken_channel_is_told_from_a_finished_one() -> None:
    def half(channel: Channel) -> None:
        channel.sendall(b"half of")
        channel.abort()

    with listening(serve=half) as served, connect(served.address, terms=client_terms()) as channel:
        found = channel.makefile("rb")
        with pytest.raises(ChannelRefused, match="the other side gives up: given-up"):
            found.read()


def test_streams_of_asyncio() -> None:
    client, server = mutual()
    refused: list[ChannelRefused] = []

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.get_extra_info("peer").claims.measurement == CLIENT.measurement
        while content := await reader.read(MIB):
            writer.write(content)
            await writer.drain()
        writer.close()

    async def main() -> None:
        there = await serve(back, ("127.0.0.1", 0), Endpoint(Role.SERVER, server), refused=refused.append)
        address = there.sockets[0].getsockname()[:2]
        reader, writer = await open_channel(address, terms=client)
        sent = bytes(range(256)) * 4096 * 3
        reading = asyncio.create_task(reader.read())
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        assert await reading == sent
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ChannelRefused, match="there is none here"):
            await open_channel(address, terms=client_terms())
        there.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert [error.code for error in refused] == ["needs-evidence"]


def test_asyncio_over_a_unix_socket_and_many_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")

    async def one(endpoint: Endpoint, number: int) -> bytes:
        reader, writer = await open_channel(path, endpoint=endpoint)
        writer.write(b"%d" % number)
        writer.write_eof()
        found = await reader.read()
        writer.close()
        return found

    there_are: set[asyncio.Protocol] = set()
    gone = asyncio.Event()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport
            there_are.add(self)

        def connection_lost(self, exc: Exception | None) -> None:
            assert exc is None
            there_are.remove(self)
            if not there_are:
                gone.set()

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main() -> list[bytes]:
        there = await create_server(Echo, path, Endpoint(Role.SERVER, server_terms()))
        endpoint = Endpoint(Role.CLIENT, client_terms())
        found = await asyncio.gather(*(one(endpoint, number) for number in range(30)))
        there.close()
        await gone.wait()
        return found

    assert asyncio.run(asyncio.wait_for(main(), 60)) == [b"%d" % number for number in range(30)]


def test_a_cut_stream_of_asyncio_is_no_end() -> None:
    def half(channel: Channel) -> None:
        channel.sendall(b"half of")
        channel.abort()

    async def main(address: tuple[str, int]) -> None:
        reader, writer = await open_channel(address, terms=client_terms())
        with pytest.raises(ChannelRefused, match="gives up"):
            await reader.read()
        writer.close()

    with listening(serve=half) as served:
        asyncio.run(asyncio.wait_for(main(served.address), 60))


# -- HTTP


def web(channel: Channel) -> None:
    """Answer requests with what was asked for, one after the other."""
    with channel.makefile("rb") as file:
        while line := file.readline():
            length = 0
            while (header := file.readline().strip()) not in ("", b""):
                name, _, value = bytes(header).partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = bytes(line).strip() + b" " + bytes(file.read(length))
            channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_httpx() -> None:
    with listening(serve=web) as served, httpx.Client(transport=ChannelTransport(terms=client_terms())) as client:
        url = f"http://127.0.0.1:{served.port}"
        assert client.get(f"{url}/a").content == b"GET /a HTTP/1.1 "
        assert client.post(f"{url}/b", content=b"x" * 100_000).content == b"POST /b HTTP/1.1 " + b"x" * 100_000
        with pytest.raises(httpx.UnsupportedProtocol, match="the channel is the TLS"):
            client.get(f"https://127.0.0.1:{served.port}/")
        with pytest.raises(httpx.ConnectError):
            client.get("http://127.0.0.1:1/")
    other = client_terms(appraises=appraises_by(policy_for(CLIENT), clock=clock))
    with listening(serve=web) as served, httpx.Client(transport=ChannelTransport(terms=other)) as client:
        with pytest.raises(httpx.ConnectError, match="evidence refused by the policy") as refused:
            client.get(f"http://127.0.0.1:{served.port}/")
        assert isinstance(refused.value.__cause__, ChannelRefused)
    with pytest.raises(ChannelRefused, match="nothing says what the server must be"):
        ChannelTransport()


def test_httpx_on_asyncio() -> None:
    async def main(port: int) -> None:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(transport=AsyncChannelTransport(terms=client_terms())) as client:
            found = await asyncio.gather(*(client.get(f"{url}/{number}") for number in range(8)))
            assert [one.content for one in found] == [b"GET /%d HTTP/1.1 " % number for number in range(8)]
            answer = await client.post(f"{url}/b", content=b"x" * 100_000)
            assert answer.content == b"POST /b HTTP/1.1 " + b"x" * 100_000
            peer = answer.extensions["network_stream"].get_extra_info("peer")
            assert peer.claims.measurement == SERVER.measurement
            async with client.stream("GET", f"{url}/c") as streamed:
                assert b"".join([part async for part in streamed.aiter_bytes(3)]) == b"GET /c HTTP/1.1 "
            with pytest.raises(httpx.UnsupportedProtocol, match="the channel is the TLS"):
                await client.get(f"https://127.0.0.1:{port}/")
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:1/")

    with listening(serve=web) as served:
        asyncio.run(asyncio.wait_for(main(served.port), 60))
    with pytest.raises(ChannelRefused, match="nothing says what the server must be"):
        AsyncChannelTransport()


def test_httpx_on_asyncio_is_refused_and_runs_out_of_time() -> None:
    async def refused(port: int) -> None:
        other = client_terms(appraises=appraises_by(policy_for(CLIENT), clock=clock))
        async with httpx.AsyncClient(transport=AsyncChannelTransport(terms=other)) as client:
            with pytest.raises(httpx.ConnectError, match="evidence refused by the policy") as caught:
                await client.get(f"http://127.0.0.1:{port}/")
            assert isinstance(caught.value.__cause__, ChannelRefused)

    async def late(port: int, silent: int) -> None:
        quick = client_terms(limits=Limits(handshake_s=0.3))
        async with httpx.AsyncClient(transport=AsyncChannelTransport(terms=quick), timeout=0.5) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"http://127.0.0.1:{port}/")
            with pytest.raises((httpx.ConnectTimeout, httpx.ConnectError), match="in time"):
                await client.get(f"http://127.0.0.1:{silent}/")

    with listening(serve=web) as served:
        asyncio.run(asyncio.wait_for(refused(served.port), 60))
    with listening(serve=lambda _: time.sleep(2)) as served, socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(asyncio.wait_for(late(served.port, silent.getsockname()[1]), 60))


def test_httpx_on_asyncio_begins_anew_where_a_kept_channel_has_ended() -> None:
    def once(channel: Channel) -> None:
        channel.recv(1 << 16)
        channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def main(port: int) -> None:
        async with httpx.AsyncClient(transport=AsyncChannelTransport(terms=client_terms())) as client:
            for _ in range(3):
                assert (await client.get(f"http://127.0.0.1:{port}/")).content == b"ok"
                await asyncio.sleep(0.2)  # the server ends the channel, and httpx finds out

    with listening(serve=once) as served:
        asyncio.run(asyncio.wait_for(main(served.port), 60))


def test_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")  # it would see everything, so it is not used
    with listening(serve=web) as served, requests.Session() as session:
        session.mount("http://", ChannelAdapter(terms=client_terms()))
        url = f"http://127.0.0.1:{served.port}"
        for _ in range(2):
            assert session.get(f"{url}/a", timeout=PATIENCE_S).content == b"GET /a HTTP/1.1 "
        assert session.post(f"{url}/b", data=b"x" * 9000).content == b"POST /b HTTP/1.1 " + b"x" * 9000
    other = client_terms(appraises=appraises_by(policy_for(CLIENT), clock=clock))
    with listening(serve=web) as served, requests.Session() as session:
        session.mount("http://", ChannelAdapter(terms=other))
        with pytest.raises(requests.ConnectionError, match="evidence refused by the policy"):
            session.get(f"http://127.0.0.1:{served.port}/")

"""A side that has opened a channel as it should, and then makes the other work or remember for nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from belljar.attestation.channel import (
    ChannelRefused,
    ChannelSession,
    Endpoint,
    Role,
    create_server,
    open_channel,
)
from belljar.attestation.channels.frames import Kind, framed
from belljar.attestation.channels.messages import Verdict, challenge
from support.channels import client_terms, exchange, mutual, opened, server_terms, sessions

ACCEPTED = framed(Kind.VERDICT, Verdict(accepted=True).encode())


def test_bytes_after_the_end_of_tls_are_not_kept() -> None:
    client, server = opened()
    client._engine.write(framed(Kind.FINISH, b""))
    client._engine.close()
    server.receive(client.to_send())
    assert server.at_end
    assert server.is_open
    with pytest.raises(ChannelRefused, match="bytes after the end of TLS"):
        server.receive(bytes(1 << 18))
    with pytest.raises(ChannelRefused, match="bytes after the end of TLS"):
        server.receive(bytes(1 << 18))


def test_evidence_is_made_once_for_each_verdict_on_it() -> None:
    server = Endpoint(Role.SERVER, mutual()[1]).session(0.0, inline=False)
    client = Endpoint(Role.CLIENT, mutual()[0]).session(0.0)
    while not (server.is_open and client.is_open):
        exchange(client, server)
        if (work := server.work) is not None:
            work.run()
            server.complete(work)
    for number in range(1000):
        client._engine.write(framed(Kind.CHALLENGE, challenge(number.to_bytes(32, "big"))) + ACCEPTED)
    with pytest.raises(ChannelRefused, match="a verdict that nobody asked for"):
        server.receive(client.to_send())
    assert len(server._exchange._works) == 1


def test_evidence_can_be_asked_for_again_after_a_verdict() -> None:
    client, server = opened(*mutual())
    for now in (1.0, 2.0):
        client.reattest(now)
        exchange(client, server)
        assert not client.is_attesting_anew


def _open() -> tuple[ChannelSession, ChannelSession]:
    return opened(*mutual())


def _refused() -> tuple[ChannelSession, ChannelSession]:
    both = sessions(*mutual())
    both[1].receive(both[0].to_send())
    with pytest.raises(ChannelRefused):
        both[1].receive(bytes(100))
    return both


def _resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_session_that_has_carried_much_does_not_keep_its_size() -> None:
    kept = [opened() for _ in range(20)]
    before = _resident_kib()
    for both in kept:
        for source, target in (both, both[::-1]):
            assert source.write(bytes(1 << 18)) == 1 << 18
            target.receive(source.to_send())
            assert len(target.read(1 << 20)) == 1 << 18
    assert _resident_kib() - before < 2 * len(kept) * 300  # KiB; OpenSSL kept 520 of what came and went at once


@pytest.mark.parametrize("make", [_open, _refused])
def test_a_session_is_gone_with_its_last_user(make: Callable[[], tuple[ChannelSession, ChannelSession]]) -> None:
    gc.collect()
    gc.disable()
    try:
        both = make()
        seen = [weakref.ref(one) for one in both]
        engines = [weakref.ref(one._engine) for one in both]
        del both
        assert [one() for one in seen] == [None, None]
        assert [one() for one in engines] == [None, None]
    finally:
        gc.enable()


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(data)


async def _carried(content: bytes) -> list[weakref.ref[ChannelSession]]:
    """Send something to and fro in one loop; return the sessions of both sides, as far as they are still there."""
    seen: list[weakref.ref[ChannelSession]] = []

    class Noted(Endpoint):
        def session(self, now: float, *, inline: bool = True) -> ChannelSession:
            made = super().session(now, inline=inline)
            seen.append(weakref.ref(made))
            return made

    server = await create_server(_Echo, ("127.0.0.1", 0), Noted(Role.SERVER, server_terms()))
    place = server.sockets[0].getsockname()[:2]
    reader, writer = await open_channel(place, endpoint=Noted(Role.CLIENT, client_terms()))
    writer.write(content)
    assert await reader.readexactly(len(content)) == content
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return seen


def test_a_channel_of_asyncio_is_gone_with_its_connection() -> None:
    async def both() -> list[ChannelSession | None]:
        seen = await _carried(bytes(100_000))
        for _ in range(200):
            if not any(one() for one in seen):
                break
            await asyncio.sleep(0.01)
        return [one() for one in seen]

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(both()) == [None, None]
    finally:
        gc.enable()

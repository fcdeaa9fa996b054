"""Bridges and what carries them, without an enclave: nothing of an ended connection stays, whoever ends it and how."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from belljar.attestation.channel import Endpoint, Role
from belljar.libos.gateway.bridge import PIECE, Bridge
from belljar.libos.gateway.channels import Channel
from belljar.libos.gateway.codecs import Codec, Plain
from belljar.libos.gateway.journal import Counts
from belljar.libos.gateway.served import NotServed
from support.channels import server_terms

CLIENT_HELLO = bytes.fromhex("16030100050100000100")  # one that never goes on


@pytest.fixture
def counted() -> Iterator[None]:
    """Have references counted and nothing collected: whatever is left is a cycle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Led:
    """A bridge between two pairs of sockets."""

    def __init__(self, codec: Codec) -> None:
        self.far, self._outside = socket.socketpair()
        self.near, self._guest = socket.socketpair()
        for end in (self._outside, self._guest, self.far, self.near):
            end.setblocking(False)
        self.threads = ThreadPoolExecutor(1)
        self.bridge = Bridge(codec, Counts(), (memoryview(bytearray(PIECE)), self.threads))

    async def open(self) -> None:
        await self.bridge.attach_far(self._outside)
        await self.bridge.until_open()
        await self.bridge.attach_near(self._guest)

    def close(self) -> None:
        self.threads.shutdown()
        for end in (self.far, self.near, self._guest):
            end.close()


async def _ended(led: Led) -> str:
    async with asyncio.timeout(20):
        why = await led.bridge.done
        await led.bridge.gone
    return why


def test_both_ways_end_one_by_one() -> None:
    async def lead() -> str:
        loop, led = asyncio.get_running_loop(), Led(Plain())
        await led.open()
        await loop.sock_sendall(led.far, b"question")
        assert await loop.sock_recv(led.near, 100) == b"question"
        led.far.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(led.near, 100) == b""
        await loop.sock_sendall(led.near, b"answer")
        led.near.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(led.far, 100) == b"answer"
        why = await _ended(led)
        led.close()
        return why

    assert asyncio.run(lead()) == ""


def _server() -> Codec:
    return Channel(Endpoint(Role.SERVER, server_terms()).session(asyncio.get_running_loop().time(), inline=False))


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("content", [b"nonsense", CLIENT_HELLO, b""])
@pytest.mark.parametrize("make", [_server, Plain])
def test_nothing_waits_for_the_collector(make: Callable[[], Codec], content: bytes) -> None:
    async def lead() -> weakref.ref[Codec]:
        codec = make()
        seen, led = weakref.ref(codec), Led(codec)
        del codec
        led.far.sendall(content)
        led.far.shutdown(socket.SHUT_WR)
        led.near.close()
        try:
            await led.open()
        except NotServed:
            pass
        await _ended(led)
        led.close()
        return seen

    async def run() -> bool:
        seen = await lead()
        await asyncio.sleep(0)
        return seen() is None

    assert asyncio.run(run())

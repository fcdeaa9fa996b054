"""Channels over real sockets: a listener in a thread, a client that breaks rules, a man in the middle."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from belljar.attestation.channel import (
    Channel,
    ChannelRefused,
    Endpoint,
    Identity,
    Listener,
    Role,
    Terms,
    make_identity,
)
from belljar.attestation.channels.frames import Frame, FrameReader, Kind, framed
from belljar.attestation.channels.messages import Hello, Proof
from belljar.attestation.channels.tls import TlsEngine, make_context

from .channels import server_terms
from .roots import NOW

PATIENCE_S = 20.0


@dataclass
class Served:
    """A listener on 127.0.0.1, and whom it refused and why."""

    port: int
    endpoint: Endpoint
    refused: list[ChannelRefused] = field(default_factory=list[ChannelRefused])

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def why(self, count: int = 1) -> str:
        """Wait until so many were refused, and return why the last one was."""
        until = time.monotonic() + PATIENCE_S
        while len(self.refused) < count and time.monotonic() < until:
            time.sleep(0.005)
        assert len(self.refused) >= count, f"{len(self.refused)} refused, expected {count}"
        return str(self.refused[count - 1])


def echo(channel: Channel) -> None:
    """Send back what comes."""
    while content := channel.recv(1 << 16):
        channel.sendall(content)


@contextmanager
def listening(
    terms: Terms | None = None,
    serve: Callable[[Channel], None] = echo,
    *,
    identity: Identity | None = None,
    waiting: int = 1024,
    channels: int = 256,
) -> Iterator[Served]:
    """Serve until the block ends."""
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    endpoint = Endpoint(Role.SERVER, terms or server_terms(), identity)
    served = Served(port=bound.getsockname()[1], endpoint=endpoint)
    listener = Listener(
        bound, endpoint, serve, refused=lambda _, error: served.refused.append(error),
        waiting=waiting, channels=channels,
    )  # fmt: skip
    thread = threading.Thread(target=listener.serve)
    thread.start()
    try:
        yield served
    finally:
        listener.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class RawClient:
    """A client that speaks TLS as it should, and inside of it whatever a test wants."""

    def __init__(self, address: tuple[str, int], identity: Identity | None = None) -> None:
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.identity = identity or make_identity(NOW)
        self.engine = TlsEngine(make_context(Role.CLIENT, self.identity, (), plain=False), Role.CLIENT)
        self._frames = FrameReader()
        self._waiting: list[Frame] = []

    def shake(self) -> RawClient:
        while not self.engine.shake():
            self.flush()
            self.engine.feed(self._received())
        self.flush()
        return self

    def flush(self) -> None:
        self.socket.sendall(self.engine.drain())

    def say(self, content: bytes) -> None:
        self.engine.write(content)
        self.flush()

    def hello(self, *, asks: tuple[Proof, ...] = (), shows: tuple[Proof, ...] = (), nonce: bytes = b"n" * 32) -> None:
        self.say(framed(Kind.HELLO, Hello(nonce=nonce, asks=frozenset(asks), shows=frozenset(shows)).encode()))

    def heard(self) -> Frame | None:
        """Return the next frame; None at the end."""
        while not self._waiting:
            content = self.engine.read()
            if content == b"":
                return None
            if content is not None:
                self._waiting += self._frames.feed(content)
                continue
            came = self._received()
            if not came:
                return None
            self.engine.feed(came)
        return self._waiting.pop(0)

    def _received(self) -> bytes:
        try:
            return self.socket.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.socket.close()


@contextmanager
def raw(served: Served) -> Iterator[RawClient]:
    client = RawClient(served.address)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def middle(upstream: tuple[str, int], identity: Identity | None = None) -> Iterator[tuple[tuple[str, int], bytearray]]:
    """Have a man in the middle: TLS of his own on both sides, and every byte inside carried on.

    Yields his address, and what he has read of what the client sent.
    """
    bound = socket.create_server(("127.0.0.1", 0))
    read = bytearray()
    stop = threading.Event()
    thread = threading.Thread(target=_carry, args=(bound, upstream, identity or make_identity(NOW), read, stop))
    thread.start()
    try:
        yield bound.getsockname()[:2], read
    finally:
        stop.set()
        bound.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def _carry(
    bound: socket.socket, upstream: tuple[str, int], identity: Identity, read: bytearray, stop: threading.Event
) -> None:
    bound.settimeout(0.05)
    while not stop.is_set():
        try:
            victim, _ = bound.accept()
        except OSError:
            continue
        with victim, socket.create_connection(upstream, PATIENCE_S) as server:
            near = TlsEngine(make_context(Role.SERVER, identity, (), plain=False), Role.SERVER)
            far = TlsEngine(make_context(Role.CLIENT, identity, (), plain=False), Role.CLIENT)
            try:
                _between((victim, near), (server, far), read, stop)
            except (ChannelRefused, OSError):
                pass


def _between(
    near: tuple[socket.socket, TlsEngine], far: tuple[socket.socket, TlsEngine], read: bytearray, stop: threading.Event
) -> None:
    ends = {near[0]: (near[1], far[1]), far[0]: (far[1], near[1])}
    shaken: set[TlsEngine] = set()
    far[1].shake()
    early: list[tuple[TlsEngine, bytes]] = []
    while not stop.is_set():
        for connection, (engine, _) in ends.items():
            connection.sendall(engine.drain())
        for connection in select.select(list(ends), [], [], 0.05)[0]:
            engine, other = ends[connection]
            came = connection.recv(1 << 16)
            if not came:
                return
            engine.feed(came)
            if engine not in shaken and engine.shake():
                shaken.add(engine)
            while engine in shaken and (content := engine.read()):
                if engine is near[1]:
                    read += content
                early.append((other, content))
        if len(shaken) == 2:
            for engine, content in early:
                engine.write(content)
            early.clear()

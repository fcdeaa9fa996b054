"""The gateway of one enclave: everything that leads in or out of its network, in a thread of the supervisor.

In come a specification, sockets inside and outside, and what makes the enclave's evidence; out go bytes that somebody
has the right to, lines for people, and numbers. One event loop serves all connections; keys of channels are made here
and stay in this process (IEEE 2952 5.2.2.2, 5.3.1). Whatever fails of one connection ends that one; if the loop itself
fails, the enclave is ended. Imported only where a manifest opens something.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from belljar.libos.errors import SandboxUnavailable
from belljar.libos.identity.presence import attests_here
from belljar.libos.plan.build import QUESTIONS, listening_places
from belljar.libos.spec import ATTESTED, Traffic
from belljar.libos.values import Value

from .addresses import listen_outside, shown
from .codecs import tls_context
from .doors import Door, fitting, left, remove_socket
from .giving import Sockets
from .journal import Counts, Journal
from .peers import Peers
from .ways import Around, InwardWay, OutwardWay, codec_maker

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.channel import Endpoint, RatlsEndpoint
    from belljar.fs.pseudo import PseudoFolder
    from belljar.libos.identity.attestor import Attestor
    from belljar.libos.spec import EnclaveSpec, Outward

_EVERY_S = 0.5
_DRAIN_S = 2.0
_QUESTIONS = Traffic(connections=64, idle_ms=10_000, handshake_ms=10_000)


class Means(Value):
    """What a gateway works with.

    Attributes:
        attestor: makes the enclave's evidence.
        peers: folder of the guest's files about who is connected; None if there is none.
        inside: listening sockets of the guest's network, in the order of `listening_places`; they become the gateway's.
        giver: line to who gives sockets; it becomes the gateway's; -1 if there is none.
        said: descriptor for lines about refused connections.
        on_failure: told when the gateway itself fails; any thread.
    """

    attestor: Attestor
    peers: PseudoFolder | None
    inside: tuple[int, ...]
    giver: int
    said: int
    on_failure: Callable[[BaseException], None]


class Gateway:
    """Leads connections in and out, until it is closed.

    Args:
        spec: of the enclave.
        means: what it works with.

    Raises:
        SandboxUnavailable: an address outside cannot be listened at, or a file of an entry cannot be used.
    """

    def __init__(self, spec: EnclaveSpec, means: Means) -> None:
        self._spec = spec
        self._means = means
        self.counts = Counts()
        self._journal = Journal(means.said)
        self._outside: list[socket.socket] = []
        self._inside = [socket.socket(fileno=descriptor) for descriptor in means.inside]
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._standing = threading.Event()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="belljar-evidence")
        self._giver = means.giver
        try:
            for entry in spec.inward:
                self._outside.append(listen_outside(entry.outside))  # one by one: those there are must be removed
            self._listening = [_listening_at(made) for made in self._outside]
            self._servers = [self._server(number) for number in range(len(spec.inward))]
            self._clients = [self._client(number) for number in range(len(spec.outward))]
            self._contexts = [_context(entry) for entry in spec.outward]
        except BaseException:
            self.close()
            raise

    def _server(self, number: int) -> Endpoint | RatlsEndpoint | None:
        entry = self._spec.inward[number]
        if entry.security not in ATTESTED:
            return None
        if not attests_here(self._spec.identity.platform):
            raise SandboxUnavailable(
                f"cannot listen at {entry.outside}: there is no root of trust here, so no evidence for who comes",
                hint="make one: belljar platform init",
            )
        from .channels import server_endpoint

        return server_endpoint(entry, self._means.attestor)

    def _client(self, number: int) -> Endpoint | RatlsEndpoint | None:
        entry = self._spec.outward[number]
        if entry.security not in ATTESTED:
            return None
        from .channels import client_endpoint

        return client_endpoint(entry, self._means.attestor)

    def start(self) -> None:
        """Serve from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="belljar-gateway", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop = asyncio.new_event_loop()
            try:
                self._loop.run_until_complete(self._serve())
            finally:
                self._loop.close()  # not asyncio.run: that waits for look-ups that nobody answers
        except BaseException as failure:  # noqa: BLE001 - a silent end would leave connections waiting for ever
            self._means.on_failure(failure)
        finally:
            self._standing.set()

    async def _serve(self) -> None:
        loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        giver, self._giver = self._giver, -1
        sockets = Sockets(giver) if giver >= 0 else None
        around = Around(self.counts, self._threads, sockets, Peers(self._means.peers))
        doors = [*self._inward_doors(around), *self._outward_doors(around)]
        self._fit(doors)
        for door in doors:
            door.open()
        self._standing.set()
        try:
            while not self._ending.is_set():
                try:
                    async with asyncio.timeout(_EVERY_S):
                        await self._ending.wait()
                except TimeoutError:
                    now = loop.time()
                    for door in doors:
                        door.sweep(now)
        finally:
            await asyncio.gather(*(door.close(drain_s=_DRAIN_S) for door in doors))
            if sockets is not None:
                sockets.close()

    def _fit(self, doors: list[Door]) -> None:
        """Lower what doors may hold to what this process has descriptors for, and say so."""
        for door, traffic in zip(doors, fitting([door.traffic for door in doors], left()), strict=True):
            if traffic.connections < door.traffic.connections:
                few = f"{traffic.connections} connections at a time, not {door.traffic.connections}"
                self._journal.say(f"{door.name}: {few}: this process may open no more files (ulimit -n)")
            door.traffic = traffic

    def _inward_doors(self, around: Around) -> list[Door]:
        doors: list[Door] = []
        for entry, listener, endpoint in zip(self._spec.inward, self._outside, self._servers, strict=True):
            way = InwardWay(entry, around, endpoint)
            told = self.counts, self._journal
            way.door = Door(f"{entry.outside} to {entry.guest}", listener, entry.traffic, way.serve, told)
            doors.append(way.door)
        return doors

    def _outward_doors(self, around: Around) -> list[Door]:
        inside = dict(zip(listening_places(self._spec), self._inside, strict=True)) if self._inside else {}
        doors: list[Door] = []
        told = self.counts, self._journal
        for entry, endpoint, context in zip(self._spec.outward, self._clients, self._contexts, strict=True):
            way = OutwardWay(entry, around, codec_maker(entry, endpoint, context, around))
            way.door = Door(
                f"{entry.name or entry.guest} to {entry.outside}",
                inside.pop(entry.guest),
                entry.traffic,
                way.serve,
                told,
            )
            doors.append(way.door)
        if inside:
            doors.append(self._questions(inside[QUESTIONS[0]], inside[QUESTIONS[1]]))
        return doors

    def _questions(self, stream: socket.socket, datagrams: socket.socket) -> Door:
        """Answer questions for names; datagrams have no door."""
        from .names import Names, addresses_of

        known = addresses_of([(entry.name, entry.guest) for entry in self._spec.outward])
        names = Names(known, self.counts, self._journal)
        asyncio.get_running_loop().add_reader(datagrams, lambda: names.serve_datagrams(datagrams))
        return Door("names", stream, _QUESTIONS, names.serve_stream, (self.counts, self._journal))

    def _end(self) -> None:
        if self._loop is None or self._ending is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._ending.set)
        except RuntimeError:  # the loop has ended by itself
            pass

    def stats(self) -> dict[str, object]:
        """Return numbers for `belljar stats`, and where it listens: a port of 0 in the manifest is a free one."""
        return {**self.counts.fields(), "listening": self._listening}

    def close(self) -> None:
        """Take no more connections, let those there are end for a moment, and release everything. Call it once.

        The guest should be gone: then nothing more is read from it, and what it sent is on its way.
        """
        if self._thread is not None:
            self._standing.wait()
            self._end()
            self._thread.join()
        if self._giver >= 0:
            os.close(self._giver)
            self._giver = -1
        self._threads.shutdown(wait=False, cancel_futures=True)
        for made in (*self._outside, *self._inside):
            made.close()
        self._journal.close()
        for entry, _ in zip(self._spec.inward, self._outside, strict=False):
            remove_socket(entry.outside)


def _listening_at(made: socket.socket) -> str:
    place = made.getsockname()
    return f"unix:{place}" if made.family == socket.AF_UNIX else shown(place)


def _context(entry: Outward) -> ssl.SSLContext | None:
    if entry.security != "tls":
        return None
    try:
        return tls_context(entry.authorities)
    except ssl.SSLError as error:
        raise SandboxUnavailable(f"the authorities for {entry.outside}: no certificates in PEM: {error}") from error

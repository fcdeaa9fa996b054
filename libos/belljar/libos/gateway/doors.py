"""Sockets that listen, and who comes through them: how many at a time, and who has to go when there are too many.

In come a listening socket, limits, and what serves one connection; out goes each connection, in a task of its own. Half
of what a door may hold can be taken by connections that have not proven anything yet; when more come, the one of them
that has been waiting longest is cut: whoever opens thousands and says nothing keeps nobody else out (slow handshakes).
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections import OrderedDict
from typing import TYPE_CHECKING

from .addresses import shown
from .served import NotServed

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from belljar.libos.spec import Traffic

    from .bridge import Bridge
    from .journal import Counts, Journal

    Serve = Callable[["Visit"], Awaitable[None]]

_AT_ONCE = 32  # accepted before anybody else has a turn
_TIRED_S = 0.5  # of accepting, when this machine has no descriptors left
_LOOK_S = 0.02
_LINGER_S = 15.0  # for whoever does not fetch the last bytes
_FOR_ONE = 3  # descriptors: a connection that is led through holds two, one that has proven nothing yet one
_FOR_FILES = 512  # each hashed folder may hold 64, and there are volumes, sockets in stock, commands that ask
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Visit:
    """One connection that came.

    Attributes:
        end: its socket, until a bridge has it.
        who: where it comes from, for people.
        bridge: what carries it, once there is one.
    """

    def __init__(self, end: socket.socket, who: str) -> None:
        self.end: socket.socket | None = end
        self.who = who
        self.bridge: Bridge | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_proven = False

    def take(self) -> socket.socket:
        """Return the socket, which is the caller's from here on."""
        end, self.end = self.end, None
        if end is None:
            raise NotServed("gone")
        return end


class Door:
    """A listening socket.

    Args:
        name: what it is called in the journal.
        listener: not blocking; it belongs to this object from here on.
        traffic: limits.
        serve: serves one visit until it is over; it may raise `NotServed` and `OSError`.
        told: (counts, journal).

    Attributes:
        traffic: limits.
    """

    def __init__(
        self, name: str, listener: socket.socket, traffic: Traffic, serve: Serve, told: tuple[Counts, Journal]
    ) -> None:
        self.name = name
        self._listener = listener
        self.traffic = traffic
        self._serve = serve
        self._counts, self._journal = told
        self._visits: OrderedDict[Visit, None] = OrderedDict()
        self._unproven: OrderedDict[Visit, None] = OrderedDict()
        self._proven = 0
        self._accepts = False

    @property
    def visits(self) -> int:
        """How many connections there are."""
        return len(self._visits)

    def open(self) -> None:
        """Take connections from now on."""
        if not self._accepts and self._listener.fileno() >= 0:
            self._accepts = True
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def pause(self) -> None:
        """Take none: they wait in the kernel."""
        if self._accepts:
            self._accepts = False
            asyncio.get_running_loop().remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                end, place = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            end.setblocking(False)
            self._begin(Visit(end, shown(place)))

    def _rest(self, error: OSError) -> None:
        self.pause()
        asyncio.get_running_loop().call_later(_TIRED_S if error.errno in _EXHAUSTED else 0, self.open)
        self._journal.say(f"{self.name}: cannot take a connection: {error.strerror}")

    def _begin(self, visit: Visit) -> None:
        self._counts.accepted += 1
        if self._proven >= self.traffic.connections:
            self._refuse(visit, f"there are {self.traffic.connections} connections already")
            return
        if len(self._unproven) >= max(1, self.traffic.connections):
            oldest, _ = self._unproven.popitem(last=False)
            self._cut(oldest, "cut for another connection: it has not said enough for too long")
        self._visits[visit] = None
        self._unproven[visit] = None
        self._counts.open += 1
        visit.task = asyncio.ensure_future(self._run(visit))
        visit.task.add_done_callback(lambda _: self._forget(visit))  # also of one that is cut before it begins

    def proven(self, visit: Visit) -> None:
        """Learn that a visit has proven what it must: it is not cut for others any more.

        Raises:
            NotServed: there are too many.
        """
        if self._proven >= self.traffic.connections:
            raise NotServed(f"there are {self.traffic.connections} connections already")
        visit.is_proven = True
        self._proven += 1
        self._unproven.pop(visit, None)
        self._counts.served += 1

    async def _run(self, visit: Visit) -> None:
        try:
            await self._serve(visit)
            await self._part(visit)
        except NotServed as refused:
            self._refuse(visit, str(refused))
        except TimeoutError:
            self._refuse(visit, "not ready in time")
        except OSError as error:
            self._refuse(visit, (error.strerror or str(error)).lower())
        except asyncio.CancelledError:  # the gateway closes, or another connection needs the place
            pass
        except Exception as mistake:  # noqa: BLE001 - of ours; it ends this connection, is told, and harms no other
            self._refuse(visit, f"a mistake of the gateway: {mistake!r}")

    async def _part(self, visit: Visit) -> None:
        """Let the last bytes leave, for a while."""
        bridge = visit.bridge
        if bridge is None:
            return
        try:
            async with asyncio.timeout(_LINGER_S):
                await bridge.gone
        except TimeoutError:
            bridge.abort("the last bytes were not fetched")

    def _refuse(self, visit: Visit, why: str) -> None:
        if visit.is_proven:
            self._counts.cut += 1
        else:
            self._counts.refused += 1
        if not visit.is_proven or visit.bridge is None or not visit.bridge.was_reset:
            self._journal.say(f"{self.name}: {'ended' if visit.is_proven else 'refused'} {visit.who}: {why}")
        self._drop(visit, why)

    def _cut(self, visit: Visit, why: str) -> None:
        self._refuse(visit, why)
        if visit.task is not None:
            visit.task.cancel()

    def _drop(self, visit: Visit, why: str) -> None:
        if visit.bridge is not None:
            visit.bridge.fail(why)
        if visit.end is not None:
            visit.end.close()
            visit.end = None

    def _forget(self, visit: Visit) -> None:
        self._drop(visit, "ended")
        self._unproven.pop(visit, None)
        if visit in self._visits:
            del self._visits[visit]
            self._counts.open -= 1
            self._proven -= visit.is_proven

    def sweep(self, now: float) -> None:
        """Look at the time: cut whatever has been silent for too long."""
        for visit in list(self._visits):
            bridge = visit.bridge
            if bridge is None:
                continue
            bridge.tick(now)
            if visit.is_proven and now - bridge.touched > self.traffic.idle_ms / 1000:
                bridge.abort("silent for too long")

    def _is_draining(self) -> bool:
        bridges = [visit.bridge for visit in self._visits if visit.is_proven]
        return any(bridge is not None and not bridge.is_drained for bridge in bridges)

    async def close(self, *, drain_s: float) -> None:
        """Take no more, give what there is some time to end, and end it."""
        self.pause()
        self._listener.close()
        tasks = [visit.task for visit in self._visits if visit.task is not None]
        for _ in range(int(drain_s / _LOOK_S)):
            if not self._is_draining():
                break
            await asyncio.sleep(_LOOK_S)
        for visit in list(self._visits):
            if visit.bridge is not None:
                visit.bridge.abort("the enclave has ended")
            if visit.task is not None:
                visit.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def left() -> int:
    """Return how many descriptors the gateway may take from here on.

    When a process has none left, the file servers cannot open what the program pages in, and that ends the program.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return limit - min(_FOR_FILES, limit // 2) - len(os.listdir("/proc/self/fd"))


def fitting(wanted: Sequence[Traffic], descriptors: int) -> list[Traffic]:
    """Return the limits of doors, lowered in proportion if so many descriptors are too few; each keeps one place."""
    needed = sum(_FOR_ONE * traffic.connections for traffic in wanted)
    if needed <= descriptors:
        return list(wanted)
    return [
        traffic.replace(connections=max(1, traffic.connections * max(0, descriptors) // needed)) for traffic in wanted
    ]


def remove_socket(text: str) -> None:
    """Remove the path of a unix socket that was ours."""
    if text.startswith("unix:"):
        try:
            os.unlink(text.removeprefix("unix:"))
        except OSError:  # somebody was faster
            pass

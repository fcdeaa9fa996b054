"""The launcher: one process that has imported everything, and children of it that hold enclaves ready (7.3, Annex B d).

In come callers; each is handed to a child: one whose enclave stands already, or a new one. Afterwards another child
builds the same again. The launcher itself runs nothing, waits for nobody and holds no key; of the last callers it keeps
the environment, to build for them again. When it ends, idle children end with it, and running enclaves go on.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time

from belljar.libos.values import Value
from belljar.loader.errors import LoaderError
from belljar.loader.target import parse_words

from . import wire
from .place import place_of
from .spare import be_spare, become
from .wire import NotARequest, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from socket import socket as Listener  # noqa: N812 - it accepts, which the one of _socket cannot

    Key = tuple[object, ...]

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BUILDING = "building"
_READY = "ready"
_SERVING = "serving"
_SETTLE_S = 0.3  # a program that has just started shall not share its CPUs with the next enclave being built
_SPARE_S = 900.0  # an enclave nobody asked for so long is given up


class Manners(Value):
    """How a launcher behaves.

    Attributes:
        spares: at most so many enclaves stand ready.
        idle_s: end when nobody has called for so many seconds; None for never.
    """

    spares: int = 4
    idle_s: float | None = None


class Child:
    """A process that holds or runs an enclave."""

    def __init__(self, pid: int, channel: socket, key: Key, request: Request) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.channel = channel
        self.key = key
        self.request = request
        self.readies = 0
        self.callers = 0
        self.given_up = False
        self.since = time.monotonic()

    @property
    def state(self) -> str:
        """What it does: it says `ready` when its enclave stands, and again when a caller had gone away."""
        if self.given_up or 0 < self.callers >= self.readies:
            return _SERVING
        return _READY if self.readies else _BUILDING

    def free(self) -> bool:
        """Say whether it could take a caller."""
        return self.state != _SERVING


class Launcher:
    """Takes callers until it is told to stop, or nobody calls any more.

    Args:
        listener: where callers call; not blocking.
        manners: how to behave.
    """

    def __init__(self, listener: Listener, manners: Manners) -> None:
        self._listener = listener
        self._manners = manners
        self._stamp = wire.installation()
        self._place = place_of(os.getpid())
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._children: list[Child] = []
        self._wanted: dict[Key, tuple[float, Request]] = {}
        self._last_call = time.monotonic()
        self._served = 0
        self._stopping = False
        self._watch(listener.fileno(), self._on_callers)

    def stop(self) -> None:
        """End soon."""
        self._stopping = True

    def run(self) -> None:
        """Serve callers to the end. Interrupted by nothing but signals that `stop` it."""
        gc.freeze()  # what all children share shall stay shared
        try:
            while not self._stopping and not self._is_idle():
                for descriptor, _ in self._poll.poll(self._timeout_ms()):
                    if descriptor in self._ready:  # else: what came before has ended it
                        self._ready[descriptor]()
                self._on_time()
        finally:
            self._end()

    def _watch(self, descriptor: int, on_ready: Callable[[], None]) -> None:
        self._ready[descriptor] = on_ready
        self._poll.register(descriptor, select.POLLIN)

    def _forget(self, descriptor: int) -> None:
        del self._ready[descriptor]
        self._poll.unregister(descriptor)

    def _timeout_ms(self) -> int:
        return 50 if self._wanted else 1000

    def _is_idle(self) -> bool:
        idle_s = self._manners.idle_s
        return idle_s is not None and time.monotonic() - self._last_call > idle_s

    # callers

    def _on_callers(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:  # no more, or gone already
                return
            line.setblocking(False)
            self._watch(line.fileno(), lambda line=line: self._on_request(line))  # type: ignore[misc] # bound here

    def _on_request(self, line: socket) -> None:
        self._forget(line.fileno())
        self._last_call = time.monotonic()
        try:
            word, descriptors = wire.take(line)
        except OSError:
            word, descriptors = b"", []
        try:
            if word == wire.HELLO and wire.say(line, wire.WELCOME):
                self._watch(line.fileno(), lambda: self._on_request(line))
                return
            if word == wire.STATUS:
                wire.say(line, self._status())
            elif len(descriptors) < 4 or not self._hand_to_child(line, descriptors):
                wire.say(line, wire.COLD)
        finally:
            wire.close_all(descriptors)
            if line.fileno() not in self._ready:
                line.close()

    def _hand_to_child(self, line: socket, descriptors: list[int]) -> bool:
        """Send a caller to a child; say whether one could be found."""
        try:
            request = Request.of_file(descriptors[0])
            if request.stamp != self._stamp or not self._is_here(line):
                return False
            become(request)
            key = parse_words([*request.words], dict(request.options).get("signer", "")).key()
            child = self._free_child(key) or self._fork(key, request, [line.fileno(), *descriptors])
            line.setblocking(True)
            wire.hand_on(child.channel, [line.fileno(), *descriptors])
        except (NotARequest, LoaderError, OSError):  # the caller finds out for itself what is wrong
            return False
        finally:
            os.chdir("/")  # nobody's folder is kept busy
        child.callers += 1
        child.request = request
        child.since = time.monotonic()
        self._wanted[key] = (time.monotonic() + _SETTLE_S, request)
        return True

    def _is_here(self, line: socket) -> bool:
        """Say whether a caller is our user, and where we are."""
        pid, uid = wire.peer(line)
        return bool(pid) and uid == os.geteuid() and place_of(pid) == self._place

    def _status(self) -> bytes:
        states = [child.state for child in self._children]
        counts = (os.getpid(), self._served, *(states.count(state) for state in (_BUILDING, _READY, _SERVING)))
        return b" ".join((wire.STATUS, *(b"%d" % count for count in counts)))

    # children

    def _free_child(self, key: Key) -> Child | None:
        free = [child for child in self._children if child.key == key and child.free()]
        return min(free, key=lambda child: child.state != _READY, default=None)

    def _fork(self, key: Key, request: Request, callers: list[int] | None = None) -> Child:
        """Make a child that builds for a request; `callers` are descriptors that it must not have."""
        ours, theirs = wire.pair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                self._leave(callers or [])
                be_spare(theirs, request)
            finally:
                os._exit(0)  # whatever happened: a caller that hears nothing does it alone
        theirs.close()
        child = Child(pid, ours, key, request)
        self._children.append(child)
        self._watch(ours.fileno(), lambda: self._on_word(child))
        self._watch(child.pidfd, lambda: self._on_end(child))
        return child

    def _leave(self, callers: list[int]) -> None:
        """Be a child: keep nothing of the launcher's, and above all nothing of its callers'."""
        os.setsid()  # what a terminal sends to the launcher is not for us
        wire.close_all([*self._ready, *callers])  # who owns them as objects stays referenced, and closes nothing
        for number in _CAUGHT:
            signal.signal(number, signal.SIG_DFL)

    def _on_word(self, child: Child) -> None:
        word, _ = wire.take(child.channel)
        if word == wire.READY:
            child.readies += 1
            child.since = time.monotonic()
        elif word == wire.TAKEN:
            self._served += 1
        elif not word:  # it has a caller now, or ends
            self._forget(child.channel.fileno())
            child.channel.close()

    def _on_end(self, child: Child) -> None:
        os.waitpid(child.pid, 0)
        self._children.remove(child)
        self._forget(child.pidfd)
        os.close(child.pidfd)
        if child.channel.fileno() >= 0:
            self._forget(child.channel.fileno())
            child.channel.close()
        if child.state == _SERVING and child.key in self._wanted:
            self._wanted[child.key] = (0.0, child.request)

    def _on_time(self) -> None:
        now = time.monotonic()
        for key, (when, request) in list(self._wanted.items()):
            if now >= when:
                del self._wanted[key]
                if self._free_child(key) is None:
                    self._make_room()
                    self._fork(key, request)
        for child in self._children:
            if child.state == _READY and now - child.since > _SPARE_S:
                self._give_up(child)

    def _make_room(self) -> None:
        """Give up the enclave that has stood longest, if there are too many."""
        free = sorted((child for child in self._children if child.free()), key=lambda child: child.since)
        for child in free[: max(0, len(free) - self._manners.spares + 1)]:
            self._give_up(child)

    def _give_up(self, child: Child) -> None:
        child.given_up = True
        self._wanted.pop(child.key, None)
        if child.channel.fileno() >= 0:
            self._forget(child.channel.fileno())
            child.channel.close()

    def _end(self) -> None:
        """Give up what stands ready, and wait until it has gone. What runs, goes on."""
        self._listener.close()
        idle = [child for child in self._children if child.free()]
        for child in idle:
            self._give_up(child)
        for child in idle:
            os.waitpid(child.pid, 0)

"""A child of the launcher: build an enclave for what was asked for, wait for a caller, run it for that caller, end.

In come requests, through the launcher; what a caller gets is exactly what `belljar run` would have done at that moment:
the record is looked at again, and an enclave that does not fit any more is given up, unused.
"""

from __future__ import annotations

import os
from _socket import socket
from typing import TYPE_CHECKING

from belljar.libos.enclave import Commission, EnclaveSpec, Manner, NotCommissioned, shell_of
from belljar.libos.values import Value
from belljar.loader import report
from belljar.loader.errors import LoaderError
from belljar.loader.remembered import cache
from belljar.loader.remembered.history import History
from belljar.loader.remembered.recall import complete, recall
from belljar.loader.run import keep, run_recorded, say_end, say_start
from belljar.loader.target import check_name, parse_words

from . import wire
from .wire import Request

if TYPE_CHECKING:
    from belljar.loader.remembered.record import Record

_GO_S = 2.0


class Wish(Value):
    """What a request comes to: the record it is run by, and the enclave."""

    record: Record
    spec: EnclaveSpec


def become(request: Request) -> None:
    """Stand where a caller stands: its folder, its environment.

    Raises:
        OSError: the folder is gone.
    """
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)


def wish_of(request: Request) -> Wish | None:
    """Return what a request comes to, or None if its caller must do it alone: prepare it, or be told what is wrong.

    Raises:
        OSError: the caller's folder is gone.
    """
    become(request)
    options = dict(request.options)
    try:
        if "name" in options:
            check_name(options["name"])
        target = parse_words([*request.words], options.get("signer", ""))
        record = recall(target)
        if record is None or record.spec.volumes:  # keys, and whoever is asked for a passphrase, stay with the caller
            return None
        if record.spec.inward or record.spec.outward:  # so do the addresses it listens at
            return None
        return Wish(record=record, spec=complete(record, target))
    except LoaderError:
        return None


class Visit:
    """A caller that has come."""

    def __init__(self, line: socket, request: Request, wish: Wish) -> None:
        self.line = line
        self.options = dict(request.options)
        self.wish = wish
        self.result = -1

    def accepts(self) -> bool:
        """Offer to run it; say whether the caller is still there and wants it."""
        self.line.settimeout(_GO_S)
        try:
            return wire.say(self.line, b"%s %d" % (wire.TAKEN, os.getpid())) and wire.take(self.line)[0] == wire.GO
        except TimeoutError:
            return False
        finally:
            self.line.settimeout(None)

    def take_streams(self, descriptors: list[int]) -> None:
        """Have the caller's streams as our own."""
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        self.result = descriptors[3] if len(descriptors) > 3 else -1


class Door:
    """Where callers come in: the seam `belljar.libos.callers.Caller`.

    Args:
        channel: to the launcher, which sends callers.
        built: what is being built.
    """

    def __init__(self, channel: socket, built: EnclaveSpec) -> None:
        self._channel = channel
        self._shell = shell_of(built)
        self.visit: Visit | None = None

    def fileno(self) -> int:
        """Return the descriptor that tells of a caller."""
        return self._channel.fileno()

    def stand_ready(self) -> None:
        """Tell the launcher."""
        wire.say(self._channel, wire.READY)

    def commission(self) -> Commission:
        """Wait for a caller that stays, and return what it wants.

        Raises:
            NotCommissioned: the launcher has gone, or what is wanted now is not what was built.
        """
        while True:
            word, descriptors = wire.take(self._channel)
            if not word:
                raise NotCommissioned
            self.visit = self._enter(*descriptors)
            if self.visit is not None:
                wire.say(self._channel, wire.TAKEN)
                self._channel.close()
                break
            self.stand_ready()
        visit = self.visit
        if "verbose" in visit.options:
            say_start(visit.wish.spec, visit.wish.record)
        return Commission(spec=visit.wish.spec, manner=Manner(name=visit.options.get("name")), line=visit.line.fileno())

    def _enter(self, line: int, file: int, *streams: int) -> Visit | None:
        """Let a caller in; return None if it has gone away."""
        caller = socket(fileno=line)
        request = Request.of_file(file)
        os.close(file)
        wish = wish_of(request)
        if wish is None or shell_of(wish.spec) != self._shell:
            wire.say(caller, wire.COLD)
            raise NotCommissioned
        visit = Visit(caller, request, wish)
        if not visit.accepts():
            caller.close()
            wire.close_all([*streams])
            return None
        visit.take_streams([*streams])
        return visit


def be_spare(channel: socket, request: Request) -> None:
    """Build for `request`, and serve the first caller that comes. A caller that is not served does it alone."""
    wish = wish_of(request)
    if wish is None:
        return
    door = Door(channel, wish.spec)
    try:
        _serve(door, wish)
    except NotCommissioned:
        pass
    except LoaderError as error:
        if door.visit is not None:
            report.error(str(error), error.hint)
            wire.say(door.visit.line, b"%s %d" % (wire.EXIT, error.exit_code))


def _serve(door: Door, wish: Wish) -> None:
    folder = cache.cache_folder()
    run = run_recorded(wish.spec, History(folder, wish.record.key, wish.spec), Manner(), door)
    visit = door.visit
    assert visit is not None  # noqa: S101 - nothing runs without one
    record = visit.wish.record
    say_end(run, record, verbose="verbose" in visit.options)
    if visit.result >= 0:
        from belljar.loader.commands.result import write_result

        write_result(visit.result, run)
    wire.say(visit.line, b"%s %d" % (wire.EXIT, run.outcome.exit_code))
    history = History(folder, record.key, visit.wish.spec)
    history.load()
    keep(run, record, history)

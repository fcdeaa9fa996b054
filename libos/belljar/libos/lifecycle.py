"""Door of this house to those who manage runs: list them, ask their supervisors, wait for their end. Cold.

In come names; out come plain values, as `supervisor/answers.py` makes them (IEEE 2952 5.5.1 a, b, e).
"""

from __future__ import annotations

import array
import json
import marshal
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from .enclave import plan_here
from .errors import LibosError, NoSuchRun, NotAnswered
from .folders import runs_folder
from .interfaces import read_text
from .runs.desk import MAX_PACKET
from .runs.directory import ENDED, OUTPUT, connect, names
from .spec import SPEC_KINDS, EnclaveSpec
from .supervisor.joining import Entrance, run_joined
from .supervisor.terminal import CallerTerminal, terminals
from .values import of_plain

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .outcome import Outcome
    from .runs.desk import Fields
    from .spec import GuestUser
    from .supervisor.refusals import Refusal

__all__ = [
    "Connection",
    "LibosError",
    "NoSuchRun",
    "NotAnswered",
    "ask",
    "open_run",
    "output_paths",
    "run_in",
    "statuses",
    "until_ended",
]

_PATIENCE_S = 5.0
_MAX_DESCRIPTORS = 16


class _Gone(NotAnswered):
    """The supervisor ended before it answered."""


class Connection:
    """A connection to the supervisor of a run, for one request."""

    def __init__(self, name: str, client: socket.socket) -> None:
        self._name = name
        self._client = client

    def ask(
        self, what: str, fields: Fields | None = None, descriptors: Sequence[int] = (), *, patience_s: float | None
    ) -> tuple[Fields, list[int]]:
        """Send a request and return the answer: (fields, descriptors).

        Args:
            what: the request.
            fields: what belongs to it.
            descriptors: sent along.
            patience_s: how long the answer may take; None for as long as it lives.

        Raises:
            NotAnswered: the supervisor refused, does not answer, or has gone.
        """
        self._client.settimeout(patience_s)
        try:
            socket.send_fds(self._client, [json.dumps({"do": what, **(fields or {})}).encode()], descriptors)
            packet, received, _, _ = socket.recv_fds(self._client, MAX_PACKET, _MAX_DESCRIPTORS)
        except TimeoutError as error:
            raise NotAnswered(f"{self._name}: its supervisor does not answer: is it stopped?") from error
        except OSError as error:
            raise _Gone(f"{self._name}: its supervisor has gone") from error
        if not packet:
            raise _Gone(f"{self._name}: its supervisor has gone")
        answer = cast("Fields", json.loads(packet))
        if "error" in answer:
            raise NotAnswered(f"{self._name}: {answer['error']}")
        return answer, list(array.array("i", received))


@contextmanager
def open_run(name: str) -> Generator[Connection | Fields]:
    """Give a connection to a running enclave, or what is remembered of one that has ended.

    Raises:
        NoSuchRun: there is neither.
        NotAnswered: its supervisor takes no connections.
    """
    folder = runs_folder()
    try:
        directory = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        raise _no_such(name, folder) from None
    try:
        if "/" in name or name.startswith("."):
            raise _no_such(name, folder)
        try:
            client = connect(directory)
        except TimeoutError as error:
            raise NotAnswered(f"{name}: {error}") from error
        if client is not None:
            with socket.socket(fileno=client.detach()) as connected:
                yield Connection(name, connected)
            return
        remembered = _remembered(directory)
        if remembered is None:
            raise _no_such(name, folder)
        yield remembered
    finally:
        os.close(directory)


def _no_such(name: str, folder: str) -> NoSuchRun:
    known = names(folder)
    hint = f"there are: {', '.join(known)}" if known else "no enclave is running: belljar ps --all"
    return NoSuchRun(f"no run is called {name}", hint=hint)


def _remembered(directory: int) -> Fields | None:
    try:
        with os.fdopen(os.open(ENDED, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
            return cast("Fields", json.load(file))
    except (OSError, ValueError):
        return None


def ask(name: str, what: str) -> Fields:
    """Return the answer of a run's supervisor to a plain request, or what is remembered if it has ended.

    Raises:
        NoSuchRun, NotAnswered.
    """
    return _asked(name, what, None, _PATIENCE_S)


def until_ended(name: str, fields: Fields | None = None, *, what: str = "wait") -> Fields:
    """Return how a run ended, as soon as it has; `what` may be "stop", which makes it end.

    Raises:
        NoSuchRun, NotAnswered.
    """
    return _asked(name, what, fields, None)


def _asked(name: str, what: str, fields: Fields | None, patience_s: float | None) -> Fields:
    try:
        with open_run(name) as run:
            return run.ask(what, fields, patience_s=patience_s)[0] if isinstance(run, Connection) else run
    except _Gone as gone:  # it ended between our connection and our question: what it left is there now, or nothing
        try:
            with open_run(name) as run:
                if not isinstance(run, Connection):
                    return run
        except NoSuchRun:
            pass
        raise gone from None


def run_in(name: str, command: tuple[str, ...]) -> tuple[Outcome, tuple[Refusal, ...]]:
    """Run another program in a running enclave to its end; return how it ended, and what it was refused.

    The process must have one thread; its standard descriptors are the program's, as in `enclave.run_enclave`.

    Args:
        name: of the run.
        command: a guest path, or a name to be found on the PATH of the enclave's environment, and arguments.

    Raises:
        NoSuchRun, NotAnswered: it does not run, or its manifest allows no other programs.
        SandboxUnavailable, ProgramNotStarted: the program never ran.
    """
    with open_run(name) as run:
        if not isinstance(run, Connection):
            raise NoSuchRun(f"{name} has ended", hint="belljar ps lists what is running")
        fields, descriptors = run.ask("enter", patience_s=_PATIENCE_S)
    specification, *namespaces = descriptors
    with os.fdopen(specification, "rb") as file:
        file.seek(0)
        spec = of_plain(marshal.loads(file.read()), SPEC_KINDS)  # noqa: S302 - written by our own supervisor
    if not isinstance(spec, EnclaveSpec):
        raise NotAnswered(f"{name}: its supervisor is of another version")
    limits = spec.limits.replace(memory_bytes=None, run_time_ms=None)  # the enclave's own hold for all of it
    spec = spec.replace(executable=command[0], argv=command, limits=limits)
    plan = plan_here(spec)
    owner = None if plan.ids.deny_setgroups else _owner(cast("int", fields["init"]), spec.user)
    terminal = CallerTerminal(terminals()) if terminals() else None
    cgroups = tuple(map(str, cast("list[str]", fields["cgroups"])))
    return run_joined(spec, plan, Entrance(namespaces=tuple(namespaces), cgroups=cgroups, owner=owner), terminal)


def _owner(init: int, user: GuestUser) -> tuple[int, int] | None:
    """Return the host ids of the enclave's user."""
    found: list[int] = []
    for name, inside in (("uid_map", user.uid), ("gid_map", user.gid)):
        rows = [list(map(int, line.split())) for line in read_text(f"/proc/{init}/{name}").splitlines()]
        found += [outside for first, outside, _ in rows if first == inside]
    return (found[0], found[1]) if len(found) == 2 else None


def statuses(what: str = "status") -> list[Fields]:
    """Return the answers of all living runs, and what is remembered of those that have ended, sorted by name."""
    found: list[Fields] = []
    for name in names(runs_folder()):
        try:
            found.append(ask(name, what))
        except NoSuchRun:  # ended meanwhile
            continue
        except NotAnswered:
            found.append({"name": name, "state": "not answering"})
    return found


def output_paths(name: str) -> list[str]:
    """Return the files with what a detached run wrote, the older one first."""
    folder = os.path.join(runs_folder(), name)
    return [path for path in (f"{folder}/{OUTPUT}.1", f"{folder}/{OUTPUT}") if os.path.exists(path)]

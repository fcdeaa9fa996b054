"""Sockets of the guest's network for the supervisor, which is in another one: it cannot make them itself.

A socket belongs to the network it was made in, whoever holds it. Init opens those that the gateway answers on. For
connections to the guest, `outer` stays: outside of the guest's pid namespace, so that nobody inside can see or signal
it, but in its network and with its root. It is confined like a program of the guest, holds one line to the supervisor
and nothing else, and answers two requests (unix(7), SCM_RIGHTS):

    tcp NUMBER      so many unconnected TCP sockets
    unix PATH       a socket that is connected to PATH of the guest

with the errno in ASCII, 0 for none, and the descriptors. It ends when the line does. Imported only for enclaves with a
gateway; it must never read what comes from the guest.
"""

from __future__ import annotations

import os
from _socket import (
    AF_INET,
    AF_UNIX,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)
from errno import EINVAL
from stat import S_ISSOCK
from struct import pack

from belljar.libos import kernel
from belljar.libos.interfaces import write_text
from belljar.libos.plan import steps

from . import confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MAX_AT_ONCE = 16
_MAX_REQUEST = 256
_BACKLOG = 128
_QUIET = SOCK_CLOEXEC | SOCK_NONBLOCK
_SIGKILL = 9
_ENDED = 125


def listening(places: tuple[str, ...]) -> list[int]:
    """Return open sockets at places of the guest: "IP:PORT" and "unix:/path" listen, "udp:IP:PORT" receives.

    Raises:
        OSError: the kernel refused.
    """
    return [_at(place).detach() for place in places]


def _at(place: str) -> socket:
    kind, _, path = place.rpartition("unix:")
    if path.startswith("/") and not kind:
        made = socket(AF_UNIX, SOCK_STREAM | _QUIET)
        _remove_stale(path)
        made.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - whoever is inside may connect, as to a port
        made.listen(_BACKLOG)
        return made
    udp = place.startswith("udp:")
    host, _, port = place.removeprefix("udp:").rpartition(":")
    made = socket(AF_INET, (SOCK_DGRAM if udp else SOCK_STREAM) | _QUIET)
    made.bind((host, int(port)))
    if not udp:
        made.listen(_BACKLOG)
    return made


def _remove_stale(path: str) -> None:
    """Remove a socket that an earlier run left in a volume: no program runs yet that could listen at it."""
    try:
        if S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


def line() -> tuple[socket, socket]:
    """Return both ends of a new line: ours, and the supervisor's."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return ours, theirs


def give(ours: socket, giver: tuple[steps.Step, ...], outside: confine.Outside, *, oom_score: str) -> NoReturn:
    """Be who gives sockets, to the end.

    Args:
        ours: our end of the line.
        giver: the steps of the plan that confine us.
        outside: what they need of the caller's.
        oom_score: what we were started with.
    """
    spare(oom_score)
    os.setsid()
    for descriptor in (0, 1, 2):  # a reader of our pipes must see the end when the program closes them
        os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), descriptor)
    os.dup2(ours.fileno(), confine.CONTROL, inheritable=False)
    kernel.close_range(confine.CONTROL + 1)
    channel = socket(AF_UNIX, SOCK_SEQPACKET, 0, confine.CONTROL)
    kernel.set_name("belljar-sockets")
    for step in giver:
        confine.take(step, outside)
        if isinstance(step, steps.BecomeUser):
            _hide()
    while request := channel.recv(_MAX_REQUEST):
        _answer(channel, request)
    os._exit(0)


def spare(oom_score: str) -> None:
    """Let the kernel kill the program's processes first when memory runs out."""
    try:
        write_text("/proc/self/oom_score_adj", oom_score)
    except OSError:  # what root raised, only root may lower: the supervisor does
        pass


def _hide() -> None:
    """End with the supervisor, and let nobody look into our memory: a change of ids undid both."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def _answer(channel: socket, request: bytes) -> None:
    made: list[socket] = []
    try:
        made = _made(request)
        rights = pack(f"{len(made)}i", *(one.fileno() for one in made))
        channel.sendmsg([b"0"], [(SOL_SOCKET, SCM_RIGHTS, rights)])
    except OSError as error:
        channel.send(b"%d" % (error.errno or EINVAL))
    finally:
        for one in made:
            one.close()


def _made(request: bytes) -> list[socket]:
    kind, _, rest = request.partition(b" ")
    if kind == b"tcp" and rest.isdigit() and 0 < int(rest) <= MAX_AT_ONCE:
        return [socket(AF_INET, SOCK_STREAM | _QUIET) for _ in range(int(rest))]
    if kind == b"unix" and rest.startswith(b"/"):
        made = socket(AF_UNIX, SOCK_STREAM | _QUIET)
        try:
            made.connect(rest)
        except OSError:
            made.close()
            raise
        return [made]
    raise OSError(EINVAL, "not a request")

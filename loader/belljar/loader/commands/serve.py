"""`belljar serve`: keep enclaves ready, so that `belljar run` costs little more than its program (decision 0016)."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from belljar.libos.enclave import import_everything
from belljar.libos.folders import runs_folder
from belljar.loader import report
from belljar.loader.errors import LoaderError, UsageError
from belljar.loader.resident import wire
from belljar.loader.resident.address import Address
from belljar.loader.resident.background import start_in_background
from belljar.loader.resident.launcher import Launcher, Manners

from .errors import loader_errors

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_PATIENCE_S = 10.0
_PAUSE_S = 0.02
_FIELDS = ("pid", "served", "building", "ready", "running")
_MOST_SPARES = 64


def main(parsed: Parsed) -> int:
    """Be the launcher, start one in the background, or ask after it."""
    if parsed.words:
        raise UsageError(f"unexpected {parsed.words[0]}", hint="belljar serve --help")
    manners = _manners(parsed)
    with loader_errors():
        folder = runs_folder()
    if parsed.has("status"):
        return _show_status(folder, as_json=parsed.has("json"))
    if parsed.has("stop"):
        return _stop(folder)
    if parsed.has("detach"):
        return _start(folder, parsed)
    return _serve(folder, manners)


def _manners(parsed: Parsed) -> Manners:
    spares, idle = parsed.options.get("spares", "4"), parsed.options.get("idle")
    if not spares.isdecimal() or not 0 < int(spares) <= _MOST_SPARES:
        raise UsageError(f"--spares {spares}: expected a number from 1 to {_MOST_SPARES}")
    try:
        idle_s = None if idle is None else float(idle)
    except ValueError:
        idle_s = -1.0
    if idle_s is not None and not 0 < idle_s < float("inf"):
        raise UsageError(f"--idle {idle}: expected seconds")
    return Manners(spares=int(spares), idle_s=idle_s)


def _serve(folder: str, manners: Manners) -> int:
    import_everything()
    address = Address(folder)
    try:
        launcher = Launcher(address.listener, manners)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: launcher.stop())
        report.note(f"keeping enclaves ready for {folder}; ^C ends it")
        launcher.run()
    finally:
        address.close()
    return 0


def _start(folder: str, parsed: Parsed) -> int:
    words = [f"--{name}={value}" for name, value in parsed.options.items() if name != "detach"]
    if _reachable(folder):
        raise LoaderError(f"a launcher is serving {folder} already", hint="belljar serve --status")
    pid = start_in_background((*words,))
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if _reachable(folder):
            return 0
        if os.waitpid(pid, os.WNOHANG)[0]:
            break
        time.sleep(_PAUSE_S)
    raise LoaderError("the launcher did not start", hint="belljar serve, without --detach, says why")


def _reachable(folder: str) -> bool:
    line = wire.call(folder)
    if line is not None:
        line.close()
    return line is not None


def _ask(folder: str) -> dict[str, int]:
    line = wire.call(folder)
    if line is None:
        raise LoaderError(f"no launcher is serving {folder}", hint="belljar serve --detach starts one")
    line.settimeout(_PATIENCE_S)
    try:
        wire.say(line, wire.STATUS)
        numbers = wire.take(line)[0].split()[1:]
    except TimeoutError as error:
        raise LoaderError("the launcher does not answer") from error
    finally:
        line.close()
    if len(numbers) != len(_FIELDS):
        raise LoaderError("the launcher has just ended")
    return dict(zip(_FIELDS, map(int, numbers), strict=True))


def _show_status(folder: str, *, as_json: bool) -> int:
    found = _ask(folder)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write(", ".join(f"{name} {value}" for name, value in found.items()) + "\n")
    return 0


def _stop(folder: str) -> int:
    line = wire.call(folder)
    if line is None:
        return 0
    pid, _ = wire.peer(line)
    try:
        ended = os.pidfd_open(pid)
    finally:
        line.close()
    try:
        signal.pidfd_send_signal(ended, signal.SIGTERM)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        if not poll.poll(_PATIENCE_S * 1000):
            raise LoaderError(f"the launcher, process {pid}, did not end")
    except ProcessLookupError:  # it has ended by itself
        pass
    finally:
        os.close(ended)
    return 0

"""`belljar run`, its first step: have the launcher run it, if there is one; else `run.py` does. Hot.

In comes the command line; out comes the program's exit code. The run is ours in every way that a person can see: our
streams, our terminal, our signals; it ends with us.
"""

from __future__ import annotations

import os
from time import sleep

from belljar.libos.errors import LibosError
from belljar.libos.folders import runs_folder
from belljar.loader import report

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from _socket import socket
    from types import FrameType

    from belljar.loader.options import Parsed
else:  # the module behind signal, without enum and what that imports (2 ms)
    import _signal as signal

SWITCH = "BELLJAR_LAUNCHER"
_SERVED = frozenset({"name", "verbose", "signer", "result"})
_PATIENCE_S = 1.0  # a launcher that does not answer: we had better start
_BUILDING_S = 30.0
_FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
)  # fmt: skip
_KILLED = 125


def main(parsed: Parsed) -> int:
    """Run a program in an enclave: in one that stands ready, or in a new one."""
    code = _have_run(parsed) if _may(parsed) else None
    if code is None:
        from belljar.loader.run import main as run_here

        return run_here(parsed)
    return code


def _may(parsed: Parsed) -> bool:
    return os.environ.get(SWITCH) != "off" and _SERVED.issuperset(parsed.options) and _in_foreground()


def _in_foreground() -> bool:
    """Say whether we are not a background job: such a one may not touch its terminal, and a launcher could not know."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # no terminal
        return True


def _have_run(parsed: Parsed) -> int | None:
    """Ask the launcher; return the exit code, or None if the run is ours to do."""
    try:
        folder = runs_folder()
        line = wire.call(folder)
        if line is None:
            _start_one()
            return None
        try:
            return _through(line, parsed)
        finally:
            line.close()
    except (LibosError, OSError):  # whatever it is: it will show again, where it is explained
        return None


def _start_one() -> None:
    """Start a launcher for later runs, where the caller wants that."""
    if os.environ.get(SWITCH) == "auto":
        from .background import start_in_background

        start_in_background()


def _through(line: socket, parsed: Parsed) -> int | None:
    line.settimeout(_PATIENCE_S)
    if not wire.say(line, wire.HELLO) or wire.take(line)[0] != wire.WELCOME:
        return None
    request = wire.Request(
        stamp=wire.installation(),
        options=tuple(parsed.options.items()),
        words=tuple(parsed.words),
        folder=os.getcwd(),
        environment=tuple(os.environ.items()),
    ).to_file()
    more = [int(parsed.options["result"])] if parsed.options.get("result", "").isdecimal() else []
    try:
        wire.hand_on(line, [request, 0, 1, 2, *more])
    finally:
        os.close(request)
    line.settimeout(_BUILDING_S)
    word, _, pid = wire.take(line)[0].partition(b" ")
    if word != wire.TAKEN:
        return None
    line.settimeout(None)
    _forward_signals(int(pid))
    if not wire.say(line, wire.GO):
        return None
    word, _, code = wire.take(line)[0].partition(b" ")
    if word != wire.EXIT:
        report.error("the supervisor of this run was killed")
        return _KILLED
    return int(code)


def _forward_signals(supervisor: int) -> None:
    """Pass on what we are sent; what our caller had us ignore stays ignored."""

    def forward(number: int, _frame: FrameType | None) -> None:
        try:
            os.kill(supervisor, number)
        except ProcessLookupError:  # it has ended: its last word is on the line
            pass

    def pause(number: int, frame: FrameType | None) -> None:
        forward(number, frame)
        sleep(0.01)  # it stops its program first, and what that writes comes before our shell's word
        os.kill(os.getpid(), signal.SIGSTOP)  # returns when somebody continues us
        forward(signal.SIGCONT, frame)

    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, pause)

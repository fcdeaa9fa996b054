"""Watch a running enclave: its messages, the caller's signals, terminal, time and memory, until it has ended.

One loop in the supervisor's main thread; file servers run beside it and report through `Events`. In comes a started
`Guest`; out comes an `Outcome`. It decides, and it alone, why an enclave ended.
"""

from __future__ import annotations

import os
import select
import time

from belljar.libos import control as messages
from belljar.libos.interfaces import read_text, write_text
from belljar.libos.limits import watch as memory_watch
from belljar.libos.outcome import EXIT_BELLJAR_FAILED, EXIT_TIME_LIMIT, Outcome, from_wait_status
from belljar.libos.plan.build import SHARED_MEMORY
from belljar.libos.values import Value

from .launch import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from belljar.libos.limits.cgroups import Cgroups
    from belljar.libos.runs.desk import Desk
    from belljar.libos.spec import EnclaveSpec

    from .events import Events
    from .launch import Guest
    from .refusals import Refusals
    from .terminal import CallerTerminal
else:  # the module behind signal, without enum and what that imports (2 ms)
    import _signal as signal

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_ENDING = (signal.SIGINT, signal.SIGTERM)
_SIGSYS = 31


class Around(Value):
    """What stands around a running enclave and has something to say about it, or to it.

    `line` is a descriptor that becomes readable when the caller, another process, has gone; -1 if we are the caller.
    """

    events: Events
    cgroups: Cgroups
    terminal: CallerTerminal | None
    desk: Desk | None
    refusals: Refusals
    line: int


class Watch:
    """The loop over everything that can happen to one enclave.

    Args:
        guest: the enclave.
        spec: what it was made from.
        around: what else to listen to.
        on_started: called when the program has been started.
    """

    def __init__(self, guest: Guest, spec: EnclaveSpec, around: Around, on_started: Callable[[], None]) -> None:
        self._guest = guest
        self._spec = spec
        self._events = around.events
        self._cgroups = around.cgroups
        self._terminal = around.terminal
        self._desk = around.desk
        self._refusals = around.refusals
        self._line = around.line
        self._on_started = on_started
        self._stopping: float | None = None
        self._outcome: Outcome | None = None
        self._asked: set[int] = set()
        self._waiting_signals: list[int] = []
        self._deadline = None if spec.limits.run_time_ms is None else time.monotonic() + spec.limits.run_time_ms / 1000
        self._looks = spec.limits.memory_bytes is not None and "memory" not in around.cgroups.enforced

    def run(self) -> Outcome:
        """Wait until the enclave has ended.

        Raises:
            SandboxUnavailable, ProgramNotStarted: it never came to run its program.
        """
        self._events.catch_signals((*_FORWARDED, signal.SIGWINCH, signal.SIGTSTP))
        poll = select.poll()
        while self._outcome is None:
            watched = [(self._guest.control.fileno(), False), (self._events.fileno(), False)]
            asking = self._desk.watched() if self._desk else []
            watched += [(descriptor, False) for descriptor in (*self._refusals.watched(), *asking)]
            watched += self._terminal.watched() if self._terminal else []
            watched += [(self._line, False)] if self._line >= 0 else []
            for descriptor, writes in watched:
                poll.register(descriptor, select.POLLIN | (select.POLLOUT if writes else 0))
            ready = poll.poll(self._timeout_ms())
            for descriptor, _ in watched:
                poll.unregister(descriptor)
            # Events first: a violation is noted before the guest hears of it, and so before it can exit because of it.
            for descriptor, _ in sorted(ready, key=lambda found: found[0] != self._events.fileno()):
                self._on_ready(descriptor)
            self._on_time()
        if self._terminal:
            self._terminal.drain()
        return self._outcome

    def _timeout_ms(self) -> int | None:
        waits = [memory_watch.INTERVAL_S] if self._looks else []
        waits += [max(0.0, end - time.monotonic()) for end in (self._deadline, self._stopping) if end is not None]
        return int(min(waits) * 1000) + 1 if waits else None

    def _on_ready(self, descriptor: int) -> None:
        if descriptor == self._guest.control.fileno():
            self._on_message(*self._guest.control.receive())
        elif descriptor == self._events.fileno():
            for number in self._events.signals():
                self._on_signal(number)
            for violation in self._events.violations():
                self._on_violation(violation)
            for crash in self._events.failures():
                self._decide(Outcome(reason="supervisor", exit_code=EXIT_BELLJAR_FAILED, notes=(crash,)))
        elif descriptor == self._line:
            note = "the enclave was ended because its caller was"
            self._decide(Outcome(reason="killed", exit_code=EXIT_BELLJAR_FAILED, notes=(note,)))
        elif self._refusals.ready(descriptor) or (self._desk and self._desk.ready(descriptor)):
            pass
        elif self._terminal:
            self._terminal.ready(descriptor)

    def _on_message(self, name: bytes, fields: list[bytes], descriptors: list[int]) -> None:
        if name == messages.STARTED:
            self._guest.program = descriptors[0]
            self._spare_init()
            for number in self._waiting_signals:
                self._forward(number)
            self._on_started()
        elif name == messages.LISTENER:
            self._refusals.listen(descriptors[0])
        elif name == messages.TERMINAL and self._terminal:
            self._terminal.connect(*descriptors)
        elif name == messages.EXITED:
            self._decide(self._ended(int(fields[0])))
        elif not name and self._cgroups.memory_kills():
            self._decide(self._out_of_memory())
        elif not name and self._guest.program >= 0:
            note = "the enclave was ended from outside: its init was killed"
            self._decide(Outcome(reason="killed", exit_code=EXIT_BELLJAR_FAILED, notes=(note,)))
        else:
            raise failure(name, fields)

    def _out_of_memory(self) -> Outcome:
        """Return how an enclave ended whose init the kernel killed, too."""
        limit = (self._spec.limits.memory_bytes or 0) >> 20
        note = f"out of memory: the enclave reached its limit of {limit} MiB and was killed as a whole"
        return Outcome(reason="memory-limit", exit_code=128 + signal.SIGKILL, signal=signal.SIGKILL, notes=(note,))

    def _spare_init(self) -> None:
        """Have the kernel kill the program's processes first when memory runs out: init tells what happened."""
        for pid in (self._guest.init, self._guest.outer):
            try:
                write_text(f"/proc/{pid}/oom_score_adj", read_text("/proc/self/oom_score_adj"))
            except OSError:  # an ordinary user may not; init does it itself
                pass

    def _ended(self, status: int) -> Outcome:
        outcome = from_wait_status(status)
        kills = self._cgroups.memory_kills()
        notes: tuple[str, ...] = ()
        if kills:
            limit = (self._spec.limits.memory_bytes or 0) >> 20
            notes = (f"out of memory: the enclave reached its limit of {limit} MiB, {kills} process(es) were killed",)
        if outcome.signal == _SIGSYS:
            notes += ("the program made a system call of a foreign ABI (32-bit or x32), which is not allowed",)
        reason = "stopped" if self._stopping is not None else outcome.reason
        reason = "memory-limit" if kills and outcome.signal == signal.SIGKILL else reason
        return Outcome(reason=reason, exit_code=outcome.exit_code, signal=outcome.signal, notes=notes)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._terminal:
                self._terminal.resize()
        elif number == signal.SIGTSTP:
            self._forward(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)  # returns when somebody continues us
            self._forward(signal.SIGCONT)
        elif number in _ENDING and number in self._asked:
            from signal import Signals

            note = f"ended by a second {Signals(number).name}"
            self._decide(Outcome(reason="stopped", exit_code=128 + number, signal=number, notes=(note,)))
        else:
            self._asked.add(number)
            self._forward(number)

    def stop(self, grace_s: float) -> None:
        """Ask the program to end, as somebody wants it; after so many seconds the enclave is ended by force."""
        until = time.monotonic() + grace_s
        self._stopping = until if self._stopping is None else min(self._stopping, until)
        self._forward(signal.SIGTERM)

    def send(self, number: int) -> None:
        """Send the program a signal, as somebody wants it."""
        self._forward(number)

    def _forward(self, number: int) -> None:
        if self._guest.program < 0:
            self._waiting_signals.append(number)
            return
        try:
            signal.pidfd_send_signal(self._guest.program, number)
        except ProcessLookupError:  # it has just ended; its status is on the way
            pass

    def _on_violation(self, note: str) -> None:
        if self._spec.stop_on_violation:
            self._decide(Outcome(reason="integrity", exit_code=EXIT_BELLJAR_FAILED, notes=(note,)))

    def _on_time(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            limit = (self._spec.limits.run_time_ms or 0) / 1000
            self._decide(
                Outcome(
                    reason="time-limit", exit_code=EXIT_TIME_LIMIT, notes=(f"stopped at its run time of {limit:g} s",)
                )
            )
        if self._stopping is not None and time.monotonic() >= self._stopping:
            note = "stopped by force: its program did not end when it was asked to"
            code = 128 + signal.SIGKILL
            self._decide(Outcome(reason="stopped", exit_code=code, signal=signal.SIGKILL, notes=(note,)))
        limit_bytes = self._spec.limits.memory_bytes
        if self._looks and limit_bytes is not None and self._memory_used() > limit_bytes:
            note = f"out of memory: the enclave was found above its limit of {limit_bytes >> 20} MiB"
            self._decide(
                Outcome(reason="memory-limit", exit_code=128 + signal.SIGKILL, signal=signal.SIGKILL, notes=(note,))
            )

    def _memory_used(self) -> int:
        scratch = (SHARED_MEMORY, *(mount.path for mount in self._spec.scratch))
        return memory_watch.memory_used(self._guest.roots(), scratch)

    def _decide(self, outcome: Outcome) -> None:
        """Keep the first reason: what follows is its consequence."""
        if self._outcome is None:
            self._outcome = outcome

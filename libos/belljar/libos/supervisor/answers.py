"""What a supervisor answers about its enclave, and does for those who ask (IEEE 2952 5.5.1 a, b, e).

In come requests from the desk; out come plain values. The watch decides how an enclave ends: here it is only asked to.
"""

from __future__ import annotations

import marshal
import os
import time

from belljar.libos.interfaces import read_text
from belljar.libos.limits.watch import memory_used, processes
from belljar.libos.runs.desk import Refused

from .refusals import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from belljar.libos.gateway.gateway import Gateway
    from belljar.libos.identity.attestor import Attestor
    from belljar.libos.limits.cgroups import Cgroups
    from belljar.libos.outcome import Outcome
    from belljar.libos.runs.desk import Fields
    from belljar.libos.spec import EnclaveSpec

    from .files import GuestFiles
    from .launch import Guest
    from .refusals import Refusals

    class Asked(Protocol):
        """What can be asked of the watch."""

        def stop(self, grace_s: float) -> None:
            """End the program, by force after so many seconds."""
            ...

        def send(self, number: int) -> None:
            """Send the program a signal."""
            ...


_TICKS = os.sysconf("SC_CLK_TCK")
_LAST_SIGNAL = 64
_MAX_GRACE_S = 3600.0


class Answers:
    """Answers about one enclave.

    Args:
        name: what the run is called.
        spec: what the enclave was made from.
        guest: the enclave.
        files: its file servers.
        cgroups: its limits.
        refusals: what it was refused.

    Attributes:
        watch: who can be asked to end it; set it before anybody asks.
        attestor: who makes evidence; likewise.
        gateway: what leads in and out of it; None if nothing does.
    """

    def __init__(
        self,
        name: str,
        spec: EnclaveSpec,
        *,
        guest: Guest,
        files: GuestFiles,
        cgroups: Cgroups,
        refusals: Refusals,
    ) -> None:
        self._name = name
        self._spec = spec
        self._guest = guest
        self._files = files
        self._cgroups = cgroups
        self._refusals = refusals
        self._started = time.time()
        self._spec_file = -1
        self.watch: Asked | None = None
        self.attestor: Attestor | None = None
        self.gateway: Gateway | None = None
        self._table: dict[str, Callable[[Fields, list[int]], tuple[Fields, list[int]] | None]] = {
            "status": lambda _fields, _descriptors: (self.status(), []),
            "stats": lambda _fields, _descriptors: (self.stats(), []),
            "refused": lambda _fields, _descriptors: ({"refused": described(self.refused())}, []),
            "wait": lambda _fields, _descriptors: None,
            "stop": self._stop,
            "signal": self._signal,
            "enter": self._enter,
            "evidence": self._evidence,
        }

    def answer(self, what: str, fields: Fields, descriptors: list[int]) -> tuple[Fields, list[int]] | None:
        """Do one request.

        Raises:
            Refused: it is unknown, or cannot be done.
        """
        if what not in self._table:
            raise Refused(f"unknown request {what[:40]!r}: expected one of {', '.join(self._table)}")
        return self._table[what](fields, descriptors)

    def status(self) -> Fields:
        """Return who this is."""
        return {
            "name": self._name,
            "state": "running" if self._guest.program >= 0 else "starting",
            "measurement": f"sha256:{self._spec.measurement.hex()}",
            "argv": list(self._spec.argv),
            "supervisor": os.getpid(),
            "init": self._guest.init,
            "started": self._started,
        }

    def stats(self) -> Fields:
        """Return what the enclave uses: bytes, seconds, numbers; with a gateway, what that counts."""
        led: Fields = {} if self.gateway is None else {"gateway": self.gateway.stats()}
        roots = self._guest.roots()
        pids = processes(roots)
        used = self._cgroups.memory_used() or memory_used(roots)
        own = os.times()
        return {
            "name": self._name,
            "memory_bytes": used,
            "memory_limit_bytes": self._spec.limits.memory_bytes,
            "cpu_s": round(sum(map(_cpu_s, pids)), 2),
            "supervisor_cpu_s": round(own.user + own.system, 2),
            "supervisor_memory_bytes": _resident_bytes(),
            "processes": max(0, len(pids) - 1),  # without our init
            "uptime_s": round(time.time() - self._started, 1),
            **led,
        }

    def refused(self) -> tuple[Refusal, ...]:
        """Return what the enclave asked for and did not get."""
        missing = (Refusal(kind="path", what=path, count=1, host=host) for path, host in self._files.missing())
        return (*self.denied(), *missing)

    def denied(self) -> tuple[Refusal, ...]:
        """Return the part of it that was noted as it happened: system calls, and names of the network."""
        wanted = [] if self.gateway is None else self.gateway.counts.unmet.noted()
        unmet = (Refusal(kind=kind, what=what, count=count) for kind, what, count in wanted)
        return (*self._refusals.noted(), *unmet)

    def ended(self, outcome: Outcome, refused: tuple[Refusal, ...]) -> Fields:
        """Return what is to be remembered of a run that is over."""
        return {
            **self.status(),
            "state": "ended",
            "ended": time.time(),
            "reason": outcome.reason,
            "exit_code": outcome.exit_code,
            "signal": outcome.signal,
            "notes": list(outcome.notes),
            "refused": described(refused),
        }

    def _stop(self, fields: Fields, _descriptors: list[int]) -> None:
        grace = fields.get("grace_s", 10.0)
        if not isinstance(grace, int | float) or not 0 <= grace <= _MAX_GRACE_S:
            raise Refused(f"grace_s: got {grace!r}, expected seconds from 0 to {_MAX_GRACE_S:g}")
        if self.watch is not None:
            self.watch.stop(grace)

    def _signal(self, fields: Fields, _descriptors: list[int]) -> tuple[Fields, list[int]]:
        number = fields.get("number")
        if not isinstance(number, int) or not 0 < number <= _LAST_SIGNAL:
            raise Refused(f"number: got {number!r}, expected a signal from 1 to {_LAST_SIGNAL}")
        if self.watch is not None:
            self.watch.send(number)
        return {}, []

    def _enter(self, fields: Fields, _descriptors: list[int]) -> tuple[Fields, list[int]]:
        """Hand out what a process needs to join (`joining.py`): the specification, and the namespaces."""
        if not self._spec.enterable:
            raise Refused("its manifest does not let other programs be started in it (insecure_exec: true would)")
        if self._guest.program < 0 or not self._guest.namespaces:
            raise Refused("it has not started its program yet")
        if self._spec_file < 0:
            self._spec_file = os.memfd_create("belljar-spec", os.MFD_CLOEXEC)
            os.write(self._spec_file, marshal.dumps(self._spec.plain()))
        caller = fields.get("caller")
        if isinstance(caller, int):
            self._guest.let_in(caller)
        entrance: Fields = {"init": self._guest.init, "cgroups": self._cgroups.directories}
        return entrance, [self._spec_file, *self._guest.namespaces]

    def _evidence(self, fields: Fields, _descriptors: list[int]) -> tuple[Fields, list[int]]:
        """Make evidence for whoever may ask on this machine: for the purpose `local` only, and bound to nothing.

        Who sits here is not the program, and must not be able to speak for it or for its channels.
        """
        from base64 import b64encode

        from belljar.libos.identity.attestor import LOCAL, NotAttested

        nonce, purpose = fields.get("nonce"), fields.get("purpose")
        if purpose != LOCAL:
            raise Refused(f"purpose: got {str(purpose)[:40]!r}, expected {LOCAL!r}: the program alone asks for others")
        try:
            challenge = bytes.fromhex(nonce) if isinstance(nonce, str) else b""
        except ValueError:
            challenge = b""
        if not 8 <= len(challenge) <= 64:
            raise Refused("nonce: expected 8 to 64 bytes in hexadecimal")
        if self.attestor is None:
            raise Refused("it makes no evidence")
        try:
            token = self.attestor.token(LOCAL, challenge, b"")
        except NotAttested as error:
            raise Refused(f"no evidence: {error}") from error
        return {"media_type": self.attestor.media_type(), "evidence": b64encode(token).decode()}, []

    def close(self) -> None:
        """Release what was handed out."""
        if self._spec_file >= 0:
            os.close(self._spec_file)
            self._spec_file = -1


def described(refused: tuple[Refusal, ...]) -> list[Fields]:
    """Return refusals as plain values."""
    return [dict(zip(Refusal.__annotations__, refusal.fields(), strict=True)) for refusal in refused]


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of its children that have ended (proc_pid_stat(5): 14 to 17)."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS if len(fields) > 15 else 0.0


def _resident_bytes() -> int:
    """Return the proportional share of memory of this process."""
    for line in read_text("/proc/self/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0

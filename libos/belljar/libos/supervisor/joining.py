"""Start another program in a running enclave, as a process of the caller (IEEE 2952 5.1.3 c).

In come a specification and open namespaces, as the supervisor of the enclave handed them out; out comes an `Outcome`.
The program is confined by the same steps as the enclave's own; it ends with its caller, and with the enclave.
"""

from __future__ import annotations

import os

from belljar.libos.control import control_pair
from belljar.libos.limits.cgroups import Cgroups
from belljar.libos.values import Value

from .events import Events
from .launch import Guest
from .refusals import Refusals
from .streams import give_pipes_to, let_go, open_standard_descriptors
from .watch import Around, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.libos.outcome import Outcome
    from belljar.libos.plan.build import Plan
    from belljar.libos.spec import EnclaveSpec

    from .refusals import Refusal
    from .terminal import CallerTerminal

_NO_WINDOW = bytes(8)


class Entrance(Value):
    """What lets a process into a running enclave.

    Attributes:
        namespaces: open, the user namespace first; they belong to whoever is given this.
        cgroups: directories of the enclave's cgroups.
        owner: host (uid, gid) of the enclave's user where it is not the caller.
    """

    namespaces: tuple[int, ...]
    cgroups: tuple[str, ...]
    owner: tuple[int, int] | None


def run_joined(
    spec: EnclaveSpec, plan: Plan, entrance: Entrance, terminal: CallerTerminal | None
) -> tuple[Outcome, tuple[Refusal, ...]]:
    """Run a program in a running enclave to its end; return how it ended, and what it was refused.

    Args:
        spec: the enclave's, with another program, and no limits that are not of a process.
        plan: of that.
        entrance: what lets us in.
        terminal: the caller's.

    Raises:
        SandboxUnavailable, ProgramNotStarted: it never ran.
    """
    open_standard_descriptors()
    if entrance.owner is not None:
        give_pipes_to((0, 1, 2), *entrance.owner)
    ours, theirs = control_pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        from belljar.libos.guest.enter import Entry
        from belljar.libos.guest.join import join

        shown = (None, _NO_WINDOW) if terminal is None else (terminal.attributes, terminal.window())
        join(
            Entry(plan, theirs, host_mounts=(), terminal=shown, enterable=False), entrance.namespaces, entrance.cgroups
        )
    theirs.close()
    for descriptor in entrance.namespaces:
        os.close(descriptor)
    let_go(0, 1)
    return _watched(Guest(ours, pid), spec, terminal)


def _watched(guest: Guest, spec: EnclaveSpec, terminal: CallerTerminal | None) -> tuple[Outcome, tuple[Refusal, ...]]:
    events = Events()
    refusals = Refusals(spec.denied)
    try:
        around = Around(
            events=events,
            cgroups=Cgroups(),
            terminal=terminal,
            desk=None,
            refusals=refusals,
            line=-1,
        )
        outcome = Watch(guest, spec, around, lambda: None).run()
        return outcome, refusals.noted()
    finally:
        guest.end()
        refusals.close()
        events.close()
        if terminal is not None:
            terminal.restore()

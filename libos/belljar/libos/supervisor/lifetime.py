"""The life of one enclave from the fork to the last trace of it: the owner of everything that must be released.

Order matters and is written once, here: the guest's side is forked before anything else exists; in the end processes go
first, then file servers, then cgroups.
"""

from __future__ import annotations

import resource

from belljar.libos.outcome import Run

from .launch import fork_guest, start
from .streams import give_pipes_to, let_go, open_standard_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.serving import Warmup
    from belljar.libos.limits.cgroups import Cgroups
    from belljar.libos.limits.warden import Warden
    from belljar.libos.plan.build import Plan
    from belljar.libos.spec import EnclaveSpec

    from .launch import Guest
    from .terminal import CallerTerminal


class Lifetime:
    """One run of one enclave."""

    def __init__(
        self, spec: EnclaveSpec, plan: Plan, warmup: Warmup, cgroups: Cgroups, terminal: CallerTerminal | None
    ) -> None:
        self._spec = spec
        self._plan = plan
        self._warmup = warmup
        self._cgroups = cgroups
        self._terminal = terminal

    def run(self) -> Run:
        """Run to the end; raises what `run_enclave` raises."""
        open_standard_descriptors()
        warden = self._warden()
        try:
            if not self._plan.ids.deny_setgroups:
                give_pipes_to(self._plan.ids.uids[-1][1], self._plan.ids.gids[-1][1])
            guest = fork_guest(self._spec, self._plan, self._terminal)
            let_go(0, 1)
            try:
                return self._supervise(guest)
            finally:
                guest.end()
        finally:
            if self._terminal is not None:
                self._terminal.restore()
            if warden is not None:
                warden.close()

    def _warden(self) -> Warden | None:
        if not self._cgroups.directories:
            return None
        from belljar.libos.limits.warden import Warden

        return Warden(self._cgroups.directories)

    def _supervise(self, guest: Guest) -> Run:
        # Imported while the guest's side imports its own: the two run on two CPUs.
        from belljar.libos.limits.watch import memory_used, processes
        from belljar.libos.synthetic.proc import Machine

        from .events import Events
        from .files import GuestFiles
        from .watch import Watch

        _allow_many_descriptors()
        machine = Machine(
            self._spec.limits,
            memory_used=lambda: self._cgroups.memory_used() or memory_used(guest.init),
            tasks=lambda: (1, len(processes(guest.init))),
        )
        events = Events()
        try:
            files = GuestFiles(
                self._spec,
                machine.files(),
                self._warmup,
                on_violation=events.on_violation,
                on_failure=events.on_failure,
            )
            try:
                start(guest, self._spec, self._plan, self._cgroups, files)
                watch = Watch(
                    guest, self._spec, files=files, events=events, cgroups=self._cgroups, terminal=self._terminal
                )
                outcome = watch.run()
                return Run(outcome=outcome, warmup=files.warmup(), opened=files.opened())
            finally:
                guest.end()  # before its files go: nobody must see them fail
                files.close()
        finally:
            events.close()


def _allow_many_descriptors() -> None:
    """Use what the hard limit allows: every hashed file that is read keeps a descriptor for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

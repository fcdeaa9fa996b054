"""The life of one enclave from the fork to the last trace of it: the owner of everything that must be released.

Order matters and is written once, here: the guest's side is forked before anything else exists; in the end processes go
first, then file servers, then cgroups.
"""

from __future__ import annotations

import resource

from belljar.libos.outcome import Run
from belljar.libos.runs.directory import RunDirectory, runs_folder

from .launch import fork_guest, start
from .output import Output
from .streams import give_pipes_to, let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.serving import Warmup
    from belljar.libos.limits.cgroups import Cgroups
    from belljar.libos.limits.warden import Warden
    from belljar.libos.manner import Manner
    from belljar.libos.plan.build import Plan
    from belljar.libos.spec import EnclaveSpec

    from .events import Events
    from .files import GuestFiles
    from .launch import Guest
    from .terminal import CallerTerminal


class Lifetime:
    """One run of one enclave."""

    def __init__(
        self,
        spec: EnclaveSpec,
        plan: Plan,
        warmup: Warmup,
        *,
        manner: Manner,
        cgroups: Cgroups,
        terminal: CallerTerminal | None,
    ) -> None:
        self._spec = spec
        self._plan = plan
        self._warmup = warmup
        self._manner = manner
        self._cgroups = cgroups
        self._terminal = terminal

    def run(self, warden: Warden) -> Run:
        """Run to the end; raises what `run_enclave` raises. The warden is told of the directory of the run."""
        output = Output() if self._manner.keeps_output else None
        streams = (0, 1, 2) if output is None else (0, output.writer, output.writer)
        try:
            if not self._plan.ids.deny_setgroups:
                give_pipes_to(streams, self._plan.ids.uids[-1][1], self._plan.ids.gids[-1][1])
            guest = fork_guest(self._spec, self._plan, self._terminal, streams)
            try:
                return self._in_directory(guest, output, warden)
            finally:
                guest.end()
        finally:
            if self._terminal is not None:
                self._terminal.restore()

    def _in_directory(self, guest: Guest, output: Output | None, warden: Warden) -> Run:
        """Give the run its name and its directory."""
        manner = self._manner
        directory = RunDirectory(
            runs_folder(), manner.name or self._spec.name, exact=manner.name is not None, tell=warden.tell_run
        )
        try:
            if output is None:
                let_go(0, 1)
            else:
                output.keep_in(directory.descriptor)
            return self._supervise(guest, directory)
        finally:
            guest.end()
            if output is not None:
                output.finish()
            directory.close()

    def _supervise(self, guest: Guest, directory: RunDirectory) -> Run:
        # Imported while the guest's side imports its own: the two run on two CPUs.
        from belljar.libos.limits.watch import memory_used, processes
        from belljar.libos.synthetic.proc import Machine

        from .events import Events
        from .files import GuestFiles

        _allow_many_descriptors()
        machine = Machine(
            self._spec.limits,
            memory_used=lambda: self._cgroups.memory_used() or memory_used(guest.roots()),
            tasks=lambda: (1, len(processes(guest.roots()))),
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
                return self._watched(guest, directory, files, events)
            finally:
                guest.end()  # before its files go: nobody must see them fail
                files.close()
        finally:
            events.close()

    def _watched(self, guest: Guest, directory: RunDirectory, files: GuestFiles, events: Events) -> Run:
        """Watch the enclave to its end, answer those who ask about it, and leave word of how it ended."""
        from belljar.libos.runs.desk import Desk

        from .answers import Answers
        from .refusals import Refusals
        from .watch import Around, Watch

        refusals = Refusals(self._spec.denied)
        answers = Answers(
            directory.name, self._spec, guest=guest, files=files, cgroups=self._cgroups, refusals=refusals
        )
        desk = Desk(directory.listener, answers.answer)
        last = None
        try:
            around = Around(
                files=files,
                events=events,
                cgroups=self._cgroups,
                terminal=self._terminal,
                desk=desk,
                refusals=refusals,
            )
            watch = Watch(guest, self._spec, around, lambda: self._tell_started(directory.name))
            answers.watch = watch
            outcome = watch.run()
            guest.end()
            refused = answers.refused() if outcome.exit_code else refusals.noted()
            last = answers.ended(outcome, refused)
            if self._manner.keeps_output or (refused and outcome.exit_code):
                import json  # 3 ms, after the end

                directory.keep(json.dumps(last).encode())
            return Run(
                name=directory.name,
                outcome=outcome,
                refused=refused,
                warmup=files.warmup(),
                opened=files.opened(),
            )
        finally:
            desk.close(last)
            answers.close()
            refusals.close()

    def _tell_started(self, name: str) -> None:
        if self._manner.on_started is not None:
            self._manner.on_started(name)


def _allow_many_descriptors() -> None:
    """Use what the hard limit allows: every hashed file that is read keeps a descriptor for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

"""The life of one enclave from the fork to the last trace of it: the owner of everything that must be released.

Order matters and is written once, here: the guest's side is forked before anything else exists; the caller's part of
the run comes when everything is built; in the end processes go first, then file servers, then cgroups.
"""

from __future__ import annotations

import resource
import select

from belljar.libos import control as messages
from belljar.libos.folders import runs_folder
from belljar.libos.outcome import EXIT_BELLJAR_FAILED, Run
from belljar.libos.runs.directory import RunDirectory

from .launch import commission, failure, fork_guest, start
from .output import Output
from .streams import give_pipes_to, let_go
from .terminal import CallerTerminal, terminals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.pseudo import PseudoFolder
    from belljar.fs.serving import Warmup
    from belljar.libos.callers import Caller, Commission
    from belljar.libos.gateway.gateway import Gateway
    from belljar.libos.identity.attestor import Attestor
    from belljar.libos.limits.cgroups import Cgroups
    from belljar.libos.limits.warden import Warden
    from belljar.libos.plan.build import Plan
    from belljar.libos.runs.desk import Fields
    from belljar.libos.spec import EnclaveSpec

    from .events import Events
    from .files import GuestFiles
    from .launch import Guest
    from .volumes import GuestVolumes, Keys

    Planner = Callable[[EnclaveSpec, tuple[int, ...]], Plan]
    """(what shall run, which of 0, 1 and 2 are terminals) -> the plan; the enclave it builds depends on neither."""


class Lifetime:
    """One run of one enclave.

    Args:
        spec: what is to be built.
        planner: makes plans, of the building and of what the caller wants then.
        warmup: what an earlier run of the same trees used.
        cgroups: its limits.
        caller: who says what shall run.
        keys: what opens the volumes.
    """

    def __init__(
        self, spec: EnclaveSpec, planner: Planner, warmup: Warmup, *, cgroups: Cgroups, caller: Caller, keys: Keys
    ) -> None:
        self._spec = spec
        self._planner = planner
        self._plan = planner(spec, ())
        self._warmup = warmup
        self._cgroups = cgroups
        self._caller = caller
        self._keys = keys

    def run(self, warden: Warden) -> Run:
        """Run to the end; raises what `run_enclave` raises. The warden is told of the directory of the run."""
        guest = fork_guest(self._spec, self._plan)
        try:
            return self._supervise(guest, warden)
        finally:
            guest.end()

    def _supervise(self, guest: Guest, warden: Warden) -> Run:
        # Imported while the guest's side imports its own: the two run on two CPUs.
        from belljar.libos.identity.attestor import Attestor
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
        attestor = Attestor()
        evidence, peers = self._evidence(attestor)
        try:
            files = GuestFiles(
                self._spec,
                {**machine.files(), **(_PLACES_OF_EVIDENCE if self._plan.attests else {})},
                self._warmup,
                on_violation=events.on_violation,
                on_failure=events.on_failure,
                evidence=evidence,
            )
            try:
                return self._with_volumes(guest, _Standing(files, None, events, attestor, peers), warden)
            finally:
                guest.end()  # before its files go: nobody must see them fail
                files.close()
        finally:
            attestor.close()
            events.close()

    def _evidence(self, attestor: Attestor) -> tuple[PseudoFolder | None, PseudoFolder | None]:
        """Return the guest's files for evidence, and of them the folder of who is connected, as far as it gets them."""
        if not self._plan.attests:
            return None, None
        from belljar.fs.pseudo import PseudoFolder
        from belljar.libos.identity.guest_files import evidence_tree

        peers = PseudoFolder({}) if self._spec.inward else None
        return evidence_tree(attestor, peers), peers

    def _with_volumes(self, guest: Guest, standing: _Standing, warden: Warden) -> Run:
        """Open the volumes, build the enclave, run it; in the end see to it that the volumes have everything."""
        files, events = standing.files, standing.events
        if not self._spec.volumes:
            start(guest, self._spec, self._plan, self._cgroups, files, None)
            if self._caller.fileno() >= 0:
                self._await_caller(guest, standing)
            return self._in_directory(guest, standing, warden)
        from .volumes import GuestVolumes

        volumes = GuestVolumes(self._spec, self._keys, on_violation=events.on_violation, on_failure=events.on_failure)
        problems: list[str] = []
        try:
            start(guest, self._spec, self._plan, self._cgroups, files, volumes)
            whole = _Standing(files, volumes, events, standing.attestor, standing.peers)
            run = self._in_directory(guest, whole, warden)
        finally:
            guest.end()
            problems = volumes.close()
        return _with_problems(run, problems)

    def _await_caller(self, guest: Guest, standing: _Standing) -> None:
        """Wait with a finished enclave until the caller comes."""
        standing.until_set_up(guest, everything=True)
        self._caller.stand_ready()
        poll = select.poll()
        poll.register(self._caller.fileno(), select.POLLIN)
        poll.register(guest.control.fileno(), select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll()]
        if guest.control.fileno() in ready:
            raise failure(*guest.control.receive()[:2])

    def _in_directory(self, guest: Guest, standing: _Standing, warden: Warden) -> Run:
        """Take the commission, and give the run its name and its directory."""
        wanted = self._caller.commission()
        output = Output() if wanted.manner.keeps_output else None
        directory = RunDirectory(
            runs_folder(),
            wanted.manner.name or self._spec.name,
            exact=wanted.manner.name is not None,
            tell=warden.tell_run,
        )
        try:
            if output is not None:
                output.keep_in(directory.descriptor)
            return self._begin(guest, wanted, output, (directory, standing))
        finally:
            guest.end()
            if output is not None:
                output.finish()
            directory.close()

    def _begin(
        self, guest: Guest, wanted: Commission, output: Output | None, standing: tuple[RunDirectory, _Standing]
    ) -> Run:
        """Let the program start, with the caller's streams and terminal."""
        shown = () if output is not None else terminals()
        terminal = CallerTerminal(shown) if shown else None
        try:
            plan = self._plan if wanted.spec is self._spec and not shown else self._planner(wanted.spec, shown)
            streams = (0, 1, 2) if output is None else (0, output.writer, output.writer)
            if not plan.ids.deny_setgroups:
                give_pipes_to(streams, plan.ids.uids[-1][1], plan.ids.gids[-1][1])
            standing[1].until_set_up(guest, everything=False)
            standing[1].open_gateway(guest, wanted.spec, 2 if output is None else output.writer)
            commission(guest, None if plan is self._plan else plan, streams, terminal)
            if output is None:
                let_go(0, 1)
            return self._watched(guest, wanted, *standing, terminal)
        finally:
            standing[1].close_gateway()
            if terminal is not None:
                terminal.restore()

    def _watched(
        self,
        guest: Guest,
        wanted: Commission,
        directory: RunDirectory,
        standing: _Standing,
        terminal: CallerTerminal | None,
    ) -> Run:
        """Watch the enclave to its end, answer those who ask about it, and leave word of how it ended."""
        from belljar.libos.runs.desk import Desk

        from .answers import Answers
        from .refusals import Refusals
        from .watch import Around, Watch

        files = standing.files
        refusals = Refusals(wanted.spec.denied)
        answers = Answers(
            directory.name, wanted.spec, guest=guest, files=files, cgroups=self._cgroups, refusals=refusals
        )
        answers.attestor = standing.attesting(wanted.spec, guest)
        answers.gateway = standing.start_gateway()
        desk = Desk(directory.listener, answers.answer)
        last = None
        try:
            around = Around(
                events=standing.events, cgroups=self._cgroups, terminal=terminal, desk=desk, refusals=refusals,
                line=wanted.line,
            )  # fmt: skip
            on_started = wanted.manner.on_started
            watch = Watch(guest, wanted.spec, around, lambda: on_started(directory.name) if on_started else None)
            answers.watch = watch
            outcome = watch.run()
            guest.end()
            refused = answers.refused() if outcome.exit_code else answers.denied()
            last = answers.ended(outcome, refused)
            if wanted.manner.keeps_output or (refused and outcome.exit_code):
                _leave_word(directory, last)
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


class _Standing:
    """What stands when the program starts; `peers` is the guest's folder of who is connected to it."""

    def __init__(
        self,
        files: GuestFiles,
        volumes: GuestVolumes | None,
        events: Events,
        attestor: Attestor,
        peers: PseudoFolder | None,
    ) -> None:
        self.files = files
        self.volumes = volumes
        self.events = events
        self.attestor = attestor
        self.peers = peers
        self._gateway: Gateway | None = None
        self._is_set_up = False

    def attesting(self, spec: EnclaveSpec, guest: Guest) -> Attestor:
        """Return what makes evidence of the enclave, now that it is known what runs in it."""
        self.attestor.begin(spec, self.volumes.roots if self.volumes else None, guest.roots)
        return self.attestor

    def open_gateway(self, guest: Guest, spec: EnclaveSpec, said: int) -> None:
        """Open what leads in and out of the enclave, if its manifest opens anything.

        Args:
            guest: the enclave, whose sockets become the gateway's.
            spec: with what it opens.
            said: descriptor for lines about refused connections.

        Raises:
            SandboxUnavailable: an address is taken, or a file of an entry cannot be used.
        """
        if not (spec.inward or spec.outward):
            return
        from belljar.libos.gateway.gateway import Gateway, Means

        inside, giver = tuple(guest.listening), guest.giver
        guest.listening, guest.giver = [], -1
        self._gateway = Gateway(
            spec,
            Means(
                attestor=self.attestor, peers=self.peers, inside=inside, giver=giver, said=said,
                on_failure=self.events.on_gateway_failure,
            ),
        )  # fmt: skip

    def start_gateway(self) -> Gateway | None:
        """Serve connections from now on; return the gateway, if there is one."""
        if self._gateway is not None:
            self._gateway.start()
        return self._gateway

    def close_gateway(self) -> None:
        """Let connections end for a moment, and release everything."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.close()

    def until_set_up(self, guest: Guest, *, everything: bool) -> None:
        """Wait until init has built everything, and only waits for the program's start.

        Args:
            guest: the enclave.
            everything: whether there is time to store all that the last run read.

        Raises:
            SandboxUnavailable: a step failed.
        """
        while not self._is_set_up:
            name, fields, descriptors = guest.control.receive()
            if name == messages.VOLUME and self.volumes is not None:
                self.volumes.serve(int(fields[0]), init=guest.init)
            elif name == messages.ATTESTATION:
                self.files.serve_attestation()
            elif name == messages.LISTENING:
                guest.listening = descriptors
            elif name == messages.SET_UP:
                self.files.spread(everything=everything)
                self._is_set_up = True
            else:
                raise failure(name, fields)


def _leave_word(directory: RunDirectory, last: Fields) -> None:
    import json  # 3 ms, after the end

    directory.keep(json.dumps(last).encode())


_PLACES_OF_EVIDENCE = {"sys/kernel/config/tsm/report/.keep": bytes}


def _with_problems(run: Run, problems: list[str]) -> Run:
    """Add what the volumes could not keep: a run that lost something did not end well."""
    if not problems:
        return run
    outcome = run.outcome
    code = outcome.exit_code or EXIT_BELLJAR_FAILED
    return run.replace(outcome=outcome.replace(exit_code=code, notes=(*outcome.notes, *problems)))


def _allow_many_descriptors() -> None:
    """Use what the hard limit allows: every hashed file that is read keeps a descriptor for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

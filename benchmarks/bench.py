"""What every benchmark is given: who is measured, how often, where."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError

from .peers import PYTHON, Peer
from .rounds import Numbers, Table, interleave, told_inside, whole_process_ms

PROGRAMS = Path(__file__).parent / "programs"


class Bench:
    """What every benchmark is given.

    Args:
        peers: native first, then belljar, then the others.
        script: the console script of belljar.
        rounds: how often each is measured.
        folder: where programs and their files are; the working directory.
        enclaves: how many at once, for `density`.
        small: small sizes, to see whether a benchmark runs; the figures mean nothing.
        beside: the only others that are wanted; None for all.
        million: a million files, too, for `volume`.
    """

    def __init__(  # noqa: PLR0913 - one per option
        self,
        peers: list[Peer],
        script: Path,
        folder: Path,
        *,
        rounds: int,
        enclaves: int,
        small: bool,
        beside: frozenset[str] | None = None,
        million: bool = False,
    ) -> None:
        self.peers = peers
        self.script = script
        self.folder = folder
        self.rounds = rounds
        self.enclaves = enclaves
        self.small = small
        self.beside = beside
        self.million = million
        self.notes: list[str] = []

    @property
    def belljar(self) -> Peer:
        """Belljar."""
        return next(peer for peer in self.peers if peer.name == "belljar")

    def few(self, part: int) -> int:
        """Return a part of the rounds, for what takes long or repeats inside."""
        return max(1 if self.small else 3, self.rounds // part)

    def note(self, text: str) -> None:
        """Remember what could not be measured, and why."""
        if text not in self.notes:
            self.notes.append(text)

    def program(self, name: str) -> str:
        """Bring a program into the working directory and return its name."""
        shutil.copyfile(PROGRAMS / name, self.folder / name)
        return name

    def settle(self, *words: str) -> None:
        """Let belljar prepare, and the stamps of what it made grow old enough to be believed."""
        whole_process_ms(self.belljar, *words)
        time.sleep(2.1)
        whole_process_ms(self.belljar, *words)

    def inside(self, table: Table, program: str, *words: str, rounds: int) -> Table:
        """Run a program that measures itself, every way."""
        name = self.program(program)
        return self.told(table, (PYTHON, name, *words), told_inside, rounds=rounds)

    def told(
        self, table: Table, words: Sequence[str], ask: Callable[..., Numbers], *, rounds: int, only: str = ""
    ) -> Table:
        """Have every way measured by `ask(peer, *words)`; a way that cannot run it is left out, and noted."""
        ways: dict[str, Callable[[], Numbers]] = {}
        for peer in self.peers:
            try:
                ask(peer, *words)  # the first time is not counted, and shows whether it works
            except CalledProcessError as error:
                why = (error.stderr or "no reason given").strip().splitlines()[-1:]
                self.note(f"{peer.name} cannot run {only or table.title}: {''.join(why)[:200]}")
                continue
            ways[peer.name] = partial(ask, peer, *words)
        interleave(table, ways, rounds, warm=0)
        return table

"""How it is measured: every way once per round, rounds over and over, medians and ratios in the end.

A machine that slows down for a while slows every way down alike.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .peers import Peer

Numbers = dict[str, float]
"""What one run measured: name of the figure -> value."""


@dataclass
class Table:
    """The medians of one benchmark.

    Attributes:
        title: what was measured.
        unit: of every value.
        rows: figure -> way -> values of all rounds.
        target: what the design asks for, in words.
        more_is_better: whether a ratio above one is good.
    """

    title: str
    unit: str
    target: str
    more_is_better: bool = False
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict[str, dict[str, list[float]]])

    def add(self, way: str, numbers: Numbers) -> None:
        """Add what one run measured."""
        for figure, value in numbers.items():
            self.rows.setdefault(figure, {}).setdefault(way, []).append(value)

    def median(self, figure: str, way: str) -> float:
        """Return the median of a figure."""
        return statistics.median(self.rows[figure][way])

    def text(self) -> str:
        """Return the table for people: medians, and in brackets the ratio to the first way."""
        ways = list(dict.fromkeys(way for row in self.rows.values() for way in row))
        lines = [f"### {self.title} ({self.unit})", "", f"| | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
        for figure, row in self.rows.items():
            cells = []
            for way in ways:
                if way not in row:
                    cells.append("–")
                    continue
                value, first = statistics.median(row[way]), statistics.median(row[ways[0]]) if ways[0] in row else 0
                ratio = f" ({value / first:.2f}×)" if first and way != ways[0] else ""
                cells.append(f"{_short(value)}{ratio}")
            lines.append(f"| {figure} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"Target: {self.target}", ""])

    def as_json(self) -> dict[str, object]:
        """Return everything, for programs."""
        return {"title": self.title, "unit": self.unit, "target": self.target, "rows": self.rows}


def _short(value: float) -> str:
    if value < 0.1:
        return f"{value:.3g}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def whole_process_ms(peer: Peer, *words: str) -> float:
    """Return how long a command takes from start to end, in milliseconds."""
    command = peer.command(*words)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def told_inside(peer: Peer, *words: str) -> Numbers:
    """Run a program that prints its own measurements as JSON, and return them."""
    done = subprocess.run(peer.command(*words), check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers


def interleave(table: Table, ways: dict[str, Callable[[], Numbers]], rounds: int, warm: int = 1) -> None:
    """Run every way once per round; the first `warm` rounds are not counted."""
    for number in range(warm + rounds):
        for way, measure in ways.items():
            numbers = measure()
            if number >= warm:
                table.add(way, numbers)

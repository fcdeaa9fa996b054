"""`python -m benchmarks [NAME …]`: measure, and print tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .bench import Bench
from .channels import channel
from .crowd import density
from .peers import LAUNCHES, PYTHON, Peer, belljar, launched, sandboxes
from .rounds import Table
from .suites import cold_start, hashed_read, imports, many_files, memory, spawn, syscalls, warm_start
from .volumes import volume
from .work import cpu, loopback

SUITES: dict[str, Callable[[Bench], list[Table]]] = {
    "warm-start": warm_start,
    "cold-start": cold_start,
    "imports": imports,
    "syscalls": syscalls,
    "spawn": spawn,
    "cpu": cpu,
    "loopback": loopback,
    "hashed-read": hashed_read,
    "many-files": many_files,
    "memory": memory,
    "density": density,
    "volume": volume,
    "channel": channel,
}


def main() -> int:
    """Run benchmarks."""
    arguments = _parser().parse_args()
    unknown = set(arguments.names) - set(SUITES)
    if unknown:
        _parser().error(f"no such benchmark: {', '.join(sorted(unknown))}; expected {', '.join(SUITES)}")
    results: dict[str, object] = {"machine": _machine()}
    print(f"{_machine()}\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder,
        tempfile.TemporaryDirectory(prefix="bench-bundles-") as bundles,
        belljar(arguments.belljar, arguments.cache) as script,
    ):
        os.chdir(folder)
        try:
            bench, left_out = _bench(arguments, Path(folder), Path(bundles), script)
            results["left out"] = left_out
            print("".join(f"{reason}\n" for reason in left_out), flush=True)
            for name in arguments.names or SUITES:
                tables = SUITES[name](bench)
                results[name] = [table.as_json() for table in tables]
                for table in tables:
                    print(table.text(), flush=True)
        finally:
            os.chdir("/")
    results["notes"] = bench.notes
    print("".join(f"Note: {note}\n" for note in bench.notes), end="")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(SUITES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is measured (default: 20)")
    parser.add_argument("--enclaves", type=int, default=100, help="how many at once, for density (default: 100)")
    parser.add_argument("--million", action="store_true", help="with a million files, too, for volume: takes long")
    parser.add_argument(
        "--small", action="store_true", help="small sizes, to see whether it runs; figures mean nothing"
    )
    parser.add_argument(
        "--belljar", type=Path, metavar="SCRIPT", help="an installed one (default: a wheel of this checkout)"
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep belljar's cache there (default: a new one)")
    parser.add_argument("--beside", metavar="PEER,…", help="which others (default: all that work here)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value, too")
    return parser


def _bench(arguments: argparse.Namespace, folder: Path, bundles: Path, script: Path) -> tuple[Bench, list[str]]:
    others, left_out = sandboxes(bundles)
    beside = None if arguments.beside is None else frozenset(arguments.beside.split(","))
    if beside is not None:
        others = [peer for peer in others if peer.name in beside]
    bench = Bench(
        [Peer("native", ()), launched(script, LAUNCHES[0]), *others], script, folder,
        rounds=arguments.rounds, enclaves=arguments.enclaves, small=arguments.small,
        beside=beside, million=arguments.million,
    )  # fmt: skip
    return bench, left_out


def _machine() -> str:
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} × {model}, guest interpreter {PYTHON}"


if __name__ == "__main__":
    sys.exit(main())

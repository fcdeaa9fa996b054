"""`python -m benchmarks [NAME …]`: measure, and print tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from .peers import PYTHON, Peer, belljar, sandboxes
from .suites import SUITES, Bench


def main() -> int:
    """Run benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(SUITES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is measured (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value, too")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(SUITES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; expected {', '.join(SUITES)}")
    results: dict[str, object] = {"machine": _machine()}
    print(f"{_machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder, belljar() as ours:
        os.chdir(folder)
        bench = Bench([Peer("native", ()), ours, *sandboxes()], arguments.rounds, Path(folder))
        for name in arguments.names or SUITES:
            tables = SUITES[name](bench)
            results[name] = [table.as_json() for table in tables]
            for table in tables:
                print(table.text(), flush=True)
        os.chdir("/")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _machine() -> str:
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} × {model}, guest interpreter {PYTHON}"


if __name__ == "__main__":
    sys.exit(main())

"""`belljar measure`: print the identity of an enclave, and what it is made of."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader.prepare import measure_target
from belljar.loader.target import parse_words

from .errors import loader_errors
from .progress import hashing_progress

if TYPE_CHECKING:
    from belljar.loader.measure import Measured
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Measure a manifest, a script or a command."""
    with loader_errors(), hashing_progress() as progress:
        measured = measure_target(parse_words(parsed.words), progress)
    if parsed.has("canonical"):
        sys.stdout.buffer.write(measured.canonical)
    elif parsed.has("json"):
        sys.stdout.write(json.dumps(_as_json(measured), indent=2) + "\n")
    else:
        sys.stdout.write(f"sha256:{measured.measurement.hex()}\n")
    return 0


def _as_json(measured: Measured) -> dict[str, object]:
    return {
        "measurement": f"sha256:{measured.measurement.hex()}",
        "name": measured.resolved.manifest.name,
        "executable": measured.executable,
        "trees": [
            {
                "path": tree.where.path,
                "source": tree.where.source,
                "index": f"sha256:{tree.measured.index.digest.hex()}",
                "entries": tree.measured.index.entries,
                "size_bytes": tree.measured.size_bytes,
                "left_out": [path.decode(errors="backslashreplace") for path in tree.measured.left_out],
            }
            for tree in measured.trees
        ],
    }

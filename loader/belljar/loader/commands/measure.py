"""`belljar measure`: print the identity of an enclave, and what it is made of."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader.options import Parsed
from belljar.loader.prepare import measure_target
from belljar.loader.target import parse_words

from .errors import loader_errors
from .progress import hashing_progress

if TYPE_CHECKING:
    from belljar.loader.measure import Measured


def main(parsed: Parsed) -> int:
    """Measure a manifest, a script or a command; of a bundle, tell what was measured when it was built."""
    target = parse_words(parsed.words)
    if target.is_bundle:
        return _main_of_bundle(parsed)
    with loader_errors(), hashing_progress() as progress:
        measured = measure_target(target, progress)
    if parsed.has("canonical"):
        sys.stdout.buffer.write(measured.canonical)
    elif parsed.has("json"):
        sys.stdout.write(json.dumps(_as_json(measured), indent=2) + "\n")
    else:
        sys.stdout.write(f"sha256:{measured.measurement.hex()}\n")
    return 0


def _main_of_bundle(parsed: Parsed) -> int:
    if parsed.has("canonical") or parsed.has("json"):
        from .bundles import inspect

        return inspect.main(Parsed(options=parsed.options, words=parsed.words[:1]))
    from belljar.loader.bundle.read import read_bundle

    with loader_errors():
        sys.stdout.write(f"sha256:{read_bundle(parsed.words[0]).measurement.hex()}\n")
    return 0


def _as_json(measured: Measured) -> dict[str, object]:
    return {
        "measurement": f"sha256:{measured.measurement.hex()}",
        "name": measured.resolved.manifest.name,
        "executable": measured.decided.executable,
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

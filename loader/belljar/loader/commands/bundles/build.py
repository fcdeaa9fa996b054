"""`belljar build`: measure a manifest, and put everything that identifies it into one file, signed or not."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.measuring import selects
from belljar.loader import report
from belljar.loader.bundle.files import replace_file
from belljar.loader.bundle.layout import SUFFIX
from belljar.loader.bundle.write import bundle_bytes
from belljar.loader.commands.errors import loader_errors
from belljar.loader.commands.progress import hashing_progress
from belljar.loader.errors import LoaderError, UsageError
from belljar.loader.prepare import measure_target
from belljar.loader.target import parse_words

if TYPE_CHECKING:
    from belljar.attestation.keys import SigningKey
    from belljar.loader.measure import Measured
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Build a bundle."""
    output = _output(parsed)
    target = parse_words(parsed.words)
    key_path = parsed.options.get("key")
    key = None if key_path is None else _key(key_path)
    with loader_errors(), hashing_progress() as progress:
        measured = measure_target(target, progress)
    if key_path is not None:
        _keep_out(measured, key_path)
    content = bundle_bytes(measured, os.path.dirname(os.path.abspath(output)), key)
    replace_file(output, content)
    _say(measured, key, output, as_json=parsed.has("json"))
    _warn(measured, output)
    return 0


def _output(parsed: Parsed) -> str:
    words = parsed.words
    if len(words) != 1 or not words[0].endswith((".yaml", ".yml")):
        hint = "for a command, save its manifest first: belljar run --explain -- COMMAND… > app.yaml"
        raise UsageError("expected one manifest: belljar build app.yaml", hint=hint if words else None)
    output = parsed.options.get("output", os.path.splitext(words[0])[0] + SUFFIX)
    if not output.endswith(SUFFIX):
        raise UsageError(f"the output {output}: expected a name that ends in {SUFFIX}")
    return output


def _key(path: str) -> SigningKey:
    from belljar.loader.bundle.signers import read_private

    return read_private(path)


def _say(measured: Measured, key: SigningKey | None, output: str, *, as_json: bool) -> None:
    measurement = f"sha256:{measured.measurement.hex()}"
    signer = None if key is None else f"sha256:{key.public.signer.hex()}"
    if as_json:
        members = {"bundle": output, "measurement": measurement, "signer": signer}
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(f"measurement {measurement}\nsigner {signer or 'none: not signed'}\n")
    sys.stdout.flush()


def _tree_of(measured: Measured, path: str) -> str | None:
    """Return the guest path of the manifest's own tree that a file of the host belongs to, if any."""
    place = os.path.realpath(path)
    for tree in measured.trees:
        source = os.path.realpath(tree.where.source)
        if not tree.where.of_programs and (place == source or place.startswith(source.rstrip("/") + "/")):
            below = os.path.relpath(place, source)
            if place == source or selects(tree.where.selection, os.fsencode(below)):
                return tree.where.path
    return None


def _keep_out(measured: Measured, key: str) -> None:
    """Refuse to build an enclave that holds the key it is signed with."""
    mount = _tree_of(measured, key)
    if mount is not None:
        raise LoaderError(
            f"{key}: the private key belongs to the tree at {mount}, so the program could read it",
            hint=f"keep it elsewhere, or exclude it from that mount: exclude: [{os.path.basename(key)!r}]",
        )


def _warn(measured: Measured, output: str) -> None:
    mount = _tree_of(measured, output)
    if mount is not None:
        report.note(
            f"note: {output} lies in the tree at {mount}, so the next build is another enclave: "
            f'put it elsewhere, or exclude: ["*{SUFFIX}"]'
        )

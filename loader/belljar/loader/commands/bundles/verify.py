"""`belljar verify`: say whether a bundle holds, and who signed it; exit code 1 with the reason if it does not."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader import report
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import BundleRefused, UsageError

if TYPE_CHECKING:
    from belljar.loader.bundle.read import Bundle
    from belljar.loader.options import Parsed

_REFUSED = 1


def main(parsed: Parsed) -> int:
    """Verify one bundle."""
    if len(parsed.words) != 1:
        raise UsageError("expected one bundle: belljar verify app.bell")
    wanted = parsed.options.get("signer")
    try:
        with loader_errors():
            bundle = _verify(parsed.words[0], wanted)
    except BundleRefused as error:
        report.error(str(error), error.hint)
        return _REFUSED
    _say_whether_it_runs(bundle)
    measurement = f"sha256:{bundle.measurement.hex()}"
    if parsed.has("json"):
        members = {"measurement": measurement, "signer": bundle.signer or None, "belljar": bundle.belljar}
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(f"measurement {measurement}\nsigner {_signer(bundle, wanted)}\n")
    return 0


def _verify(path: str, wanted: str | None) -> Bundle:
    from belljar.loader.bundle.read import read_bundle
    from belljar.loader.bundle.signers import check_signer, expected_signer

    if wanted is not None:
        expected_signer(wanted)  # a mistake in the option comes before what is wrong with the bundle
    bundle = read_bundle(path)
    if wanted is not None:
        check_signer(bundle, wanted)
    return bundle


def _say_whether_it_runs(bundle: Bundle) -> None:
    from belljar.loader.bundle.launch import check_policy

    try:
        check_policy(bundle)
    except BundleRefused as error:
        report.note(f"note: this belljar would not run it: {error}")


def _signer(bundle: Bundle, wanted: str | None) -> str:
    if bundle.key is None:
        return "none: not signed"
    how = "as expected" if wanted is not None else "anybody can sign: compare it with --signer"
    return f"{bundle.signer} ({bundle.key.algorithm.name}; {how})"

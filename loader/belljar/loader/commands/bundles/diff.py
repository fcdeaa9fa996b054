"""`belljar diff`: say which input makes two enclaves differ; exits as diff(1): 0 the same, 1 different, 2 trouble."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader import report
from belljar.loader.bundle.layout import SUFFIX
from belljar.loader.bundle.read import read_bundle
from belljar.loader.bundle.sides import Change, Side, changes, side_of_bundle, side_of_manifest
from belljar.loader.commands.errors import loader_errors
from belljar.loader.commands.progress import hashing_progress
from belljar.loader.errors import LoaderError, UsageError
from belljar.loader.prepare import measure_target
from belljar.loader.target import parse_words

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_DIFFERENT = 1
_TROUBLE = 2


def main(parsed: Parsed) -> int:
    """Compare two bundles or manifests."""
    if len(parsed.words) != 2:
        raise UsageError("expected two bundles or manifests: belljar diff old.bell new.bell")
    try:
        old, new = map(side, parsed.words)
    except UsageError:
        raise
    except LoaderError as error:
        report.error(str(error), error.hint)
        return _TROUBLE
    found = changes(old, new)
    if parsed.has("json"):
        sys.stdout.write(json.dumps([_as_json(change) for change in found], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{spelled(change)}\n" for change in found)
    return _DIFFERENT if found else 0


def side(path: str) -> Side:
    """Return what a path stands for: a bundle as it was built, a manifest as it measures now.

    Raises:
        LoaderError: it cannot be read, does not hold or cannot be measured.
    """
    with loader_errors():
        if path.endswith(SUFFIX):
            return side_of_bundle(read_bundle(path))
        if not path.endswith((".yaml", ".yml")):
            raise UsageError(f"{path}: expected a bundle ({SUFFIX}) or a manifest (.yaml)")
        with hashing_progress() as progress:
            return side_of_manifest(measure_target(parse_words([path]), progress))


def _as_json(change: Change) -> dict[str, object]:
    if change.what == "file":
        return {"what": "file", "mount": change.mount, "path": change.name, "change": change.change}
    return {
        "what": change.what,
        "name": change.name,
        "change": change.change,
        "old": change.old,
        "new": change.new,
    }


def spelled(change: Change) -> str:
    """Return a change on one line, for people."""
    return report.printable(_line(change))


def _line(change: Change) -> str:
    if change.what == "file":
        return f"{change.mount}: {change.change}: {change.name or 'the file itself'}"
    if change.what == "signer":
        return f"signer: {change.old or 'none'} → {change.new or 'none'}"
    old, new = (json.dumps(value, ensure_ascii=False) for value in (change.old, change.new))
    told = {"added": f"added: {new}", "removed": f"removed: {old}"}
    return f"manifest: {change.name}: {told.get(change.change, f'{old} → {new}')}"

"""`belljar check`: say what is wrong with manifests, and what is risky; which files are not as a bundle has them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader import report
from belljar.loader.bundle.layout import SUFFIX
from belljar.loader.errors import LoaderError, ManifestError, UsageError
from belljar.loader.manifest.findings import ERROR, NOTE, WARNING, Finding, judge
from belljar.loader.manifest.parse import ParsedManifest, parse_file
from belljar.loader.measure import measure_manifest
from belljar.loader.remembered import cache
from belljar.loader.resolve import resolve

from .errors import loader_errors
from .progress import hashing_progress

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_FOUND = 1


def main(parsed: Parsed) -> int:
    """Check manifests; exit code 1 if there is an error or a warning."""
    if not parsed.words:
        raise UsageError("no manifest to check", hint="belljar check app.yaml")
    against = parsed.options.get("against")
    found = [finding for path in parsed.words for finding in _check(path, against)]
    if parsed.has("json"):
        rows = [{"level": f.level, "place": f.place, "message": f.message} for f in found]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{_line(finding)}\n" for finding in found)
        serious = sum(finding.level != NOTE for finding in found)
        sys.stdout.write(f"{_counted(parsed.words)}, {serious} problem(s), {len(found) - serious} note(s)\n")
    return _FOUND if any(finding.level != NOTE for finding in found) else 0


def _line(finding: Finding) -> str:
    """Return a finding on one line: names of files may hold anything, and a bundle may be a stranger's."""
    return report.printable(f"{finding.place}: {finding.level}: {finding.message}")


def _counted(paths: list[str]) -> str:
    bundles = sum(path.endswith(SUFFIX) for path in paths)
    counts = ((len(paths) - bundles, "manifest(s)"), (bundles, "bundle(s)"))
    return ", ".join(f"{count} {name}" for count, name in counts if count)


def _check(path: str, against: str | None) -> list[Finding]:
    if path.endswith(SUFFIX):
        if against is not None:
            raise UsageError(
                f"{path} is a bundle: --against compares a manifest", hint=f"belljar diff {against} {path}"
            )
        return _check_bundle(path)
    found = check_file(path)
    if against is None or any(finding.level == ERROR for finding in found):
        return found
    return [*found, *_since(path, against)]


def _check_bundle(path: str) -> list[Finding]:
    """Return which files of this machine are not those a bundle was built from."""
    from belljar.loader.bundle.drift import drift
    from belljar.loader.bundle.read import read_bundle

    with loader_errors(), hashing_progress() as progress:
        return drift(read_bundle(path), cache.cache_folder(), progress)


def _since(path: str, against: str) -> list[Finding]:
    """Return what changed in a manifest and its files since a bundle was built of them."""
    from belljar.loader.bundle.sides import changes

    from .bundles.diff import side, spelled

    found = changes(side(against), side(path))
    return [
        Finding(level=WARNING, place=path, message=f"changed since {against} was built: {spelled(change)}")
        for change in found
    ]


def check_file(path: str) -> list[Finding]:
    """Return what there is to say about one manifest.

    Raises:
        LoaderError: it cannot be read at all.
    """
    try:
        with loader_errors():
            parsed = parse_file(path)
    except ManifestError as error:
        return [Finding(level=ERROR, place=problem.place, message=problem.message) for problem in error.problems]
    try:
        with loader_errors(), hashing_progress() as progress:
            measured = measure_manifest(resolve(parsed), cache.cache_folder(), progress)
    except ManifestError as error:
        return [Finding(level=ERROR, place=problem.place, message=problem.message) for problem in error.problems]
    except LoaderError as error:
        return [Finding(level=ERROR, place=_place(parsed, error), message=_with_hint(error))]
    return judge(parsed, measured)


def _place(parsed: ParsedManifest, error: LoaderError) -> str:
    """Return where an error without place belongs: at the part of the manifest that its text names."""
    text = str(error)
    for mount in parsed.manifest.mounts:
        if mount.type != "tmpfs" and mount.source in text:
            return parsed.place_of_mount(mount.path, "source")
    for name in parsed.manifest.programs:
        if text.startswith(f"{name}:"):
            return parsed.place_in(("programs",), name)
    return parsed.place("argv")


def _with_hint(error: LoaderError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)

"""`belljar volume check`: verify everything in a volume, and save what is intact; 1 if something is wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from belljar.fs.volumes import check_volume, salvage_volume
from belljar.loader.commands.progress import absolute, hashing_progress

from .create import created_volume
from .keys.credentials import again, credential
from .session import only_volume, platform_anchor, unlocked_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.keeping import Enrolment, Report
    from belljar.fs.volumes import FileContainer
    from belljar.loader.options import Parsed

_FOUND = 1


def main(parsed: Parsed) -> int:
    """Check a volume."""
    path = only_volume(parsed)
    opening = credential(parsed)
    with (
        unlocked_with(opening, path, writable=False) as (container, unlocked),
        hashing_progress("checking") as progress,
    ):
        with unlocked.key.view() as view:
            key = bytes(view)
        if parsed.has("repair"):
            return _repair(parsed, container, (unlocked.volume_id, key), again(opening), absolute(progress))
        with platform_anchor(parsed) as anchor:
            report = check_volume(
                container,
                volume_id=unlocked.volume_id,
                key=key,
                anchor=None if parsed.has("no-anchor") else anchor,
                progress=absolute(progress),
            )
    _say(report, as_json=parsed.has("json"))
    return _FOUND if report.findings else 0


def _repair(
    parsed: Parsed,
    container: FileContainer,
    secrets: tuple[bytes, bytes],
    whom: Enrolment,
    progress: Callable[[int, int], None],
) -> int:
    """Save what is intact into a new volume, which opens with the same credential."""
    path = parsed.options["repair"]
    with created_volume(parsed, path, whom) as (volume, _):
        saved = salvage_volume(container, volume.tree, volume_id=secrets[0], key=secrets[1], progress=progress)
    if parsed.has("json"):
        members = {"volume": path, "copied": saved.copied, "lost": list(saved.lost)}
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"lost: {what}\n" for what in saved.lost)
        sys.stdout.write(f"{path}: {saved.copied} copied, {len(saved.lost)} lost\n")
    return _FOUND if saved.lost else 0


def _say(report: Report, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
        return
    for finding in report.findings:
        sys.stdout.write(f"{finding.where}: {finding.what}\n")
    verdict = f"{len(report.findings)} findings" if report.findings else "sound"
    sys.stdout.write(
        f"{verdict}: generation {report.generation}, {report.inodes} files and folders, "
        f"{len(report.snapshots)} snapshots, {report.bytes_verified} bytes verified\n"
    )

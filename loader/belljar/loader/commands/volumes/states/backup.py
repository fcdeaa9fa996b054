"""`belljar volume backup`: back a volume's ciphertext up, list backups, verify a repository."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from belljar.fs.keeping import Source, back_up, prune, verify
from belljar.loader.commands.progress import hashing_progress
from belljar.loader.commands.runs.table import aligned
from belljar.loader.commands.volumes.session import now_s
from belljar.loader.errors import UsageError

from .repository import opened_repository

if TYPE_CHECKING:
    from belljar.fs.keeping import Listed
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Back up, list or verify."""
    if parsed.has("list") or parsed.has("verify"):
        if len(parsed.words) != 1:
            raise UsageError("expected one repository")
        return _verify(parsed) if parsed.has("verify") else _list(parsed)
    if len(parsed.words) != 2:
        raise UsageError("expected a volume and a repository", hint="belljar volume backup state.vol backups")
    return _back_up(parsed)


def _back_up(parsed: Parsed) -> int:
    path, place = parsed.words
    keep = _keep(parsed)
    removed = 0
    with (
        Source(path) as source,
        opened_repository(place, create=True) as repository,
        hashing_progress("backing up") as progress,
    ):
        written = back_up(source, repository, created_s=now_s(), progress=progress)
        if keep:
            listed = repository.backups()
            ours = [each.digest for each in listed if each.backup.volume_id == source.volume_id]
            others = [each.digest for each in listed if each.backup.volume_id != source.volume_id]
            removed = prune(repository, [*others, *ours[-keep:]]).backups
    members = {
        "backup": written.digest.hex(),
        "number": written.backup.number,
        "blocks_written": written.blocks,
        "nodes_written": written.nodes,
        "bytes_written": written.written_bytes,
        "backups_removed": removed,
    }
    if parsed.has("json"):
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(
            f"backup {written.digest.hex()}\nnumber {written.backup.number}, {written.written_bytes} bytes written "
            f"of {written.backup.container_bytes}, {removed} old backups removed\n"
        )
    return 0


def _keep(parsed: Parsed) -> int:
    text = parsed.options.get("keep", "0")
    if not text.isdecimal() or (parsed.has("keep") and int(text) == 0):
        raise UsageError(f"--keep {text}: expected a number of backups, 1 or more")
    return int(text)


def _list(parsed: Parsed) -> int:
    with opened_repository(parsed.words[0]) as repository:
        listed = repository.backups()
    if parsed.has("json"):
        sys.stdout.write(json.dumps([_members(each) for each in listed], indent=2) + "\n")
        return 0
    rows = [
        [each.digest.hex()[:16], each.backup.volume_id.hex(), str(each.backup.number), _when(each), _size(each)]
        for each in listed
    ]
    sys.stdout.writelines(aligned([["BACKUP", "VOLUME", "NUMBER", "MADE", "BYTES"], *rows]))
    return 0


def _verify(parsed: Parsed) -> int:
    with opened_repository(parsed.words[0]) as repository, hashing_progress("verifying") as progress:
        found = verify(repository, progress)
    members = {
        "backups": [each.digest.hex() for each in found.backups],
        "blocks": found.blocks,
        "nodes": found.nodes,
        "unreferenced": found.unreferenced,
        "stored_bytes": found.stored_bytes,
    }
    if parsed.has("json"):
        sys.stdout.write(json.dumps(members, indent=2) + "\n")
    else:
        sys.stdout.write(
            f"sound: {len(found.backups)} backups, {found.blocks} blocks, {found.stored_bytes} bytes, "
            f"{found.unreferenced} files that no backup needs\n"
        )
    return 0


def _members(each: Listed) -> dict[str, str | int]:
    return {
        "backup": each.digest.hex(),
        "volume": each.backup.volume_id.hex(),
        "number": each.backup.number,
        "created_s": each.backup.created_s,
        "container_bytes": each.backup.container_bytes,
    }


def _when(each: Listed) -> str:
    return datetime.fromtimestamp(min(each.backup.created_s, 1 << 36), tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _size(each: Listed) -> str:
    return str(each.backup.container_bytes)

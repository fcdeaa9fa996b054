"""Make a backup: blocks and nodes that the one before does not have are written, and its own record last.

Interrupted at any point it leaves objects that nothing names, which the next one finds and uses, or `prune` sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import layout
from .layout import ZERO, Backup, Digest
from .tree import Builder, Cursor

if TYPE_CHECKING:
    from .repository import Repository
    from .source import Progress, Source


@dataclass(slots=True, kw_only=True)
class _Count:
    blocks: int = 0
    nodes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a backup did.

    Attributes:
        digest: its name.
        backup: its record.
        blocks: how many blocks were written.
        nodes: how many nodes were written.
        written_bytes: their content.
    """

    digest: Digest
    backup: Backup
    blocks: int
    nodes: int
    written_bytes: int


def back_up(source: Source, repository: Repository, *, created_s: int, progress: Progress | None = None) -> Written:
    """Back a container up.

    Args:
        source: the container.
        repository: where to; the newest backup of the same volume in it is the parent.
        created_s: time of the caller's clock, in seconds since 1970.
        progress: is told what is read.

    Raises:
        BackupRefused: the backup before is damaged.
        OSError: reading or writing failed; trying again continues.
    """
    parent = repository.newest(source.volume_id)
    before = None if parent is None else Cursor(repository, parent.backup)
    count = _Count()

    def store_node(level: int, index: int, digest: Digest, content: bytes) -> None:
        same = before is not None and before.digest(level, index) == digest
        if not same and not repository.has_node(digest, len(content)):
            repository.write_node(digest, content)
            count.nodes += 1
            count.written_bytes += len(content)

    if progress is not None:
        progress.expect(source.size)
    builder = Builder(layout.block_count(source.size), store_node)
    for number, content in enumerate(source.blocks()):
        digest = layout.block_digest(content) if content else ZERO
        same = before is not None and before.digest(0, number) == digest
        if content and not same and not repository.has_block(digest, len(content)):
            repository.write_block(digest, content)
            count.blocks += 1
            count.written_bytes += len(content)
        builder.add(digest)
        if progress is not None:
            progress.advance(layout.block_length(source.size, number))
    backup = Backup(
        volume_id=source.volume_id,
        container_bytes=source.size,
        root=builder.root(),
        number=1 if parent is None else parent.backup.number + 1,
        parent=ZERO if parent is None else parent.digest,
        created_s=created_s,
    )
    digest = repository.write_backup(backup)
    return Written(
        digest=digest, backup=backup, blocks=count.blocks, nodes=count.nodes, written_bytes=count.written_bytes
    )

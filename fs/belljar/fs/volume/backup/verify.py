"""Verify a repository, and prune it: every object against its name, every backup against its objects.

Memory grows with the number of different blocks, about 100 bytes each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from belljar.fs.errors import BackupRefused

from . import layout
from .layout import FAN_OUT, ZERO, Backup, Digest
from .repository import block_name, digest_of, node_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .repository import Listed, Repository
    from .source import Progress

_SHOWN = 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found in a repository that holds.

    Attributes:
        backups: all of them.
        blocks: how many different blocks they need.
        nodes: how many different nodes.
        unreferenced: how many objects no backup needs: left by an interrupted backup or prune, harmless.
        stored_bytes: content of all files.
    """

    backups: tuple[Listed, ...]
    blocks: int
    nodes: int
    unreferenced: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune removed."""

    backups: int
    objects: int
    freed_bytes: int


class _Marked:
    """What backups need: blocks with their length, nodes with level and count."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.blocks: dict[Digest, int] = {}
        self.nodes: set[Digest] = set()
        self._walked: set[tuple[Digest, int, int]] = set()

    def mark(self, backup: Backup) -> None:
        """Add what a backup needs; subtrees that are known are not walked again."""
        blocks = layout.block_count(backup.container_bytes)
        self._walk(backup, backup.root, layout.levels(blocks), 0)

    def _walk(self, backup: Backup, digest: Digest, level: int, index: int) -> None:
        first = index * FAN_OUT**level
        blocks = min(FAN_OUT**level, layout.block_count(backup.container_bytes) - first)
        if digest == ZERO or blocks <= 0:
            return
        count = -(-blocks // FAN_OUT ** (level - 1))
        whole = (first + blocks) * layout.BLOCK_BYTES <= backup.container_bytes
        if (digest, level, count) in self._walked and whole:  # the last block may have another length
            return
        digests = self._repository.read_node(digest, level, count)
        self.nodes.add(digest)
        if whole:
            self._walked.add((digest, level, count))
        for place, below in enumerate(digests):
            number = index * FAN_OUT + place
            if level > 1:
                self._walk(backup, below, level - 1, number)
            elif below != ZERO:
                self._block(below, layout.block_length(backup.container_bytes, number))

    def _block(self, digest: Digest, length: int) -> None:
        if self.blocks.setdefault(digest, length) != length:
            raise BackupRefused(f"block {digest.hex()} is needed with two different lengths")


def verify(repository: Repository, progress: Progress | None = None) -> Verified:
    """Read everything in a repository and check it.

    Raises:
        BackupRefused: something is missing, damaged or does not belong there; the first ten findings are named.
    """
    problems: list[str] = []
    names = list(repository.names())
    known = {name: _guarded(problems, partial(digest_of, name)) for name in names if name != layout.MARKER}
    listed = [digest for name, digest in known.items() if digest is not None and name.startswith("backups/")]
    for digest in listed:
        _guarded(problems, partial(repository.read_backup, digest))
    marked = _Marked(repository)
    if not problems:
        for each in repository.backups():
            _guarded(problems, partial(marked.mark, each.backup))
    _check_objects(repository, marked, [name for name, digest in known.items() if digest], problems, progress)
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BackupRefused("the repository is damaged: " + "; ".join(problems[:_SHOWN]) + more)
    needed = len(marked.blocks) + len(marked.nodes)
    return Verified(
        backups=tuple(repository.backups()),
        blocks=len(marked.blocks),
        nodes=len(marked.nodes),
        unreferenced=len(known) - len(listed) - needed,
        stored_bytes=sum(repository.size(name) for name in names),
    )


def _check_objects(
    repository: Repository, marked: _Marked, names: list[str], problems: list[str], progress: Progress | None
) -> None:
    found = set(names)
    missing = [name for name in map(block_name, marked.blocks) if name not in found]
    problems += [f"{name} is missing" for name in missing]
    for digest in [digest_of(name) for name in names if name.startswith("nodes/")]:
        _guarded(problems, partial(repository.verify_node, digest))
    blocks = [digest_of(name) for name in names if name.startswith("blocks/")]
    sizes = {digest: repository.size(block_name(digest)) for digest in blocks}
    if progress is not None:
        progress.expect(sum(sizes.values()))
    for digest, size in sizes.items():
        length = marked.blocks.get(digest)
        if length is None and size > layout.BLOCK_BYTES:
            problems.append(f"block {digest.hex()} has {size} bytes, expected at most {layout.BLOCK_BYTES}")
        else:
            expected = size if length is None else length
            _guarded(problems, partial(repository.read_block, digest, expected))
        if progress is not None:
            progress.advance(size)


def _guarded(problems: list[str], step: Callable[[], _T]) -> _T | None:
    try:
        return step()
    except BackupRefused as error:
        problems.append(str(error))
        return None


def prune(repository: Repository, keep: Collection[Digest]) -> Pruned:
    """Remove all backups but some, and then what no backup needs any more.

    Args:
        repository: where.
        keep: names of the backups that stay.

    Raises:
        BackupRefused: one to keep is missing or damaged, or none would be kept; nothing is removed.
    """
    listed = repository.backups()
    unknown = set(keep) - {each.digest for each in listed}
    if unknown:
        raise BackupRefused(f"there is no backup {next(iter(unknown)).hex()} to keep")
    if listed and not keep:
        raise BackupRefused("no backup would be kept", hint="to give up a repository, remove its folder")
    marked = _Marked(repository)
    for each in listed:
        if each.digest in keep:
            marked.mark(each.backup)
    gone = [each.digest for each in listed if each.digest not in keep]
    for digest in gone:
        repository.remove_backup(digest)
    needed = {block_name(digest) for digest in marked.blocks} | {node_name(digest) for digest in marked.nodes}
    objects = freed = 0
    for name in list(repository.names()):
        if name == layout.MARKER or name.startswith("backups/") or name in needed:
            continue
        digest_of(name)
        freed += repository.size(name)
        objects += 1
        repository.remove(name)
    return Pruned(backups=len(gone), objects=objects, freed_bytes=freed)

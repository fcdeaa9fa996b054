"""A repository of backups: objects by digest, backups by name; every byte is checked against its name when read."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.fs.errors import BackupRefused

from . import layout
from .layout import ZERO, Backup, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .store import Store

_BACKUPS = "backups/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A backup and its name, the digest of its record."""

    digest: Digest
    backup: Backup


class Repository:
    """Reads and writes the objects of a repository.

    Args:
        store: where it lies; closed by its owner.
        create: whether an empty place becomes a repository.

    Raises:
        BackupRefused: it is not a repository, or one of another version.
    """

    def __init__(self, store: Store, *, create: bool = False) -> None:
        self._store = store
        size = store.size(layout.MARKER)
        if size is None and create:
            other = next(store.names(), None)
            if other is not None:
                raise BackupRefused(
                    f"the place holds {other} and is no backup repository", hint="choose an empty folder"
                )
            store.publish(layout.MARKER, layout.encode_marker())
        elif size is None:
            raise BackupRefused("the place is no backup repository: it has no file belljar-backup")
        elif size > layout.MAX_MANIFEST_BYTES or store.read(layout.MARKER) != layout.encode_marker():
            raise BackupRefused("the repository is of another version, or its file belljar-backup is damaged")

    def has_block(self, digest: Digest, length: int) -> bool:
        """Say whether a block is there in full length."""
        return self._store.size(block_name(digest)) == length

    def has_node(self, digest: Digest, length: int) -> bool:
        """Say whether a node is there in full length."""
        return self._store.size(node_name(digest)) == length

    def write_block(self, digest: Digest, content: bytes) -> None:
        """Store a block."""
        self._store.write(block_name(digest), content)

    def write_node(self, digest: Digest, content: bytes) -> None:
        """Store a node."""
        self._store.write(node_name(digest), content)

    def read_block(self, digest: Digest, length: int) -> bytes:
        """Return a block, verified.

        Raises:
            BackupRefused: it is missing or not what its name says.
        """
        content = self._read(block_name(digest), length)
        if len(content) != length or layout.block_digest(content) != digest:
            raise BackupRefused(f"block {digest.hex()} is damaged: it does not have this digest, or not {length} bytes")
        return content

    def read_node(self, digest: Digest, level: int, count: int) -> list[Digest]:
        """Return what is in a node, verified; a node of zeros where the digest is ZERO.

        Raises:
            BackupRefused: it is missing or not what its name says.
        """
        if digest == ZERO:
            return [ZERO] * count
        return layout.parse_node(self.verify_node(digest), level, count)

    def verify_node(self, digest: Digest) -> bytes:
        """Return the content of a node, checked against its name only.

        Raises:
            BackupRefused: it is missing or not what its name says.
        """
        content = self._read(node_name(digest), layout.MAX_NODE_BYTES)
        if layout.node_digest(content) != digest:
            raise BackupRefused(f"node {digest.hex()} is damaged: it does not have this digest")
        return content

    def write_backup(self, backup: Backup) -> Digest:
        """Make a backup known, after all it needs; return its name."""
        content = layout.encode_backup(backup)
        digest = layout.backup_digest(content)
        self._store.publish(_BACKUPS + digest.hex(), content)
        return digest

    def read_backup(self, digest: Digest) -> Backup:
        """Return a backup's record, verified.

        Raises:
            BackupRefused: it is missing or not what its name says.
        """
        content = self._read(_BACKUPS + digest.hex(), layout.MAX_MANIFEST_BYTES)
        if layout.backup_digest(content) != digest:
            raise BackupRefused(f"backup {digest.hex()} is damaged: its record does not have this digest")
        return layout.parse_backup(content)

    def backups(self) -> list[Listed]:
        """Return all backups, by volume, oldest first.

        Raises:
            BackupRefused: one of them is damaged.
        """
        digests = [digest_of(name) for name in self._store.names() if name.startswith(_BACKUPS)]
        found = [Listed(digest=digest, backup=self.read_backup(digest)) for digest in digests]
        return sorted(found, key=lambda each: (each.backup.volume_id, each.backup.number, each.digest))

    def newest(self, volume_id: bytes) -> Listed | None:
        """Return the newest backup of a volume, if there is one."""
        of_volume = [each for each in self.backups() if each.backup.volume_id == volume_id]
        return of_volume[-1] if of_volume else None

    def remove_backup(self, digest: Digest) -> None:
        """Forget a backup; what only it needs stays until it is swept."""
        self._store.remove(_BACKUPS + digest.hex())

    def names(self) -> Iterator[str]:
        """Yield the name of every file."""
        return self._store.names()

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._store.remove(name)

    def size(self, name: str) -> int:
        """Return the length of a file."""
        return self._store.size(name) or 0

    def _read(self, name: str, limit: int) -> bytes:
        try:
            size = self._store.size(name)
            if size is not None and size > limit:
                raise BackupRefused(f"{name} has {size} bytes, expected at most {limit}")
            return self._store.read(name)
        except FileNotFoundError:
            raise BackupRefused(f"{name} is missing from the repository") from None
        except OSError as error:
            if error.errno in (errno.EIO, errno.EISDIR):
                raise BackupRefused(f"{name} cannot be read: {error.strerror}") from error
            raise


def block_name(digest: Digest) -> str:
    """Return the name a block is stored under."""
    text = digest.hex()
    return f"blocks/{text[:2]}/{text}"


def node_name(digest: Digest) -> str:
    """Return the name a node is stored under."""
    text = digest.hex()
    return f"nodes/{text[:2]}/{text}"


def digest_of(name: str) -> Digest:
    """Return the digest a name speaks of.

    Raises:
        BackupRefused: it is not a name this format has.
    """
    *folders, text = name.split("/")
    known = folders == ["backups"] or folders in (["blocks", text[:2]], ["nodes", text[:2]])
    if not known or len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise BackupRefused(f"{name} does not belong into a backup repository")
    return Digest(bytes.fromhex(text))

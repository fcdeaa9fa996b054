"""Remember the digests of host files, so that measuring an unchanged tree reads no content.

Keyed by device, inode, size, mtime and ctime in an SQLite file that belongs to the user. A file changed within
`RACY_NS` before it was hashed is not remembered: a later change could leave the same timestamps (as git's index does).
The cache is a convenience of its owner, not a trust anchor: content is verified against the index when it is served.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from .walk import Stamp

RACY_NS = 2_000_000_000  # the coarsest timestamps in use (FAT) count in steps of two seconds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS digests (
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, digests BLOB,
    PRIMARY KEY (device, inode)
) WITHOUT ROWID
"""
_FIND = "SELECT digests FROM digests WHERE device=? AND inode=? AND size=? AND mtime_ns=? AND ctime_ns=?"
_STORE = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)"


def is_racy(stamp: Stamp, now_ns: int) -> bool:
    """Say whether a file with this stamp could change after `now_ns` and keep the same timestamps."""
    return stamp[4] >= now_ns - RACY_NS


class DigestCache:
    """The digests of files hashed before. Use as a context manager; leaving it saves what is new.

    A cache that cannot be opened, is locked for long, or is damaged only makes measuring slower.

    Args:
        path: SQLite file, or None to remember nothing beyond this object's life.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path or ":memory:"
        self._fresh: list[tuple[Stamp, bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            self._discard()
            self._connection = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now_ns = time.time_ns()
        try:
            with self._connection:
                rows = ((*stamp, digests) for stamp, digests in self._fresh if not is_racy(stamp, now_ns))
                self._connection.executemany(_STORE, rows)
        except sqlite3.Error:  # read-only or full: the measurement itself is done
            pass
        finally:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._path, timeout=10)
        except sqlite3.OperationalError:  # the folder cannot be written
            connection = sqlite3.connect(":memory:")
        try:
            connection.execute(_SCHEMA)
        except sqlite3.OperationalError:
            connection.close()
            connection = sqlite3.connect(":memory:")
            connection.execute(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _discard(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            try:
                os.unlink(self._path + suffix)
            except OSError:
                pass

    def find(self, stamp: Stamp) -> bytes | None:
        """Return the concatenated chunk digests of the file with this stamp, or None."""
        try:
            row = self._connection.execute(_FIND, stamp).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else bytes(row[0])

    def store(self, stamp: Stamp, digests: bytes) -> None:
        """Remember digests; racy ones are dropped when the cache is saved."""
        self._fresh.append((stamp, digests))

"""Which inodes the kernel knows, and how often it was told: FORGET returns the numbers.

Every reply that introduces an inode (an entry, also in READDIRPLUS) counts one. When the kernel has returned them all,
the store is told. The kernel keeps a directory locked until it has read the reply to a LOOKUP, so what was just found
cannot lose that name before it is counted.
"""

from __future__ import annotations

from _thread import allocate_lock

from belljar.fs.fuse import protocol, writing

from .tree import ROOT_INO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.fuse.session import Operation

    from .tree import Attributes, WritableTree


class Known:
    """Counts what the kernel knows of a tree.

    Args:
        tree: told when the kernel knows an inode no more.
    """

    def __init__(self, tree: WritableTree) -> None:
        self._forget: Callable[[int], None] = tree.forget
        self._counts: dict[int, int] = {}
        self._lock = allocate_lock()

    def table(self) -> dict[int, Operation]:
        """Return the operations on lookup counts."""
        return {protocol.FORGET: self._one, protocol.BATCH_FORGET: self._batch}

    def introduce(self, of: Attributes) -> bytes:
        """Count an inode and return the entry that introduces it."""
        self.count(of.ino)
        return writing.entry_reply(of)

    def count(self, ino: int) -> None:
        """Note that the kernel is told of an inode once more."""
        with self._lock:
            self._counts[ino] = self._counts.get(ino, 0) + 1

    def forget(self, ino: int, times: int) -> None:
        """Take back `times` introductions; the store is told when none is left.

        The lock is held meanwhile: else an inode that is found again, and then unlinked while it is open, could be
        deleted by a forget that was meant for its first life.
        """
        with self._lock:
            left = self._counts.get(ino, 0) - times
            if left > 0:
                self._counts[ino] = left
            elif self._counts.pop(ino, None) is not None and ino != ROOT_INO:
                self._forget(ino)

    def forget_all(self) -> None:
        """Forget what is left when the file system is unmounted: the kernel does not send those.

        Raises:
            Exception: the first of what the store raised; what could be forgotten is.
        """
        self._forget_each(list(self._counts.items()))

    def _forget_each(self, returned: list[tuple[int, int]]) -> None:
        failures: list[Exception] = []
        for ino, times in returned:
            try:
                self.forget(ino, times)
            except Exception as failure:  # noqa: BLE001 - the others must be forgotten all the same
                failures.append(failure)
        if failures:
            raise failures[0]

    def _one(self, node: int, request: bytes) -> bytes:
        self.forget(node, writing.FORGET_IN.unpack_from(request, protocol.BODY)[0])
        return b""

    def _batch(self, _node: int, request: bytes) -> bytes:
        count, _ = writing.BATCH_FORGET_IN.unpack_from(request, protocol.BODY)
        start = protocol.BODY + writing.BATCH_FORGET_IN.size
        one = writing.FORGET_ONE
        self._forget_each([one.unpack_from(request, start + number * one.size) for number in range(count)])
        return b""

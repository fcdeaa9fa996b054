"""Lookup counts: the store is told once the kernel has returned as many as it was given, never before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belljar.fs.fuse import protocol, writing
from belljar.fs.writable.known import Known
from support.memory_tree import MemoryTree


class Recording(MemoryTree):
    def __init__(self, failing: int = 0) -> None:
        super().__init__()
        self.forgotten: list[int] = []
        self._failing = failing

    def forget(self, ino: int) -> None:
        self.forgotten.append(ino)
        if ino == self._failing:
            raise RuntimeError("cannot forget")


def request(opcode: int, node: int, body: bytes) -> bytes:
    return protocol.IN_HEADER.pack(40 + len(body), opcode, 0, node, 0, 0, 0, 0, 0) + body


@given(st.lists(st.tuples(st.integers(2, 4), st.integers(1, 3)), max_size=30))
def test_the_store_is_told_when_the_last_is_returned(returned: list[tuple[int, int]]) -> None:
    tree = Recording()
    known = Known(tree)
    left = dict.fromkeys(range(2, 5), 5)
    for ino in list(left) * 5:
        known.count(ino)
    for ino, times in returned:
        if left[ino] >= times:
            left[ino] -= times
            known.table()[protocol.FORGET](ino, request(protocol.FORGET, ino, writing.FORGET_IN.pack(times)))
        assert sorted(tree.forgotten) == [number for number, count in left.items() if not count]


def test_a_batch_is_forgotten_to_the_end_although_one_fails() -> None:
    tree = Recording(failing=2)
    known = Known(tree)
    for ino in (1, 2, 3, 4):
        known.count(ino)
    body = writing.BATCH_FORGET_IN.pack(4, 0) + b"".join(writing.FORGET_ONE.pack(ino, 1) for ino in (1, 2, 3, 9))
    with pytest.raises(RuntimeError, match="cannot forget"):
        known.table()[protocol.BATCH_FORGET](0, request(protocol.BATCH_FORGET, 0, body))
    assert tree.forgotten == [2, 3]  # the root stays, and 9 was never known
    known.forget_all()
    assert tree.forgotten == [2, 3, 4]

"""Pseudo files: whatever is asked in whatever order is answered or refused, and what is held stays bounded."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from errno import EBADF, EFBIG, EMFILE, ENOSPC, ESTALE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.fuse import protocol, writing
from belljar.fs.pseudo import PseudoFile, PseudoFolder, pseudo_operations

Operation = Callable[[int, bytes], object]
NAMES = st.sampled_from([b"in", b"out", b"box", b"made", b"x" * 70, b"\xff", b"new\n"])
EXAMPLES = int(os.environ.get("BELLJAR_PSEUDO_EXAMPLES", "60"))


def request(pid: int, body: bytes) -> bytes:
    return protocol.IN_HEADER.pack(protocol.BODY + len(body), 0, 0, 0, 0, 0, pid, 0, 0) + body


def write(handle: int, offset: int, content: bytes) -> bytes:
    return request(1, writing.WRITE_IN.pack(handle, offset, len(content), 0, 0, 0) + content)


def read(handle: int, offset: int = 0, size: int = 100) -> bytes:
    return request(1, protocol.READ_IN.pack(handle, offset, size, 0) + bytes(16))


def open_(flags: int, pid: int = 1) -> bytes:
    return request(pid, flags.to_bytes(4, "little") + bytes(4))


def number(reply: object) -> int:
    assert isinstance(reply, bytes)
    return int.from_bytes(reply[:8], "little")


def tree(kept: dict[int, bytes]) -> PseudoFolder:
    def box(_name: str) -> PseudoFolder:
        return PseudoFolder({"in": PseudoFile(None, kept.__setitem__, most=8)})

    return PseudoFolder(
        {
            "in": PseudoFile(lambda pid: kept.get(pid, b""), kept.__setitem__, most=8),
            "out": PseudoFile(lambda pid: b"%d" % pid),
            "box": PseudoFolder({}, make_folder=box, make_file=lambda _: PseudoFile(lambda _: b"", most=0), most=3),
        }
    )


@pytest.fixture
def kept() -> dict[int, bytes]:
    return {}


@pytest.fixture
def table(kept: dict[int, bytes]) -> dict[int, Operation]:
    return {**pseudo_operations(tree(kept), owner=(5, 6))}


def looked_up(table: dict[int, Operation], name: bytes, folder: int = protocol.ROOT_ID) -> int:
    return number(table[protocol.LOOKUP](folder, request(1, name + b"\0")))


def test_what_was_written_counts_when_it_is_closed(table: dict[int, Operation], kept: dict[int, bytes]) -> None:
    node = looked_up(table, b"in")
    handle = number(table[protocol.OPEN](node, open_(os.O_WRONLY, pid=77)))
    table[protocol.WRITE](node, write(handle, 2, b"abc"))
    assert kept == {}
    table[protocol.FLUSH](node, request(78, handle.to_bytes(8, "little")))
    assert kept == {77: b"\0\0abc"}
    table[protocol.FLUSH](node, request(77, handle.to_bytes(8, "little")))
    again = number(table[protocol.OPEN](node, open_(os.O_RDONLY, pid=77)))
    assert table[protocol.READ](node, read(again, 1, 3)) == b"\0ab"
    table[protocol.RELEASE](node, request(77, protocol.RELEASE_IN.pack(handle, 0, 0, 0)))
    with pytest.raises(OSError, match="not open") as refusal:
        table[protocol.READ](node, read(handle))
    assert refusal.value.errno == EBADF


def test_bounds(table: dict[int, Operation]) -> None:
    node, box = looked_up(table, b"in"), looked_up(table, b"box")
    handle = number(table[protocol.OPEN](node, open_(os.O_RDWR)))
    for offset, content in [(0, b"123456789"), (1 << 60, b"x"), (8, b"x")]:
        with pytest.raises(OSError, match="too long") as refusal:
            table[protocol.WRITE](node, write(handle, offset, content))
        assert refusal.value.errno == EFBIG
    for name in (b"a", b"b", b"c"):
        table[protocol.MKDIR](box, request(1, writing.MKDIR_IN.pack(0, 0) + name + b"\0"))
    with pytest.raises(OSError, match="too many") as refusal:
        table[protocol.MKDIR](box, request(1, writing.MKDIR_IN.pack(0, 0) + b"d\0"))
    assert refusal.value.errno == ENOSPC
    gone = looked_up(table, b"a", box)
    table[protocol.RMDIR](box, request(1, b"a\0"))
    with pytest.raises(OSError, match="removed") as refusal:
        table[protocol.GETATTR](gone, request(1, b""))
    assert refusal.value.errno == ESTALE
    table[protocol.MKDIR](box, request(1, writing.MKDIR_IN.pack(0, 0) + b"a\0"))
    assert looked_up(table, b"a", box) != gone
    for _ in range(1023):
        table[protocol.OPEN](node, open_(os.O_RDONLY))
    with pytest.raises(OSError, match="too many are open") as refusal:
        table[protocol.OPEN](node, open_(os.O_RDONLY))
    assert refusal.value.errno == EMFILE


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_any_sequence_of_requests_is_answered_or_refused(data: st.DataObject) -> None:
    kept: dict[int, bytes] = {}
    table = pseudo_operations(tree(kept), owner=(0, 0))
    small, wild = st.integers(0, 8), st.integers(0, 1 << 62)
    for _ in range(data.draw(st.integers(1, 30))):
        opcode = data.draw(st.sampled_from(sorted(table)))
        node, handle = data.draw(small), data.draw(small)
        offset, name = data.draw(small | wild), data.draw(NAMES)
        bodies = {
            protocol.READ: protocol.READ_IN.pack(handle, offset, 50, 0),
            protocol.READDIR: protocol.READ_IN.pack(handle, offset, 4096, 0),
            protocol.WRITE: writing.WRITE_IN.pack(handle, offset, 5, 0, 0, 0) + b"12345",
            protocol.SETATTR: writing.SETATTR_IN.pack(data.draw(st.integers(0, 127)), handle, offset, *[0] * 12),
            protocol.OPEN: data.draw(st.sampled_from([0, 1, 2, 0o1001])).to_bytes(4, "little") + bytes(4),
            protocol.CREATE: writing.CREATE_IN.pack(data.draw(st.integers(0, 3)), 0, 0, 0) + name + b"\0",
            protocol.MKDIR: writing.MKDIR_IN.pack(0, 0) + name + b"\0",
            protocol.LOOKUP: name + b"\0",
            protocol.RMDIR: name + b"\0",
        }
        with suppress(OSError):  # any other exception fails
            asked = request(1, bodies.get(opcode, handle.to_bytes(8, "little") + bytes(24)))
            assert isinstance(table[opcode](node, asked), bytes)
    assert all(len(content) <= 8 for content in kept.values())

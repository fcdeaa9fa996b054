"""Large reads and writes: many chunks sealed, written and read in one go, and what happens when one of them fails."""

from __future__ import annotations

import errno
import random

import pytest

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume.layout import CHUNK_BYTES, KIND_EXTENT, POINTER, number_key
from belljar.fs.volume.volume import Volume
from support.volumes import MemoryContainer, formatted, mounted

MIB = 1 << 20


def made() -> tuple[MemoryContainer, Volume, int]:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    return container, volume, volume.tree.make(1, b"file", 0o100644, 0, 0).ino


def pieces(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - must be repeatable


@pytest.mark.parametrize("offset", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 77])
def test_a_large_write_is_read_back_from_any_place(offset: int) -> None:
    _, volume, ino = made()
    content = pieces(3 * MIB // 2 + 123)
    assert volume.tree.write(ino, offset, content) == len(content)
    expected = bytes(offset) + content
    for flushed in (False, True):
        if flushed:
            volume.commit()
        for start, size in ((0, 4 * MIB), (offset, MIB), (CHUNK_BYTES, 2 * CHUNK_BYTES), (offset + 1, 3 * CHUNK_BYTES)):
            assert bytes(volume.tree.read(ino, start, size)) == expected[start : start + size]


def test_a_read_over_holes_short_chunks_and_scattered_ones() -> None:
    _, volume, ino = made()
    other = volume.tree.make(1, b"other", 0o100644, 0, 0).ino
    expected = bytearray(20 * CHUNK_BYTES + 1000)
    for number in (0, 1, 2, 5, 6, 9, 3, 12, 13, 19):  # between them lie chunks of the other file
        chunk = pieces(CHUNK_BYTES - number)[: CHUNK_BYTES if number != 9 else 5000]
        volume.tree.write(ino, number * CHUNK_BYTES, chunk)
        volume.tree.write(other, number * CHUNK_BYTES, pieces(CHUNK_BYTES))
        expected[number * CHUNK_BYTES : number * CHUNK_BYTES + len(chunk)] = chunk
    volume.tree.write(ino, 20 * CHUNK_BYTES, b"x" * 1000)
    expected[20 * CHUNK_BYTES :] = b"x" * 1000
    volume.commit()
    volume.tree.write(ino, 6 * CHUNK_BYTES + 9, b"in memory")
    expected[6 * CHUNK_BYTES + 9 : 6 * CHUNK_BYTES + 18] = b"in memory"
    volume.tree.read(ino, 12 * CHUNK_BYTES, 100)  # now known without reading
    assert bytes(volume.tree.read(ino, 0, 2 * MIB)) == expected
    assert bytes(volume.tree.read(ino, 777, 2 * MIB)) == expected[777:]


@pytest.mark.parametrize("writes", range(3))
def test_a_write_that_fails_takes_nothing_and_changes_nothing(writes: int) -> None:
    container, volume, ino = made()
    content = pieces(40 * CHUNK_BYTES)
    volume.tree.write(ino, 0, content)
    volume.commit()
    used = volume.stat().used
    container.broken["pwrite"], container.countdown = errno.ENOSPC, writes
    with pytest.raises(OSError, match="No space left"):
        volume.tree.write(ino, 0, bytes(40 * CHUNK_BYTES))
    container.broken.clear()
    assert bytes(volume.tree.read(ino, 0, len(content))) == content
    assert volume.stat().used == used
    volume.tree.write(ino, 0, content[::-1])
    volume.commit()
    assert bytes(volume.tree.read(ino, 0, len(content))) == content[::-1]


@pytest.mark.parametrize("chunk", [0, 7, 15])
def test_of_a_read_with_one_damaged_chunk_nothing_is_returned(chunk: int) -> None:
    container, volume, ino = made()
    volume.tree.write(ino, 0, pieces(MIB))
    volume.commit()
    pointer = volume.tree.ground.tree.get(number_key(ino, KIND_EXTENT, chunk))
    assert pointer is not None
    block = POINTER.unpack(pointer)[0]
    container.content[block * 4096 + 40_000] ^= 1
    start = chunk * CHUNK_BYTES
    with pytest.raises(
        VolumeCorrupt, match=rf"inode {ino}, bytes {start} to {start + 65535} \(container block {block}\).* not verify"
    ):
        volume.tree.read(ino, 0, MIB)


def test_a_container_that_was_cut_meanwhile_is_noticed() -> None:
    container, volume, ino = made()
    volume.tree.write(ino, 0, pieces(MIB))
    del container.content[-500_000:]
    with pytest.raises(VolumeCorrupt, match="does not verify"):
        volume.tree.read(ino, 0, MIB)

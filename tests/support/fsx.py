"""Random reads, writes, truncations, mappings, holes and copies on one file, each checked against a copy in memory.

`python -m support.fsx FILE SEED STEPS`: what fsx does, in short. Prints the number of steps, or fails naming seed, step
and place of the first wrong byte.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
from collections.abc import Callable

from .behaviour.cases import called

LONGEST = 1 << 19
_KEEP, _PUNCH = 1, 2


class Exerciser:
    """One file, the copy it must equal, and the dice."""

    def __init__(self, path: str, seed: int) -> None:
        self._path = path
        self._dice = random.Random(seed)  # noqa: S311 - dice
        self._expected = bytearray()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._steps: list[Callable[[], None]] = [
            self._write, self._write, self._append, self._read, self._read, self._truncate,
            self._map_read, self._map_write, self._punch, self._allocate,
            self._copy, self._sync, self._reopen, self._forget, self._look_for_holes,
        ]  # fmt: skip

    def run(self, steps: int) -> None:
        """Take so many steps, and look at everything now and then."""
        for number in range(steps):
            step = self._dice.choice(self._steps)
            step()
            if number % 50 == 0:
                self._compare(0, LONGEST, f"step {number}")
        self._forget()
        self._compare(0, LONGEST, "end")
        os.close(self._fd)

    def _range(self) -> tuple[int, int]:
        length = self._dice.choice((self._dice.randrange(1, 100), self._dice.randrange(1, 1 << 16), 4096))
        offset = self._dice.randrange(LONGEST - length)
        return (offset & ~4095 if self._dice.random() < 0.3 else offset), length

    def _grow(self, size: int) -> None:
        self._expected.extend(bytes(max(0, size - len(self._expected))))

    def _compare(self, offset: int, length: int, what: str) -> None:
        found, expected = os.pread(self._fd, length, offset), self._expected[offset : offset + length]
        if found != expected:
            pairs = zip(found, expected, strict=False)
            wrong = next(
                (place for place, pair in enumerate(pairs) if pair[0] != pair[1]), min(len(found), len(expected))
            )
            sys.exit(f"{self._path}: {what}: {len(found)} bytes for {len(expected)}, wrong from {offset + wrong} on")

    def _write(self) -> None:
        offset, length = self._range()
        piece = self._dice.randbytes(length)
        assert os.pwrite(self._fd, piece, offset) == length
        self._grow(offset + length)
        self._expected[offset : offset + length] = piece

    def _append(self) -> None:
        piece = self._dice.randbytes(self._dice.randrange(1, 5000))
        if len(self._expected) + len(piece) < LONGEST:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            assert os.write(fd, piece) == len(piece)
            os.close(fd)
            self._expected += piece

    def _read(self) -> None:
        self._compare(*self._range(), "read")

    def _truncate(self) -> None:
        size = self._dice.randrange(LONGEST)
        os.ftruncate(self._fd, size)
        del self._expected[size:]
        self._grow(size)

    def _map_read(self) -> None:
        if self._expected:
            with mmap.mmap(self._fd, len(self._expected), prot=mmap.PROT_READ) as shared:
                offset, length = self._range()
                if shared[offset : offset + length] != self._expected[offset : offset + length]:
                    sys.exit(f"{self._path}: mapped read at {offset} is wrong")

    def _map_write(self) -> None:
        if self._expected:
            with mmap.mmap(self._fd, len(self._expected)) as shared:
                offset, length = self._range()
                end = min(offset + length, len(self._expected))
                piece = self._dice.randbytes(max(end - offset, 0))
                shared[offset : offset + len(piece)] = piece
                self._expected[offset : offset + len(piece)] = piece

    def _punch(self) -> None:
        offset, length = self._range()
        assert called("fallocate", self._fd, _PUNCH | _KEEP, offset, length) == 0
        end = min(offset + length, len(self._expected))
        if end > offset:
            self._expected[offset:end] = bytes(end - offset)

    def _allocate(self) -> None:
        offset, length = self._range()
        keep = self._dice.choice((0, _KEEP))
        assert called("fallocate", self._fd, keep, offset, length) == 0
        if not keep:
            self._grow(offset + length)

    def _copy(self) -> None:
        offset, length = self._range()
        to, _ = self._range()
        if abs(to - offset) < length or to + length > LONGEST:
            return
        copied = os.copy_file_range(self._fd, self._fd, length, offset, to)
        piece = self._expected[offset : offset + length]
        assert copied == len(piece), (copied, len(piece))
        if piece:
            self._grow(to + copied)
            self._expected[to : to + copied] = piece

    def _sync(self) -> None:
        os.fdatasync(self._fd)

    def _reopen(self) -> None:
        os.close(self._fd)
        self._fd = os.open(self._path, os.O_RDWR)

    def _forget(self) -> None:
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _look_for_holes(self) -> None:
        place, size = 0, len(self._expected)
        while place < size:
            try:
                data = os.lseek(self._fd, place, os.SEEK_DATA)
            except OSError:
                data = size
            if any(self._expected[place:data]):
                sys.exit(f"{self._path}: {place} to {data} is called a hole")
            place = os.lseek(self._fd, data, os.SEEK_HOLE) if data < size else size


if __name__ == "__main__":
    Exerciser(sys.argv[1], int(sys.argv[2])).run(int(sys.argv[3]))
    sys.stdout.write(f"{sys.argv[3]} steps\n")

"""What programs do with ranges of a file besides reading and writing: fallocate, SEEK_DATA and SEEK_HOLE, copying."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.layout import BLOCK_BYTES, CHUNK_BITS
from belljar.fs.volume.posix.directory import refuse

if TYPE_CHECKING:
    from belljar.fs.volume.ground import Ground
    from belljar.fs.volume.posix.content import Content
    from belljar.fs.volume.posix.inode import Inode, Inodes

KEEP_SIZE = 1  # linux/falloc.h
PUNCH_HOLE = 2
ZERO_RANGE = 16
SEEK_DATA = 3  # linux/fs.h
SEEK_HOLE = 4
_PIECE = 1 << 20
_MAX_COPY = 4 << 20  # in one go; copy_file_range(2) may return less than it was asked for
_SPARE_BLOCKS = 12


class Ranges:
    """Changes ranges of content. The caller holds the lock."""

    def __init__(self, ground: Ground, inodes: Inodes, content: Content) -> None:
        self.ground = ground
        self.inodes = inodes
        self.content = content

    def allocate(self, inode: Inode, offset: int, length: int, mode: int) -> None:
        """Do fallocate(2). Mode 0 looks whether there is room, but cannot keep it: every write goes to new blocks."""
        if mode not in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
            raise refuse(errno.EOPNOTSUPP)
        if offset < 0 or length <= 0:
            raise refuse(errno.EINVAL)
        end = offset + length
        if end > layout.MAX_FILE:
            raise refuse(errno.EFBIG)
        takes_away = bool(mode & (PUNCH_HOLE | ZERO_RANGE))
        self.ground.admit(_SPARE_BLOCKS if takes_away else length // BLOCK_BYTES + _SPARE_BLOCKS)
        if takes_away:
            self.content.zero(inode, offset, end)
        if not mode & KEEP_SIZE and end > inode.size:
            self.content.resize(inode, end)
        self.inodes.touch(inode)

    def seek(self, inode: Inode, offset: int, whence: int) -> int:
        """Return where data or a hole begins, in steps of a chunk. Raises ENXIO, EINVAL."""
        if whence not in (SEEK_DATA, SEEK_HOLE):
            raise refuse(errno.EINVAL)
        if not 0 <= offset < inode.size:
            raise refuse(errno.ENXIO)
        chunk = offset >> CHUNK_BITS
        if whence == SEEK_DATA:
            found = self.content.next_chunk(inode, chunk)
            if found is None or found << CHUNK_BITS >= inode.size:
                raise refuse(errno.ENXIO)
            return max(offset, found << CHUNK_BITS)
        while self.content.next_chunk(inode, chunk) == chunk:
            chunk += 1
        return min(max(offset, chunk << CHUNK_BITS), inode.size)

    def copy(self, source: tuple[Inode, int], target: tuple[Inode, int], length: int) -> int:
        """Copy content, at most 4 MiB, and return how much.

        Raises:
            OSError: EINVAL where ranges of one file meet, ENOSPC, EDQUOT, EFBIG.
        """
        (inode, offset), (to, to_offset) = source, target
        length = max(0, min(length, inode.size - offset, _MAX_COPY))
        if to_offset + length > layout.MAX_FILE:
            raise refuse(errno.EFBIG)
        if inode is to and offset < to_offset + length and to_offset < offset + length:
            raise refuse(errno.EINVAL)
        self.ground.admit(length // BLOCK_BYTES + _SPARE_BLOCKS)
        done = 0
        while done < length:
            count = min(_PIECE, length - done)
            self.content.write(to, to_offset + done, self.content.read(inode, offset + done, count))
            done += count
        if done:
            self.inodes.touch(to)
        return done

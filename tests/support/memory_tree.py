"""A `WritableTree` in memory: what every other store is compared with. Complete, and simple enough to be read."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from threading import RLock

from belljar.fs.writable import tree as seam
from belljar.fs.writable.clock import kernel_time_ns
from belljar.fs.writable.tree import Attributes, Changes

CHUNK = 1 << 16
MAX_SIZE = 1 << 50
MAX_LINKS = 65_000
MAX_XATTR = 1 << 16
MAX_XATTRS = 1 << 16  # all of an inode together
_KEEP, _PUNCH, _ZERO = seam.FALLOC_FL_KEEP_SIZE, seam.FALLOC_FL_PUNCH_HOLE, seam.FALLOC_FL_ZERO_RANGE
_NOTHING = bytes(CHUNK)
_BLOCK = 4096


def failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Directory:
    """Names in the order they were added; a cookie is the place in that order."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        self.names: dict[bytes, tuple[int, int]] = {}  # name -> (cookie, ino)
        self._cookies: list[int] = []  # rising; those of removed names stay until there are too many
        self._by_cookie: dict[int, bytes] = {}
        self._next = 1

    def add(self, name: bytes, ino: int) -> None:
        self.names[name] = (self._next, ino)
        self._cookies.append(self._next)
        self._by_cookie[self._next] = name
        self._next += 1

    def put(self, name: bytes, ino: int) -> None:
        if name in self.names:
            self.names[name] = (self.names[name][0], ino)
        else:
            self.add(name, ino)

    def remove(self, name: bytes) -> None:
        cookie, _ = self.names.pop(name)
        del self._by_cookie[cookie]
        if len(self._cookies) > 2 * len(self.names) + 64:
            self._cookies = sorted(self._by_cookie)

    def after(self, cookie: int) -> Iterator[tuple[int, bytes, int]]:
        cookies = self._cookies
        for place in range(bisect_right(cookies, cookie), len(cookies)):
            name = self._by_cookie.get(cookies[place])
            if name is not None:
                yield cookies[place], name, self.names[name][1]


class Inode:
    def __init__(self, ino: int, mode: int, uid: int, gid: int, now: int) -> None:
        self.ino, self.mode, self.uid, self.gid = ino, mode, uid, gid
        self.nlink = 0
        self.rdev = 0
        self.size = 0
        self.atime_ns = self.mtime_ns = self.ctime_ns = now
        self.directory: Directory | None = None
        self.target = b""
        self.chunks: dict[int, bytearray] = {}
        self.xattrs: dict[bytes, bytes] = {}


class MemoryTree:
    """Holds everything in dictionaries.

    Args:
        max_bytes: of content, in whole chunks: then ENOSPC.
        max_inodes: then ENOSPC.
    """

    def __init__(self, *, max_bytes: int = 1 << 40, max_inodes: int = 1 << 40) -> None:
        self._lock = RLock()
        self._inodes: dict[int, Inode] = {}
        self._next = seam.ROOT_INO
        self._used = 0
        self.max_bytes = max_bytes
        self.max_inodes = max_inodes
        self.synced: list[int] = []
        root = self._new(stat.S_IFDIR | 0o755, 0, 0)
        root.directory = Directory(root.ino)
        root.nlink = 2

    def _new(self, mode: int, uid: int, gid: int) -> Inode:
        if len(self._inodes) >= self.max_inodes:
            raise failed(errno.ENOSPC)
        inode = self._inodes[self._next] = Inode(self._next, mode, uid, gid, kernel_time_ns())
        self._next += 1
        return inode

    def _inode(self, ino: int) -> Inode:
        inode = self._inodes.get(ino)
        if inode is None:
            raise failed(errno.ENOENT)
        return inode

    def _directory(self, ino: int) -> tuple[Inode, Directory]:
        inode = self._inode(ino)
        if inode.directory is None:
            raise failed(errno.ENOTDIR)
        return inode, inode.directory

    def _regular(self, ino: int) -> Inode:
        inode = self._inode(ino)
        if not stat.S_ISREG(inode.mode):
            raise failed(errno.EISDIR if inode.directory else errno.EINVAL)
        return inode

    def _found(self, parent: int, name: bytes) -> tuple[Inode, Directory, Inode]:
        inode, directory = self._directory(parent)
        entry = directory.names.get(name)
        if entry is None:
            raise failed(errno.ENOENT)
        return inode, directory, self._inodes[entry[1]]

    def _place(self, parent: int, name: bytes) -> tuple[Inode, Directory]:
        """Return a directory that can take a new name."""
        inode, directory = self._directory(parent)
        if inode.nlink == 0:
            raise failed(errno.ENOENT)
        if len(name) > seam.NAME_MAX:
            raise failed(errno.ENAMETOOLONG)
        if name in directory.names:
            raise failed(errno.EEXIST)
        return inode, directory

    @staticmethod
    def _shown(inode: Inode) -> Attributes:
        size = len(inode.directory.names) * 20 + 40 if inode.directory else len(inode.target) or inode.size
        return Attributes(
            inode.ino, inode.mode, inode.nlink, inode.uid, inode.gid, inode.rdev, size,
            len(inode.chunks) * (CHUNK // 512), inode.atime_ns, inode.mtime_ns, inode.ctime_ns,
        )  # fmt: skip

    def lookup(self, parent: int, name: bytes) -> Attributes:
        with self._lock:
            return self._shown(self._found(parent, name)[2])

    def attributes(self, ino: int) -> Attributes:
        with self._lock:
            return self._shown(self._inode(ino))

    def set_attributes(self, ino: int, changes: Changes) -> Attributes:
        with self._lock:
            inode = self._inode(ino)
            if changes.size is not None:
                self._resize(self._regular(ino), changes.size)
            if changes.mode is not None:
                inode.mode = stat.S_IFMT(inode.mode) | changes.mode & 0o7777
            for field in ("uid", "gid", "atime_ns", "mtime_ns", "ctime_ns"):
                value = getattr(changes, field)
                if value is not None:
                    setattr(inode, field, value)
            return self._shown(inode)

    def _resize(self, inode: Inode, size: int) -> None:
        if size > MAX_SIZE:
            raise failed(errno.EFBIG)
        if size < inode.size:
            self._clear(inode, size, inode.size)
        inode.size = size

    def make(
        self, parent: int, name: bytes, mode: int, uid: int, gid: int, *, rdev: int = 0, target: bytes = b""
    ) -> Attributes:
        with self._lock:
            above, directory = self._place(parent, name)
            inode = self._new(mode, uid, gid)
            inode.rdev, inode.target, inode.nlink = rdev, target, 1
            if stat.S_ISDIR(mode):
                inode.directory = Directory(parent)
                inode.nlink = 2
                above.nlink += 1
            directory.add(name, inode.ino)
            self._touch(above)
            return self._shown(inode)

    @staticmethod
    def _touch(directory: Inode, *others: Inode) -> None:
        """Set the times of a directory that has changed, and of inodes that gained or lost a name."""
        directory.mtime_ns = directory.ctime_ns = now = kernel_time_ns()
        for inode in others:
            inode.ctime_ns = now

    def make_unnamed(self, mode: int, uid: int, gid: int) -> Attributes:
        with self._lock:
            return self._shown(self._new(mode, uid, gid))

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        with self._lock:
            inode = self._inode(ino)
            if inode.directory:
                raise failed(errno.EPERM)
            if inode.nlink >= MAX_LINKS:
                raise failed(errno.EMLINK)
            above, directory = self._place(parent, name)
            directory.add(name, ino)
            inode.nlink += 1
            self._touch(above, inode)
            return self._shown(inode)

    def unlink(self, parent: int, name: bytes) -> None:
        with self._lock:
            above, directory, inode = self._found(parent, name)
            if inode.directory:
                raise failed(errno.EISDIR)
            directory.remove(name)
            self._lose_name(above, inode)

    def rmdir(self, parent: int, name: bytes) -> None:
        with self._lock:
            above, directory, inode = self._found(parent, name)
            self._empty(inode)
            directory.remove(name)
            self._lose_name(above, inode)

    @staticmethod
    def _empty(inode: Inode) -> None:
        if not inode.directory:
            raise failed(errno.ENOTDIR)
        if inode.directory.names:
            raise failed(errno.ENOTEMPTY)

    def _lose_name(self, above: Inode, inode: Inode) -> None:
        if inode.directory:
            inode.nlink = 0
            above.nlink -= 1
        else:
            inode.nlink -= 1
        self._touch(above, inode)

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        with self._lock:
            if flags not in (0, seam.RENAME_NOREPLACE, seam.RENAME_EXCHANGE):
                raise failed(errno.EINVAL)
            above, directory, inode = self._found(parent, name)
            new_above, new_directory = self._directory(new_parent)
            if new_above.nlink == 0:
                raise failed(errno.ENOENT)
            if len(new_name) > seam.NAME_MAX:
                raise failed(errno.ENAMETOOLONG)
            entry = new_directory.names.get(new_name)
            replaced = None if entry is None else self._inodes[entry[1]]
            self._refuse_loop(inode, new_parent)
            if flags == seam.RENAME_EXCHANGE:
                if replaced is None:
                    raise failed(errno.ENOENT)
                self._refuse_loop(replaced, parent)
                directory.put(name, replaced.ino)
                new_directory.put(new_name, inode.ino)
                self._moved(replaced, new_above, above)
            else:
                if replaced is inode:
                    return
                if replaced is not None:
                    self._replace(inode, replaced, flags)
                    self._lose_name(new_above, replaced)
                new_directory.put(new_name, inode.ino)
                directory.remove(name)
            self._moved(inode, above, new_above)
            self._touch(above, inode)
            self._touch(new_above, *[] if replaced is None else [replaced])

    def _refuse_loop(self, inode: Inode, into: int) -> None:
        """A directory must not move below itself."""
        while inode.directory:
            if into == inode.ino:
                raise failed(errno.EINVAL)
            if into == seam.ROOT_INO:
                return
            into = self._directory(into)[1].parent

    def _replace(self, inode: Inode, replaced: Inode, flags: int) -> None:
        if flags == seam.RENAME_NOREPLACE:
            raise failed(errno.EEXIST)
        if inode.directory:
            self._empty(replaced)
        elif replaced.directory:
            raise failed(errno.EISDIR)

    @staticmethod
    def _moved(inode: Inode, above: Inode, new_above: Inode) -> None:
        if inode.directory:
            above.nlink -= 1
            new_above.nlink += 1
            inode.directory.parent = new_above.ino

    def forget(self, ino: int) -> None:
        with self._lock:
            inode = self._inodes.get(ino)
            if inode and inode.nlink == 0:
                self._clear(inode, 0, inode.size + CHUNK)
                del self._inodes[ino]

    def target(self, ino: int) -> bytes:
        with self._lock:
            inode = self._inode(ino)
            if not stat.S_ISLNK(inode.mode):
                raise failed(errno.EINVAL)
            return inode.target

    def entries(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        _, directory = self._directory(ino)
        for cookie, name, child in directory.after(after):
            yield cookie, name, child, self._inodes[child].mode

    def parent(self, ino: int) -> int:
        with self._lock:
            return self._directory(ino)[1].parent

    def read(self, ino: int, offset: int, size: int) -> bytes:
        with self._lock:
            inode = self._regular(ino)
            end = min(offset + size, inode.size)
            return b"".join(self._pieces(inode, offset, end))

    @staticmethod
    def _pieces(inode: Inode, offset: int, end: int) -> Iterator[bytes | bytearray | memoryview]:
        for number, start, stop in _chunks(offset, end):
            chunk = inode.chunks.get(number)
            if chunk is not None and stop - start == CHUNK:
                yield chunk
            else:
                yield memoryview(_NOTHING if chunk is None else chunk)[start:stop]

    def write(self, ino: int, offset: int, content: bytes | memoryview) -> int:
        with self._lock:
            inode = self._regular(ino)
            end = offset + len(content)
            if end > MAX_SIZE:
                raise failed(errno.EFBIG)
            self._reserve(inode, offset, end)
            done = 0
            for number, start, stop in _chunks(offset, end):
                piece = content[done : done + stop - start]
                if stop - start == CHUNK:
                    inode.chunks[number] = bytearray(piece)
                else:
                    inode.chunks.setdefault(number, bytearray(CHUNK))[start:stop] = piece
                done += stop - start
            inode.size = max(inode.size, end)
            return done

    def _reserve(self, inode: Inode, offset: int, end: int) -> None:
        new = sum(number not in inode.chunks for number, _, _ in _chunks(offset, end)) * CHUNK
        if self._used + new > self.max_bytes:
            raise failed(errno.ENOSPC)
        self._used += new

    def allocate(self, ino: int, offset: int, length: int, mode: int) -> None:
        with self._lock:
            inode = self._regular(ino)
            end = offset + length
            if mode not in (0, _KEEP, _PUNCH | _KEEP, _ZERO, _ZERO | _KEEP):
                raise failed(errno.EOPNOTSUPP)
            if end > MAX_SIZE:
                raise failed(errno.EFBIG)
            if mode & (_PUNCH | _ZERO):
                self._clear(inode, offset, end)
            if not mode & _PUNCH:
                self._reserve(inode, offset, end)
                for number, _, _ in _chunks(offset, end):
                    inode.chunks.setdefault(number, bytearray(CHUNK))
            if not mode & _KEEP:
                inode.size = max(inode.size, end)

    def _clear(self, inode: Inode, offset: int, end: int) -> None:
        """Make a range read as zeros, and give back the chunks that lie in it, or behind the end of the file."""
        beyond = end >= inode.size
        for number in [n for n in inode.chunks if offset // CHUNK <= n and (beyond or n <= end // CHUNK)]:
            start = max(offset - number * CHUNK, 0)
            stop = CHUNK if beyond else min(end - number * CHUNK, CHUNK)
            if start == 0 and stop == CHUNK:
                del inode.chunks[number]
                self._used -= CHUNK
            elif stop > start:
                inode.chunks[number][start:stop] = bytes(stop - start)

    def seek(self, ino: int, offset: int, whence: int) -> int:
        with self._lock:
            inode = self._regular(ino)
            if offset >= inode.size:
                raise failed(errno.ENXIO)
            number = offset // CHUNK
            if whence == os.SEEK_HOLE:
                while number in inode.chunks:
                    number += 1
                return min(max(offset, number * CHUNK), inode.size)
            found = min((n for n in inode.chunks if n >= number and n * CHUNK < inode.size), default=None)
            if found is None:
                raise failed(errno.ENXIO)
            return max(offset, found * CHUNK)

    def copy_range(self, ino: int, offset: int, to_ino: int, to_offset: int, length: int) -> int:
        with self._lock:
            content = self.read(ino, offset, length)
            self._regular(to_ino)
            return self.write(to_ino, to_offset, content) if content else 0

    def xattr(self, ino: int, name: bytes) -> bytes:
        with self._lock:
            content = self._inode(ino).xattrs.get(name)
            if content is None:
                raise failed(errno.ENODATA)
            return content

    def set_xattr(self, ino: int, name: bytes, content: bytes, flags: int) -> None:
        with self._lock:
            inode = self._inode(ino)
            if flags & os.XATTR_CREATE and name in inode.xattrs:
                raise failed(errno.EEXIST)
            if flags & os.XATTR_REPLACE and name not in inode.xattrs:
                raise failed(errno.ENODATA)
            if len(content) > MAX_XATTR:
                raise failed(errno.E2BIG)
            others = sum(len(key) + len(value) for key, value in inode.xattrs.items() if key != name)
            if others + len(name) + len(content) > MAX_XATTRS + seam.NAME_MAX:
                raise failed(errno.ENOSPC)
            inode.xattrs[name] = bytes(content)
            inode.ctime_ns = kernel_time_ns()

    def remove_xattr(self, ino: int, name: bytes) -> None:
        with self._lock:
            inode = self._inode(ino)
            if inode.xattrs.pop(name, None) is None:
                raise failed(errno.ENODATA)
            inode.ctime_ns = kernel_time_ns()

    def xattrs(self, ino: int) -> list[bytes]:
        with self._lock:
            return list(self._inode(ino).xattrs)

    def sync(self, ino: int) -> None:
        with self._lock:
            self.synced.append(ino)

    def space(self) -> tuple[int, int, int, int, int]:
        with self._lock:
            blocks = self.max_bytes // _BLOCK
            free = blocks - self._used // _BLOCK
            return blocks, free, free, self.max_inodes, self.max_inodes - len(self._inodes)


def _chunks(offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, stop) of the parts of chunks that a range touches."""
    while offset < end:
        number, start = divmod(offset, CHUNK)
        stop = min(CHUNK, start + end - offset)
        yield number, start, stop
        offset += stop - start

"""Door: pseudo files that programs write to and read answers from, such as the guest's /dev/attestation. Warm.

In comes a tree of folders and files, each with functions of the caller's; out comes the table of operations for a
`Session` of one thread. Each open has a buffer of its own: it is filled when the file is opened, and saved when it is
closed, as in configfs. The kernel caches nothing (FOPEN_DIRECT_IO). Whatever a guest does, it holds a bounded number of
buffers of bounded size here.
"""

from __future__ import annotations

import os
from errno import EACCES, EBADF, EEXIST, EFBIG, EINVAL, EMFILE, ENOENT, ENOSPC, ENOTDIR, ENOTTY, EPERM, ESTALE
from stat import S_IFDIR, S_IFREG

from .fuse import protocol, writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .fuse.session import Operation

MAX_READ = 8192  # also the longest WRITE; a session must read at least that much of /dev/fuse at once
FEATURES = protocol.ATOMIC_O_TRUNC
"""What a session that serves such a tree must be told to want (`Session(writable=…, max_read=MAX_READ)`)."""

_MAX_HANDLES = 1024
_MAX_NAME = 64
_REFUSED_CHANGES = writing.FATTR_MODE | writing.FATTR_UID | writing.FATTR_GID
_FATTR_FH = 1 << 6
_NEVER = (
    protocol.UNLINK,
    protocol.RENAME,
    protocol.RENAME2,
    protocol.LINK,
    protocol.SYMLINK,
    protocol.MKNOD,
)


class PseudoFile:
    """A file.

    Args:
        load: given the pid of who opens it, as the guest counts, returns what it will read; None if it cannot be read.
        save: given that pid and what was written, keeps it when the file is closed; None if it cannot be written.
            Both raise OSError for what the program shall see.
        most: bytes it can be made to hold; a longer write is refused with EFBIG.
        fresh: whether a writer starts with nothing, even without O_TRUNC.
    """

    __slots__ = ("fresh", "load", "most", "save")

    def __init__(
        self,
        load: Callable[[int], bytes] | None,
        save: Callable[[int, bytes], None] | None = None,
        *,
        most: int = 0,
        fresh: bool = False,
    ) -> None:
        self.load = load
        self.save = save
        self.most = most
        self.fresh = fresh

    @property
    def mode(self) -> int:
        """Type and permission bits."""
        return S_IFREG | (0o400 if self.load else 0) | (0o200 if self.save else 0)


class PseudoFolder:
    """A folder.

    Args:
        children: what is in it from the start, and stays.
        make_folder: given a name, returns the folder that mkdir makes; None if there is no mkdir here.
        make_file: given a name, returns the file that open makes; None if no file can be made here.
        most: how many can be made.
    """

    __slots__ = ("children", "made", "make_file", "make_folder", "most")

    mode = S_IFDIR | 0o755

    def __init__(
        self,
        children: dict[str, PseudoFile | PseudoFolder],
        *,
        make_folder: Callable[[str], PseudoFolder] | None = None,
        make_file: Callable[[str], PseudoFile] | None = None,
        most: int = 0,
    ) -> None:
        self.children = children
        self.make_folder = make_folder
        self.make_file = make_file
        self.most = most
        self.made: set[str] = set()


def pseudo_operations(root: PseudoFolder, *, owner: tuple[int, int]) -> dict[int, Operation]:
    """Return the operations that serve a tree, for one thread.

    Args:
        root: the tree.
        owner: (uid, gid) in the guest that everything belongs to.
    """
    return _Operations(root, owner).table()


class _Handle:
    __slots__ = ("changed", "content", "file", "pid")

    def __init__(self, file: PseudoFile, pid: int, content: bytes) -> None:
        self.file = file
        self.pid = pid
        self.content = bytearray(content)
        self.changed = False


class _Operations:
    def __init__(self, root: PseudoFolder, owner: tuple[int, int]) -> None:
        self._owner = owner
        self._nodes: dict[int, PseudoFile | PseudoFolder] = {protocol.ROOT_ID: root}
        self._numbers: dict[PseudoFile | PseudoFolder, int] = {root: protocol.ROOT_ID}
        self._next_node = protocol.ROOT_ID + 1
        self._handles: dict[int, _Handle] = {}
        self._next_handle = 1

    def table(self) -> dict[int, Operation]:
        return {
            protocol.LOOKUP: self._lookup,
            protocol.GETATTR: lambda node, _request: self._attributes(node),
            protocol.SETATTR: self._setattr,
            protocol.OPEN: self._open,
            protocol.CREATE: self._create,
            protocol.READ: self._read,
            protocol.WRITE: self._write,
            protocol.FLUSH: self._flush,
            protocol.FSYNC: self._flush,
            protocol.RELEASE: self._release,
            protocol.MKDIR: self._mkdir,
            protocol.RMDIR: self._rmdir,
            **dict.fromkeys(_NEVER, self._refuse),
            protocol.OPENDIR: lambda _node, _request: protocol.OPEN_OUT.pack(0, 0, 0),
            protocol.RELEASEDIR: lambda _node, _request: b"",
            protocol.READDIR: self._readdir,
            protocol.STATFS: lambda _node, _request: protocol.statfs(len(self._nodes)),
            protocol.IOCTL: self._ioctl,
            protocol.DESTROY: lambda _node, _request: b"",
        }

    def _node(self, node: int) -> PseudoFile | PseudoFolder:
        found = self._nodes.get(node)
        if found is None:
            raise OSError(ESTALE, "removed")
        return found

    def _folder(self, node: int) -> PseudoFolder:
        found = self._node(node)
        if not isinstance(found, PseudoFolder):
            raise OSError(ENOTDIR, "not a folder")
        return found

    def _number(self, item: PseudoFile | PseudoFolder) -> int:
        """Return the node id of a file or folder; ids are never used again."""
        number = self._numbers.get(item)
        if number is None:
            number = self._numbers[item] = self._next_node
            self._nodes[number] = item
            self._next_node += 1
        return number

    def _shown(self, node: int) -> bytes:
        uid, gid = self._owner
        return protocol.ATTR.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, self._node(node).mode, 1, uid, gid, 0, protocol.PAGE, 0)

    def _attributes(self, node: int) -> bytes:
        return protocol.ATTR_HEAD.pack(0, 0, 0) + self._shown(node)

    def _entry(self, item: PseudoFile | PseudoFolder) -> bytes:
        number = self._number(item)
        return protocol.ENTRY_HEAD.pack(number, 0, 0, 0, 0, 0) + self._shown(number)

    def _lookup(self, node: int, request: bytes) -> bytes:
        found = self._folder(node).children.get(_text(protocol.request_name(request)))
        if found is None:
            raise OSError(ENOENT, "no such file")
        return self._entry(found)

    def _setattr(self, node: int, request: bytes) -> bytes:
        """Take a new size; times do not exist here, and rights are not the program's to change."""
        valid, number, size, *_ = writing.SETATTR_IN.unpack_from(request, protocol.BODY)
        if valid & _REFUSED_CHANGES:
            raise OSError(EPERM, "rights are fixed")
        if valid & writing.FATTR_SIZE and valid & _FATTR_FH:
            handle = self._handle(number)
            if size > handle.file.most:
                raise OSError(EFBIG, "too long")
            handle.content = handle.content[:size].ljust(size, b"\0")
            handle.changed = True
        return self._attributes(node)

    def _open(self, node: int, request: bytes) -> bytes:
        flags = int.from_bytes(request[protocol.BODY : protocol.BODY + 4], "little")
        file = self._node(node)
        if not isinstance(file, PseudoFile):
            raise OSError(EINVAL, "not a file")
        return self._opened(file, flags, request)

    def _opened(self, file: PseudoFile, flags: int, request: bytes) -> bytes:
        pid = protocol.IN_HEADER.unpack_from(request)[6]
        wants = flags & os.O_ACCMODE
        if (wants != os.O_WRONLY and file.load is None) or (wants != os.O_RDONLY and file.save is None):
            raise OSError(EACCES, "cannot be opened so")
        if len(self._handles) >= _MAX_HANDLES:
            raise OSError(EMFILE, "too many are open")
        empty = flags & os.O_TRUNC or (file.fresh and wants != os.O_RDONLY) or file.load is None
        handle = _Handle(file, pid, b"" if empty or file.load is None else file.load(pid))
        self._handles[self._next_handle] = handle
        self._next_handle += 1
        return protocol.OPEN_OUT.pack(self._next_handle - 1, protocol.FOPEN_DIRECT_IO, 0)

    def _create(self, node: int, request: bytes) -> bytes:
        flags, *_ = writing.CREATE_IN.unpack_from(request, protocol.BODY)
        folder = self._folder(node)
        name = self._new_name(folder, request, writing.CREATE_IN.size)
        if folder.make_file is None:
            raise OSError(EACCES, "no file can be made here")
        file = folder.make_file(name)
        opened = self._opened(file, flags, request)
        folder.children[name] = file
        folder.made.add(name)
        return self._entry(file) + opened

    @staticmethod
    def _new_name(folder: PseudoFolder, request: bytes, skipped: int) -> str:
        name = _text(writing.request_name(request, protocol.BODY + skipped))
        if name in folder.children:
            raise OSError(EEXIST, "is there")
        if not name.isprintable() or len(name) > _MAX_NAME:
            raise OSError(EINVAL, "not such a name")
        if folder.most and len(folder.made) >= folder.most:
            raise OSError(ENOSPC, "too many")
        return name

    def _handle(self, number: int) -> _Handle:
        found = self._handles.get(number)
        if found is None:
            raise OSError(EBADF, "not open")
        return found

    def _read(self, _node: int, request: bytes) -> bytes:
        number, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        return bytes(self._handle(number).content[offset : offset + size])

    def _write(self, _node: int, request: bytes) -> bytes:
        number, offset, size, *_ = writing.WRITE_IN.unpack_from(request, protocol.BODY)
        handle = self._handle(number)
        if offset + size > handle.file.most:
            raise OSError(EFBIG, "too long")
        if offset > len(handle.content):
            handle.content.extend(bytes(offset - len(handle.content)))
        handle.content[offset : offset + size] = request[writing.CONTENT : writing.CONTENT + size]
        handle.changed = True
        return writing.WRITE_OUT.pack(size)

    def _flush(self, _node: int, request: bytes) -> bytes:
        """Save what was written: close(2) waits for this, so the program sees what the file says to it."""
        number = int.from_bytes(request[protocol.BODY : protocol.BODY + 8], "little")
        handle = self._handle(number)
        if handle.changed and handle.file.save is not None:
            handle.changed = False
            handle.file.save(handle.pid, bytes(handle.content))
        return b""

    def _release(self, _node: int, request: bytes) -> bytes:
        number, *_ = protocol.RELEASE_IN.unpack_from(request, protocol.BODY)
        self._handles.pop(number, None)
        return b""

    def _mkdir(self, node: int, request: bytes) -> bytes:
        folder = self._folder(node)
        name = self._new_name(folder, request, writing.MKDIR_IN.size)
        if folder.make_folder is None:
            raise OSError(EPERM, "no folder can be made here")
        folder.children[name] = folder.make_folder(name)
        folder.made.add(name)
        return self._entry(folder.children[name])

    def _rmdir(self, node: int, request: bytes) -> bytes:
        """Remove a folder that mkdir made, with the files in it, as configfs does."""
        folder = self._folder(node)
        name = _text(protocol.request_name(request))
        if name not in folder.children:
            raise OSError(ENOENT, "no such folder")
        gone = folder.children[name]
        if name not in folder.made or not isinstance(gone, PseudoFolder):
            raise OSError(EPERM, "was not made with mkdir")
        del folder.children[name]
        folder.made.discard(name)
        for item in (gone, *gone.children.values()):
            self._nodes.pop(self._numbers.pop(item, 0), None)
        return b""

    def _readdir(self, node: int, request: bytes) -> bytes:
        _, offset, size, _ = protocol.READ_IN.unpack_from(request, protocol.BODY)
        listed = sorted(self._folder(node).children.items())
        rows = [(b".", node, S_IFDIR), (b"..", protocol.ROOT_ID, S_IFDIR)]
        rows += [(os.fsencode(name), self._number(item), item.mode) for name, item in listed]
        packed = b""
        for position, (name, number, mode) in enumerate(rows[offset:], offset):
            part = protocol.dirent(number, position + 1, name, mode)
            if len(packed) + len(part) > size:
                break
            packed += part
        return packed

    def _refuse(self, _node: int, _request: bytes) -> bytes:
        raise OSError(EPERM, "not here")

    def _ioctl(self, _node: int, _request: bytes) -> bytes:
        raise OSError(ENOTTY, "not a terminal")


def _text(name: bytes) -> str:
    return os.fsdecode(name)

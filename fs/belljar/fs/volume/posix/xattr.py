"""Extended attributes: one item of the tree each, by name; a value has at most one block, as on ext4."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from belljar.fs.volume import layout
from belljar.fs.volume.layout import FLAG_XATTR, KIND_XATTR, head_key
from belljar.fs.volume.posix.directory import refuse

if TYPE_CHECKING:
    from belljar.fs.volume.ground import Ground
    from belljar.fs.volume.posix.inode import Inode

XATTR_CREATE = 1  # linux/xattr.h
XATTR_REPLACE = 2


class Xattrs:
    """Reads and changes extended attributes. The caller holds the lock, admits, and touches the inode."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    def get(self, inode: Inode, name: bytes) -> bytes:
        """Return a value. Raises ENODATA."""
        found = self.ground.tree.get(head_key(inode.ino, KIND_XATTR, name)) if inode.flags & FLAG_XATTR else None
        if found is None:
            raise refuse(errno.ENODATA)
        return found

    def set(self, inode: Inode, name: bytes, content: bytes, flags: int) -> None:
        """Set a value. Raises ERANGE, E2BIG, ENOSPC, EEXIST, ENODATA."""
        if not name or len(name) > layout.MAX_NAME:
            raise refuse(errno.ERANGE)
        if len(content) > layout.MAX_XATTR:
            raise refuse(errno.E2BIG if len(content) > 65536 else errno.ENOSPC)
        key = head_key(inode.ino, KIND_XATTR, name)
        exists = bool(inode.flags & FLAG_XATTR) and self.ground.tree.get(key) is not None
        if flags & XATTR_CREATE and exists:
            raise refuse(errno.EEXIST)
        if flags & XATTR_REPLACE and not exists:
            raise refuse(errno.ENODATA)
        inode.flags |= FLAG_XATTR
        self.ground.tree.put(key, bytes(content))

    def remove(self, inode: Inode, name: bytes) -> None:
        """Remove a value. Raises ENODATA."""
        self.get(inode, name)
        self.ground.tree.delete(head_key(inode.ino, KIND_XATTR, name))

    def names(self, inode: Inode) -> list[bytes]:
        """Return the names there are."""
        if not inode.flags & FLAG_XATTR:
            return []
        low, high = head_key(inode.ino, KIND_XATTR), head_key(inode.ino, KIND_XATTR + 1)
        return [key[layout.KEY_HEAD.size :] for key, _ in self.ground.tree.items(low, high)]

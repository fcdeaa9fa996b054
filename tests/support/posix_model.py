"""A model of a POSIX file system: plain dictionaries, nothing clever, and one function per operation of the seam.

Errors are OSError with the errno Linux documents. Inode numbers come from whoever is compared with it.
"""

from __future__ import annotations

import copy
import errno
import os
from dataclasses import dataclass, field
from stat import S_IFDIR, S_IFMT, S_ISDIR, S_ISLNK, S_ISREG

State = dict[bytes, tuple[object, ...]]


def fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass
class Node:
    mode: int
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    nlink: int = 1
    content: bytearray = field(default_factory=bytearray)
    children: dict[bytes, int] = field(default_factory=dict)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    mtime_ns: int | None = None
    parent: int = 1


class Model:
    """The whole file system."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {1: Node(S_IFDIR | 0o755, nlink=2)}

    def clone(self) -> Model:
        return copy.deepcopy(self)

    def node(self, ino: int) -> Node:
        if ino not in self.nodes:
            raise fail(errno.ENOENT)
        return self.nodes[ino]

    def directory(self, ino: int) -> Node:
        node = self.node(ino)
        if not S_ISDIR(node.mode):
            raise fail(errno.ENOTDIR)
        return node

    def regular(self, ino: int) -> Node:
        node = self.node(ino)
        if S_ISDIR(node.mode):
            raise fail(errno.EISDIR)
        if not S_ISREG(node.mode):
            raise fail(errno.EINVAL)
        return node

    def lookup(self, parent: int, name: bytes) -> int:
        children = self.directory(parent).children
        if len(name) > 255:
            raise fail(errno.ENAMETOOLONG)
        if name not in children:
            raise fail(errno.ENOENT)
        return children[name]

    def vacant(self, parent: int, name: bytes) -> Node:
        directory = self.directory(parent)
        if len(name) > 255:
            raise fail(errno.ENAMETOOLONG)
        if not directory.nlink:
            raise fail(errno.ENOENT)
        if name in directory.children:
            raise fail(errno.EEXIST)
        return directory

    def make(self, parent: int, name: bytes, mode: int, ino: int, target: bytes = b"") -> None:
        directory = self.vacant(parent, name)
        self.nodes[ino] = Node(mode, content=bytearray(target), parent=parent)
        directory.children[name] = ino
        if S_ISDIR(mode):
            self.nodes[ino].nlink = 2
            directory.nlink += 1

    def make_unnamed(self, mode: int, ino: int) -> None:
        self.nodes[ino] = Node(mode, nlink=0)

    def link(self, ino: int, parent: int, name: bytes) -> None:
        node = self.node(ino)
        self.directory(parent)
        if S_ISDIR(node.mode):
            raise fail(errno.EPERM)
        self.vacant(parent, name).children[name] = ino
        node.nlink += 1

    def unlink(self, parent: int, name: bytes) -> None:
        ino = self.lookup(parent, name)
        if S_ISDIR(self.nodes[ino].mode):
            raise fail(errno.EISDIR)
        del self.nodes[parent].children[name]
        self.nodes[ino].nlink -= 1

    def rmdir(self, parent: int, name: bytes) -> None:
        ino = self.lookup(parent, name)
        node = self.nodes[ino]
        if not S_ISDIR(node.mode):
            raise fail(errno.ENOTDIR)
        if node.children:
            raise fail(errno.ENOTEMPTY)
        del self.nodes[parent].children[name]
        self.nodes[parent].nlink -= 1
        node.nlink = 0

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        source, target = self.directory(parent), self.directory(new_parent)
        if flags not in (0, 1, 2):
            raise fail(errno.EINVAL)
        ino = self.lookup(parent, name)
        old = target.children.get(new_name)
        if flags == 2:
            if old is None:
                raise fail(errno.ENOENT)
            self._refuse_loop(ino, new_parent)
            self._refuse_loop(old, parent)
            self._move(parent, name, old)
            self._move(new_parent, new_name, ino)
            return
        if old is not None:
            if flags == 1:
                raise fail(errno.EEXIST)
            if old == ino:
                return
            self._may_replace(self.nodes[ino], self.nodes[old])
        elif not target.nlink:
            raise fail(errno.ENOENT)
        self._refuse_loop(ino, new_parent)
        if old is not None:
            (self.rmdir if S_ISDIR(self.nodes[old].mode) else self.unlink)(new_parent, new_name)
        del source.children[name]
        source.nlink -= S_ISDIR(self.nodes[ino].mode)
        target.nlink += S_ISDIR(self.nodes[ino].mode)
        target.children[new_name] = ino
        self.nodes[ino].parent = new_parent

    def _move(self, parent: int, name: bytes, ino: int) -> None:
        directory = self.nodes[parent]
        directory.nlink += S_ISDIR(self.nodes[ino].mode) - S_ISDIR(self.nodes[directory.children[name]].mode)
        directory.children[name] = ino
        self.nodes[ino].parent = parent

    def _may_replace(self, node: Node, victim: Node) -> None:
        if S_ISDIR(node.mode) and not S_ISDIR(victim.mode):
            raise fail(errno.ENOTDIR)
        if S_ISDIR(victim.mode) and not S_ISDIR(node.mode):
            raise fail(errno.EISDIR)
        if victim.children:
            raise fail(errno.ENOTEMPTY)

    def _refuse_loop(self, ino: int, new_parent: int) -> None:
        if not S_ISDIR(self.nodes[ino].mode):
            return
        while new_parent != 1:
            if new_parent == ino:
                raise fail(errno.EINVAL)
            new_parent = self.nodes[new_parent].parent

    def forget(self, ino: int) -> None:
        if ino in self.nodes and not self.nodes[ino].nlink:
            del self.nodes[ino]

    def write(self, ino: int, offset: int, content: bytes) -> None:
        node = self.regular(ino)
        if content:
            self._extend(node, offset)
            node.content[offset : offset + len(content)] = content

    def resize(self, ino: int, size: int) -> None:
        node = self.regular(ino)
        del node.content[size:]
        self._extend(node, size)

    def zero(self, ino: int, offset: int, length: int, *, extend: bool) -> None:
        node = self.regular(ino)
        if extend:
            self._extend(node, offset + length)
        end = min(offset + length, len(node.content))
        if offset < end:
            node.content[offset:end] = bytes(end - offset)

    def copy_range(self, ino: int, offset: int, to_ino: int, to_offset: int, length: int) -> None:
        piece = bytes(self.regular(ino).content[offset : offset + length])
        self.regular(to_ino)
        if ino == to_ino and offset < to_offset + len(piece) and to_offset < offset + len(piece):
            raise fail(errno.EINVAL)
        self.write(to_ino, to_offset, piece)

    def _extend(self, node: Node, size: int) -> None:
        node.content.extend(bytes(max(0, size - len(node.content))))

    def set_xattr(self, ino: int, name: bytes, content: bytes, flags: int) -> None:
        node = self.node(ino)
        if flags & 1 and name in node.xattrs:
            raise fail(errno.EEXIST)
        if flags & 2 and name not in node.xattrs:
            raise fail(errno.ENODATA)
        node.xattrs[name] = content

    def remove_xattr(self, ino: int, name: bytes) -> None:
        if name not in self.node(ino).xattrs:
            raise fail(errno.ENODATA)
        del self.nodes[ino].xattrs[name]

    def state(self) -> State:
        """Return everything there is, by path; hard links are known by the first path of their inode."""
        found: State = {}
        first: dict[int, bytes] = {}
        rest = [(b"", 1)]
        while rest:
            path, ino = rest.pop()
            node = self.nodes[ino]
            same = first.setdefault(ino, path)
            content = bytes(node.content) if S_ISREG(node.mode) or S_ISLNK(node.mode) else b""
            found[path] = (
                node.mode, node.uid, node.gid, node.rdev, node.nlink, len(content) or len(node.children), content, same,
                tuple(sorted(node.xattrs.items())), node.mtime_ns,
            )  # fmt: skip
            rest += sorted(((path + b"/" + name, child) for name, child in node.children.items()), reverse=True)
        return found


def kind(mode: int) -> int:
    return S_IFMT(mode)

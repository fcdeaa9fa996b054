"""The copy-on-write tree: sorted keys and values in nodes that are read when they are needed.

A node that is changed becomes dirty with everything above it, and gives its old place back (`release`); a commit
writes dirty nodes to new places. Memory holds dirty nodes and as many clean ones as `trim` leaves. Reading never
changes what is stored; errors while reading (EIO, VolumeCorrupt) leave the tree as it was. The caller holds the
volume's lock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume.layout import JOINED_NODE_BYTES, MIN_NODE_BYTES, NODE_BYTES, POINTER_BYTES
from belljar.fs.volume.node import Node

Load = Callable[[bytes, int], Node]
Release = Callable[[bytes, bytes, int], None]
Path = list[tuple[Node, int]]
Item = tuple[bytes, bytes]


class Tree:
    """A tree from its root downward.

    Args:
        root: a node, loaded.
        load: (pointer, level) -> node; raises OSError and VolumeCorrupt.
        release: (pointer, lowest key, level) of a stored node that this tree needs no more.
    """

    def __init__(self, root: Node, load: Load, release: Release) -> None:
        self.root = root
        self.load = load
        self.release = release
        self.loaded = 1
        self.dirty = 0 if root.pointer else 1

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        node = self.root
        while node.level:
            at = bisect_right(node.keys, key, 1) - 1
            child = node.children[at]
            node = self._child(node, at) if isinstance(child, bytes) else child
        node.used = True
        keys = node.keys
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            return node.values[at]
        return None

    def put(self, key: bytes, value: bytes) -> bytes | None:
        """Set the value of a key and return the one it had."""
        path, leaf = self._descend(key)
        keys = leaf.keys
        at = bisect_left(keys, key)
        if leaf.pointer:
            self._own(path, leaf)
        if at < len(keys) and keys[at] == key:
            old = leaf.values[at]
            leaf.values[at] = value
            leaf.size += len(value) - len(old)
        else:
            old = None
            keys.insert(at, key)
            leaf.values.insert(at, value)
            leaf.size += len(key) + len(value) + 4
        if leaf.size > NODE_BYTES:
            self._split(path, leaf, at_end=at == len(keys) - 1)
        elif old is not None and leaf.size < MIN_NODE_BYTES and len(value) < len(old):
            self._join(path, leaf)
        return old

    def delete(self, key: bytes) -> bytes | None:
        """Remove a key and return its value, or None where there was none."""
        path, leaf = self._descend(key)
        at = bisect_left(leaf.keys, key)
        if at == len(leaf.keys) or leaf.keys[at] != key:
            return None
        if leaf.pointer:
            self._own(path, leaf)
        old = leaf.values.pop(at)
        del leaf.keys[at]
        leaf.size -= len(key) + len(old) + 4
        if leaf.size < MIN_NODE_BYTES:
            self._join(path, leaf)
        return old

    def batch(self, low: bytes, high: bytes) -> tuple[list[Item], bytes | None]:
        """Return the items of the leaf that holds `low`, with low <= key < high, and where to go on, or None."""
        node, bound = self.root, None
        while node.level:
            at = bisect_right(node.keys, low, 1) - 1
            if at + 1 < len(node.keys):
                bound = node.keys[at + 1]
            child = node.children[at]
            node = self._child(node, at) if isinstance(child, bytes) else child
        node.used = True
        keys = node.keys
        start = bisect_left(keys, low)
        stop = bisect_left(keys, high, start)
        items = list(zip(keys[start:stop], node.values[start:stop], strict=True)) if start < stop else []
        return items, (bound if bound is not None and bound < high else None)

    def items(self, low: bytes, high: bytes) -> Iterator[Item]:
        """Yield what is in a range; changes meanwhile do no harm."""
        at: bytes | None = low
        while at is not None:
            found, at = self.batch(at, high)
            yield from found

    def take(self, low: bytes, high: bytes) -> Iterator[list[Item]]:
        """Remove what is in a range, leaf by leaf, and yield what was removed."""
        while True:
            found, after = self.batch(low, high)
            if found:
                self._cut(found)
                yield found
            elif after is None:
                return
            else:
                low = after

    def _cut(self, found: list[Item]) -> None:
        path, leaf = self._descend(found[0][0])
        if leaf.pointer:
            self._own(path, leaf)
        at = bisect_left(leaf.keys, found[0][0])
        del leaf.keys[at : at + len(found)]
        del leaf.values[at : at + len(found)]
        leaf.measure()
        if leaf.size < MIN_NODE_BYTES:
            self._join(path, leaf)

    def node_at(self, key: bytes, level: int) -> Node | bytes | None:
        """Return the node of a level on the way to a key, or its pointer; None where the tree is lower."""
        if self.root.level < level:
            return None
        found: Node | bytes = self.root
        above = self.root.level
        while above > level:
            node = found
            if isinstance(node, bytes):
                return None
            at = bisect_right(node.keys, key, 1) - 1
            found = node.children[at]
            above -= 1
            if isinstance(found, bytes) and above > level:
                found = self._child(node, at)
        return found

    def dirty_nodes(self) -> list[Node]:
        """Return every dirty node, children before their parents."""
        found: list[Node] = []
        rest = [] if self.root.pointer else [self.root]
        while rest:
            node = rest.pop()
            found.append(node)
            rest += [child for child in node.children if not isinstance(child, bytes) and not child.pointer]
        found.reverse()
        return found

    def trim(self, limit: int) -> None:
        """Let go of clean nodes beyond a limit, those first that were not used since the last time."""
        if self.loaded > limit:
            self.loaded = _trim(self.root) + 1

    def _child(self, node: Node, at: int) -> Node:
        """Load a child that is known by its pointer."""
        pointer = node.children[at]
        if not isinstance(pointer, bytes):
            return pointer
        child = self.load(pointer, node.level - 1)
        if not child.keys or (child.keys[0] < node.keys[at] and at):
            raise VolumeCorrupt(f"node at level {child.level}", "its keys are not those its parent expects")
        node.children[at] = child
        self.loaded += 1
        return child

    def _descend(self, key: bytes) -> tuple[Path, Node]:
        node = self.root
        path: Path = []
        while node.level:
            at = bisect_right(node.keys, key, 1) - 1
            path.append((node, at))
            child = node.children[at]
            node = self._child(node, at) if isinstance(child, bytes) else child
        node.used = True
        return path, node

    def _own(self, path: Path, node: Node) -> None:
        """Make a node and everything above it dirty."""
        at = len(path)
        while node.pointer:
            self.release(node.pointer, node.keys[0] if node.keys else b"", node.level)
            node.pointer = b""
            self.dirty += 1
            at -= 1
            if at < 0:
                return
            node = path[at][0]

    def _split(self, path: Path, node: Node, *, at_end: bool) -> None:
        """Split a node that is too long, and those above it that become so."""
        while node.size > NODE_BYTES:
            right = node.split(at_end=at_end)
            self.loaded += 1
            self.dirty += 1
            if not path:
                self.root = Node(node.level + 1, [b"", right.keys[0]])
                self.root.children = [node, right]
                self.root.measure()
                self.loaded += 1
                self.dirty += 1
                return
            parent, at = path.pop()
            at_end = at == len(parent.keys) - 1
            parent.keys.insert(at + 1, right.keys[0])
            parent.children.insert(at + 1, right)
            parent.size += len(right.keys[0]) + 2 + POINTER_BYTES
            node = parent

    def _join(self, path: Path, node: Node) -> None:
        """Join a dirty node that became short with a neighbour, and so upward."""
        while path and node.size < MIN_NODE_BYTES:
            parent, at = path.pop()
            if not node.keys:
                self._remove(parent, at)
            elif not self._join_at(parent, at) and not (at and self._join_at(parent, at - 1)):
                return
            node = parent
        self._lower()

    def _lower(self) -> None:
        """Make the tree as low as it can be."""
        if self.root.level and not self.root.keys:
            self.root = Node(0, [])
        while self.root.level and len(self.root.keys) == 1:
            try:
                child = self._child(self.root, 0)
            except (OSError, VolumeCorrupt):
                return  # the tree stays one level higher than it must be; whoever reads that child hears of it
            if child.pointer:
                self.release(child.pointer, child.keys[0], child.level)
                child.pointer = b""
                self.dirty += 1
            self.root = child
            self.loaded -= 1
            self.dirty -= 1

    def _join_at(self, parent: Node, at: int) -> bool:
        """Join the children `at` and `at + 1` where they fit well together. One of them is dirty."""
        if at + 1 >= len(parent.keys):
            return False
        try:
            left, right = self._child(parent, at), self._child(parent, at + 1)
        except (OSError, VolumeCorrupt):
            return False  # joining is a nicety; whoever reads that node hears of it
        if left.size + right.size > JOINED_NODE_BYTES:
            return False
        for node in (left, right):
            if node.pointer:
                self.release(node.pointer, node.keys[0], node.level)
                node.pointer = b""
                self.dirty += 1
        if right.level:
            right.keys[0] = parent.keys[at + 1]  # the true bound: below it, `right` may be more generous
        left.join(right)
        self._remove(parent, at + 1)
        return True

    def _remove(self, parent: Node, at: int) -> None:
        """Take a dirty child out of its parent; the one that becomes first takes over the lowest key."""
        del parent.children[at]
        gone = parent.keys.pop(at or min(1, len(parent.keys) - 1))
        parent.size -= len(gone) + 2 + POINTER_BYTES
        self.loaded -= 1
        self.dirty -= 1


def _trim(node: Node) -> int:
    """Let go of clean children that were not used lately; return how many stay loaded."""
    count = 0
    children = node.children
    for at, child in enumerate(children):
        if isinstance(child, bytes):
            continue
        below = _trim(child) if child.level else 0
        if child.pointer and not below and not child.used:
            children[at] = child.pointer
        else:
            child.used = False
            count += 1 + below
    return count

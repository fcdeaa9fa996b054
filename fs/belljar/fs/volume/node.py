"""A node of the tree, in memory and as bytes.

In memory a node is two lists, which `bisect` searches. A leaf (level 0) holds keys and values; a branch holds for each
child the lowest key that belongs to it, and the child itself: loaded, or as the pointer under which it is stored. A
node without a pointer of its own is dirty, and so is everything above it. Bytes come in only after their tag was
verified; they are parsed strictly all the same.
"""

from __future__ import annotations

from itertools import accumulate
from struct import error, unpack_from
from struct import pack as struct_pack

from belljar.fs.volume import layout
from belljar.fs.volume.layout import NODE_HEAD, POINTER_BYTES

_LEAF_ITEM = 4  # two lengths
_BRANCH_ITEM = 2 + POINTER_BYTES


class Node:
    """One node. `pointer` is empty while it is dirty; `fresh` is its pointer while a commit is under way."""

    __slots__ = ("children", "fresh", "keys", "level", "place", "pointer", "room", "size", "used", "values")

    def __init__(self, level: int, keys: list[bytes], pointer: bytes = b"") -> None:
        self.level = level
        self.keys = keys
        self.values: list[bytes] = []
        self.children: list[Node | bytes] = []
        self.pointer = pointer
        self.fresh = b""
        self.place = 0
        self.room = 0
        self.size = NODE_HEAD.size
        self.used = True

    def measure(self) -> None:
        """Count the bytes this node takes."""
        keys = sum(map(len, self.keys))
        if self.level:
            self.size = NODE_HEAD.size + keys + _BRANCH_ITEM * len(self.keys)
        else:
            self.size = NODE_HEAD.size + keys + sum(map(len, self.values)) + _LEAF_ITEM * len(self.keys)

    def split(self, *, at_end: bool) -> Node:
        """Give the upper half to a new node and return it; what grows at its end gives its last item only."""
        at = len(self.keys) - 1 if at_end else self._middle()
        right = Node(self.level, self.keys[at:])
        del self.keys[at:]
        if self.level:
            right.children = self.children[at:]
            del self.children[at:]
        else:
            right.values = self.values[at:]
            del self.values[at:]
        self.measure()
        right.measure()
        return right

    def _middle(self) -> int:
        """Return the item where the bytes are halved; an item is a quarter of a node at most, so both halves fit."""
        if self.level:
            return len(self.keys) // 2
        ends = list(accumulate(len(key) + len(value) for key, value in zip(self.keys, self.values, strict=True)))
        half = ends[-1] // 2
        return max(1, next(i for i, end in enumerate(ends) if end > half))

    def join(self, right: Node) -> None:
        """Take everything from the right neighbour."""
        self.keys += right.keys
        self.values += right.values
        self.children += right.children
        self.measure()

    def encode(self) -> bytes:
        """Return the bytes, filled up with zeros to whole blocks. Children have a pointer, or a fresh one."""
        keys = self.keys
        count = len(keys)
        parts = [NODE_HEAD.pack(self.level, count), struct_pack(f">{count}H", *map(len, keys))]
        if self.level:
            parts += keys
            parts += [child if type(child) is bytes else _pointer_of(child) for child in self.children]
        else:
            parts.append(struct_pack(f">{count}H", *map(len, self.values)))
            parts += keys
            parts += self.values
        content = b"".join(parts)
        return content + bytes(-len(content) % layout.BLOCK_BYTES)


def _pointer_of(child: Node | bytes) -> bytes:
    return child if isinstance(child, bytes) else child.pointer or child.fresh


def decode(content: bytes, pointer: bytes) -> Node:
    """Return the node that these verified bytes are.

    Raises:
        ValueError: they are no node.
    """
    try:
        level, count = NODE_HEAD.unpack_from(content)
        at = NODE_HEAD.size
        lengths = unpack_from(f">{count}H", content, at)
        at += 2 * count
        node = Node(level, [], pointer)
        if level:
            at = _slices(content, at, lengths, node.keys)
            end = at + POINTER_BYTES * count
            node.children = [content[i : i + POINTER_BYTES] for i in range(at, end, POINTER_BYTES)]
        else:
            value_lengths = unpack_from(f">{count}H", content, at)
            at = _slices(content, at + 2 * count, lengths, node.keys)
            end = _slices(content, at, value_lengths, node.values)
    except error as problem:
        raise ValueError(f"a node that is cut short: {problem}") from None
    if end > len(content) or content.count(0, end) != len(content) - end:
        raise ValueError(f"a node of {end} bytes in {len(content)}, or with something behind it")
    node.size = end
    return node


def _slices(content: bytes, start: int, lengths: tuple[int, ...], into: list[bytes]) -> int:
    """Cut consecutive strings out of the content and return where they end."""
    for length in lengths:
        end = start + length
        into.append(content[start:end])
        start = end
    return start

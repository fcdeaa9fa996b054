"""The tree against a dictionary, through thousands of changes, commits and reloads."""

from __future__ import annotations

import random

import pytest

from belljar.fs.volume import layout
from belljar.fs.volume.btree import Tree
from belljar.fs.volume.node import Node, decode

_STEPS = 1500


class Shelf:
    """Nodes as bytes, by number; releasing one twice, or one that is not there, is an error."""

    def __init__(self) -> None:
        self.nodes: dict[int, bytes] = {}
        self.count = 0

    def load(self, pointer: bytes, level: int) -> Node:
        node = decode(self.nodes[layout.POINTER.unpack(pointer)[0]], pointer)
        assert node.level == level
        return node

    def release(self, pointer: bytes, _key: bytes, _level: int) -> None:
        del self.nodes[layout.POINTER.unpack(pointer)[0]]

    def commit(self, tree: Tree) -> None:
        nodes = tree.dirty_nodes()
        assert len(nodes) == tree.dirty
        for node in nodes:
            self.count += 1
            content = node.encode()
            assert len(content) == -(-node.size // layout.BLOCK_BYTES) * layout.BLOCK_BYTES <= layout.NODE_BYTES
            self.nodes[self.count] = content
            node.fresh = layout.POINTER.pack(self.count, len(content) // 4096, 1, bytes(16), 0, bytes(16))
        for node in nodes:
            node.pointer, node.fresh = node.fresh, b""
        tree.dirty = 0


def _key(chance: random.Random, span: int) -> bytes:
    return layout.number_key(chance.randrange(5), 20, chance.randrange(span)) + bytes(chance.randrange(30))


@pytest.mark.parametrize("seed", range(6))
def test_a_tree_holds_what_a_dictionary_holds(seed: int) -> None:
    chance, shelf, model = random.Random(seed), Shelf(), dict[bytes, bytes]()  # noqa: S311 - must be repeatable
    tree = Tree(Node(0, []), shelf.load, shelf.release)
    span, largest = chance.choice([30, 1000, 1 << 40]), chance.choice([20, 600, 4096])
    for step in range(_STEPS):
        key = chance.choice(sorted(model)) if model and chance.random() < 0.3 else _key(chance, span)
        what = chance.random()
        if what < (0.6 if step < _STEPS * 2 // 3 else 0.2):
            value = bytes(chance.randrange(largest))
            assert tree.put(key, value) == model.get(key)
            model[key] = value
        elif what < 0.9:
            assert tree.delete(key) == model.pop(key, None)
        elif what < 0.92:
            low, high = sorted([key, _key(chance, span)])
            taken = dict(item for items in tree.take(low, high) for item in items)
            assert taken == {key: model.pop(key) for key in sorted(model) if low <= key < high}
        else:
            assert tree.get(key) == model.get(key)
        if chance.random() < 0.03:
            shelf.commit(tree)
            tree.trim(chance.choice([0, 5, 1000]))
            assert len(shelf.nodes) == _count(tree, shelf)
    assert dict(tree.items(b"", b"\xff")) == model
    assert [key for key, _ in tree.items(b"", b"\xff")] == sorted(model)


def _count(tree: Tree, shelf: Shelf) -> int:
    """Return how many nodes a committed tree has, counted from its bytes."""
    rest, count = [tree.root.pointer], 0
    while rest:
        node = decode(shelf.nodes[layout.POINTER.unpack(rest.pop())[0]], b"p")
        rest += [child for child in node.children if isinstance(child, bytes)]
        count += 1
    return count


def test_a_tree_that_lost_everything_is_one_empty_node() -> None:
    shelf = Shelf()
    tree = Tree(Node(0, []), shelf.load, shelf.release)
    keys = [layout.number_key(1, 2, number) for number in range(5000)]
    for key in keys:
        tree.put(key, bytes(100))
    shelf.commit(tree)
    assert tree.root.level == 1
    for key in keys[::-1]:
        assert tree.delete(key) == bytes(100)
    assert tree.root.level == 0
    assert not tree.root.keys
    shelf.commit(tree)
    assert len(shelf.nodes) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut short"),
        (b"\0\0\0\5" + bytes(4), "cut short"),
        (b"\0\0\0\1\0\xff\0\0" + bytes(20), "in 28"),
        (b"\0\0\0\0" + b"x" + bytes(27), "something behind it"),
    ],
)
def test_bytes_that_are_no_node_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(content, b"")

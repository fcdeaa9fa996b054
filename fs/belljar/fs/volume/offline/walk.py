"""Walk a stored tree node by node, past what is damaged: the common ground of checking and salvaging.

What comes out was verified; what does not verify is handed to `fault` with the keys it covers, and the walk goes on
behind it. One path of nodes is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeCorrupt
from belljar.fs.volume.layout import KEY_HEAD, MAX_LEVEL

if TYPE_CHECKING:
    from belljar.fs.volume.btree import Item
    from belljar.fs.volume.store import Store

Fault = Callable[[bytes, VolumeCorrupt], None]
Visit = Callable[[bytes, bytes, int], bool]
"""(pointer, lowest key, level) of a node -> whether to look into it."""


def walk(store: Store, root: tuple[bytes, int], visit: Visit, fault: Fault) -> Iterator[Item]:
    """Yield every item of a tree that can be read, in order.

    Args:
        store: where it is.
        root: pointer and level.
        visit: asked before each node.
        fault: told (lowest key, error) of each node that does not verify.

    Raises:
        OSError: the container cannot be read.
    """
    rest = [(root[0], b"", root[1])]
    before = b""
    while rest:
        pointer, low, level = rest.pop()
        if level > MAX_LEVEL or not visit(pointer, low, level):
            continue
        try:
            node = store.load(pointer, level)
            _verify_order(node.keys, before if not level else b"", level)
        except VolumeCorrupt as error:
            fault(low, error)
            continue
        if level:
            children = [child for child in node.children if isinstance(child, bytes)]
            rest += [
                (child, low, level - 1) for child, low in zip(reversed(children), reversed(node.keys), strict=True)
            ]
        elif node.keys:
            before = node.keys[-1]
            yield from zip(node.keys, node.values, strict=True)


def _verify_order(keys: list[bytes], before: bytes, level: int) -> None:
    """Raise VolumeCorrupt unless the keys ascend and are keys at all."""
    for key in keys:
        if key <= before and not (level and key == b""):
            raise VolumeCorrupt(f"node of level {level}", f"its keys do not ascend at {key.hex()}")
        if not level and len(key) < KEY_HEAD.size:
            raise VolumeCorrupt(f"node of level {level}", f"it has a key of {len(key)} bytes")
        before = key

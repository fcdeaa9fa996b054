"""A volume with one of everything, and where each part of it lies: what the tampering test aims at."""

from __future__ import annotations

from dataclasses import dataclass, field

from belljar.fs.errors import FsError, VolumeCorrupt
from belljar.fs.volume import layout
from belljar.fs.volume.btree import Item
from belljar.fs.volume.layout import BLOCK_BYTES, KEY_HEAD, POINTER
from belljar.fs.volume.offline.walk import walk
from belljar.fs.volume.root import records
from belljar.fs.volume.sealing import Sealer
from belljar.fs.volume.snapshots import is_extent
from belljar.fs.volume.store import Store
from belljar.fs.volume.volume import Volume
from support.posix_model import State
from support.volume_states import state_of
from support.volumes import KEY, VOLUME_ID, MemoryAnchor, MemoryContainer, drawn, formatted, mounted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.writable.tree import WritableTree

Region = tuple[int, int]
"""(offset, length) in the container."""
_LEAVES = {
    layout.KIND_BITMAP: "bitmaps", layout.KIND_SNAPSHOT: "snapshots", layout.KIND_INODE: "inodes",
    layout.KIND_TARGET: "a symlink", layout.KIND_INLINE: "a small file", layout.KIND_XATTR: "xattrs",
    layout.KIND_ENTRY: "names", layout.KIND_EXTENT: "extents",
}  # fmt: skip


@dataclass
class Parts:
    """A container, what it holds, where its parts are, and how it was a few commits before."""

    content: bytes
    anchor: MemoryAnchor
    state: State
    snapshot: State
    regions: dict[str, Region] = field(default_factory=dict)
    chunks: dict[tuple[int, int], Region] = field(default_factory=dict)
    before: dict[str, bytes] = field(default_factory=dict)
    older: bytes = b""
    oldest: bytes = b""


def build(seed: int = 1) -> Parts:
    """Return a volume with files of every kind, three generations of one, and a snapshot."""
    container, anchor = formatted(seed=seed)
    volume = mounted(container, anchor, seed=seed)
    tree = volume.tree
    random = drawn(seed)
    folder = tree.make(1, b"folder", 0o040755, 0, 0).ino
    for number in range(400):
        made = tree.make(folder, b"file %d" % number, 0o100644, 0, 0).ino
        tree.write(made, 0, random(number % 7 * 100))
    for name in (b"one", b"two"):
        tree.write(tree.make(1, name, 0o100644, 0, 0).ino, 0, random(300_000))
    tree.make(1, b"link", 0o120777, 0, 0, target=b"folder/file 7")
    tree.set_xattr(folder, b"user.note", b"a note", 0)
    one = tree.lookup(1, b"one").ino
    volume.commit()
    oldest = bytes(container.content)
    tree.write(one, 0, random(200_000))
    volume.snapshot("kept")
    older = bytes(container.content)
    before = _nodes(container)
    before["chunk 0 of one"] = _cut(container.content, _chunks(container)[one, 0])
    tree.write(one, 0, random(200_000))
    for number in range(0, 400, 3):
        tree.unlink(folder, b"file %d" % number)
        tree.forget(folder + 1 + number)
    tree.set_xattr(folder, b"user.note", b"another note", 0)
    volume.commit()
    parts = Parts(
        content=bytes(container.content), anchor=anchor, state=state_of(tree),
        snapshot=state_of(volume.snapshot_tree("kept")), before=before, older=older, oldest=oldest,
    )  # fmt: skip
    parts.chunks = _chunks(container)
    parts.regions = _regions(container)
    two = tree.lookup(1, b"two").ino
    for file, ino, chunk in (("one", one, 0), ("one", one, 2), ("two", two, 0), ("two", two, 1), ("two", two, 4)):
        parts.regions[f"chunk {chunk} of {file}"] = parts.chunks[ino, chunk]
    return parts


def everything(volume: Volume) -> tuple[State, State]:
    """Read all there is: the live tree and the snapshot."""
    return state_of(volume.tree), state_of(volume.snapshot_tree("kept"))


def readable(tree: WritableTree, expected: State) -> int:
    """Read whatever can be read by path, compare it, and return how many reads were refused."""
    refused = 0
    for path, known in expected.items():
        try:
            ino = 1
            for part in path.split(b"/")[1:]:
                ino = tree.lookup(ino, part).ino
            attributes = tree.attributes(ino)
            assert (attributes.mode, attributes.nlink, attributes.size) == (known[0], known[4], known[5])
            if attributes.mode >> 12 == 8:
                content = known[6]
                assert isinstance(content, bytes)
                for offset in range(0, attributes.size, 65536):
                    refused += _refuses(tree, ino, offset, content[offset : offset + 65536])
        except FsError:
            refused += 1
    return refused


def _refuses(tree: WritableTree, ino: int, offset: int, expected: bytes) -> int:
    try:
        assert tree.read(ino, offset, 65536) == expected
    except VolumeCorrupt:
        return 1
    return 0


def _opened(container: MemoryContainer) -> tuple[Store, tuple[bytes, int]]:
    sealer = Sealer(VOLUME_ID, KEY, drawn(0))
    record, _ = records(container, sealer)[0]
    return Store(container, sealer, record.generation + 1), (record.pointer, record.level)


def _items(store: Store, root: tuple[bytes, int], seen: list[tuple[bytes, int]]) -> list[Item]:
    def visit(pointer: bytes, _low: bytes, level: int) -> bool:
        seen.append((pointer, level))
        return True

    def fault(_low: bytes, error: VolumeCorrupt) -> None:
        raise error

    return list(walk(store, root, visit, fault))


def _chunks(container: MemoryContainer) -> dict[tuple[int, int], Region]:
    items = _items(*_opened(container), [])
    found = {layout.KEY_NUMBER.unpack(key): _region(value) for key, value in items if is_extent(key)}
    return {(ino, chunk): region for (ino, _, chunk), region in found.items()}


def _regions(container: MemoryContainer) -> dict[str, Region]:
    """Return where a leaf of each kind, a branch, the root node and the root slots are."""
    store, root = _opened(container)
    seen: list[tuple[bytes, int]] = []
    items = _items(store, root, seen)
    regions = {"root node": _region(root[0])}
    for pointer, level in seen:
        if level == 0:
            for key in store.load(pointer, 0).keys:
                name = _LEAVES.get(KEY_HEAD.unpack_from(key)[1])
                if name:
                    regions.setdefault(f"leaf with {name}", _region(pointer))
        elif pointer != root[0]:
            regions.setdefault("branch", _region(pointer))
    for key, value in items:
        if KEY_HEAD.unpack_from(key) == (layout.OBJECT_VOLUME, layout.KIND_SNAPSHOT):
            regions["root node of the snapshot"] = _region(layout.SNAPSHOT.unpack(value)[1])
    return regions


def _nodes(container: MemoryContainer) -> dict[str, bytes]:
    return {name: _cut(container.content, region) for name, region in _regions(container).items()}


def _region(pointer: bytes) -> Region:
    block, blocks = POINTER.unpack(pointer)[:2]
    return block * BLOCK_BYTES, blocks * BLOCK_BYTES


def _cut(content: bytes | bytearray, region: Region) -> bytes:
    return bytes(content[region[0] : sum(region)])

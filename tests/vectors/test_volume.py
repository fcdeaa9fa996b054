"""The golden volume: written once, and every later version must open it.

`python tests/vectors/test_volume.py` writes it anew from fixed key, clock and random source; a format that changes gets
a new version and a new file, and this one stays.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from belljar.fs.volume.anchor import Anchored
from belljar.fs.volume.container import Container
from belljar.fs.volume.offline.check import check_volume
from support.posix_model import State
from support.volume_states import state_of
from support.volumes import KEY, VOLUME_ID, MemoryAnchor, MemoryContainer, formatted, mounted

_GOLDEN = Path(__file__).parent / "volumes/volume-1.gz"
_ANCHORED = Anchored(4, bytes.fromhex("317b4f1c8fae3ae8db088bbb57e593edd892a05bf48effb04cc3115210c62169"))
_SHA256 = "4bddc503a0e002feff9611db43add33e0cb5632bd4e20e565e1a0f21fde138f9"
_TIME = 1_700_000_000_000_000_000


def build() -> tuple[bytes, Anchored]:
    """Return the container of the golden volume, and what its anchor holds."""
    container, anchor = formatted(seed=41)
    tree = (volume := mounted(container, anchor, seed=42)).tree
    folder = tree.make(1, b"folder", 0o042750, 1000, 100).ino
    small = tree.make(folder, b"small", 0o100600, 0, 0).ino
    tree.write(small, 0, b"hello\n")
    large = tree.make(1, b"large", 0o104755, 0, 0).ino
    tree.write(large, 0, bytes(range(256)) * 20)
    tree.write(large, 200_000, b"behind a hole")
    tree.link(small, 1, b"other name")
    tree.make(1, b"link", 0o120777, 0, 0, target=b"folder/small")
    tree.make(1, b"fifo", 0o010644, 0, 0)
    tree.make(1, b"null", 0o020666, 0, 0, rdev=0x0103)
    tree.set_xattr(large, b"user.note", b"\0\xff", 0)
    volume.snapshot("first")
    tree.write(small, 0, b"HELLO\n")
    for number in range(60):
        tree.make(folder, b"%02d " % number + b"n" * 200, 0o100644, 0, 0)
    volume.commit()
    return bytes(container.content), volume.anchored


def _expected() -> State:
    large = bytes(range(256)) * 20 + bytes(200_000 - 5120) + b"behind a hole"
    state: State = {
        b"": (0o040755, 0, 0, 0, 3, 6, b"", b"", (), None),
        b"/fifo": (0o010644, 0, 0, 0, 1, 0, b"", b"/fifo", (), None),
        b"/folder": (0o042750, 1000, 100, 0, 2, 61, b"", b"/folder", (), None),
        b"/folder/small": (0o100600, 0, 0, 0, 2, 6, b"HELLO\n", b"/folder/small", (), None),
        b"/large": (0o104755, 0, 0, 0, 1, 200_013, large, b"/large", ((b"user.note", b"\0\xff"),), None),
        b"/link": (0o120777, 0, 0, 0, 1, 12, b"folder/small", b"/link", (), None),
        b"/null": (0o020666, 0, 0, 0x0103, 1, 0, b"", b"/null", (), None),
        b"/other name": (0o100600, 0, 0, 0, 2, 6, b"HELLO\n", b"/folder/small", (), None),
    }
    for number in range(60):
        path = b"/folder/%02d " % number + b"n" * 200
        state[path] = (0o100644, 0, 0, 0, 1, 0, b"", path, (), None)
    return state


def opened() -> tuple[Container, MemoryAnchor]:
    content = gzip.decompress(_GOLDEN.read_bytes())
    assert hashlib.sha256(content).hexdigest() == _SHA256
    return MemoryContainer(content), MemoryAnchor({VOLUME_ID: _ANCHORED})


def test_the_golden_volume_opens_with_what_it_held() -> None:
    container, anchor = opened()
    assert isinstance(container, MemoryContainer)
    volume = mounted(container, anchor, writable=False)
    assert state_of(volume.tree) == _expected()
    first = volume.snapshot_tree("first")
    assert first.read(first.lookup(1, b"other name").ino, 0, 100) == b"hello\n"
    assert _TIME < volume.tree.attributes(1).mtime_ns < _TIME + 10**9
    assert not check_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor).findings


def test_the_golden_volume_can_be_written_on() -> None:
    container, anchor = opened()
    assert isinstance(container, MemoryContainer)
    volume = mounted(container, anchor, seed=5)
    volume.tree.make(1, b"new", 0o100644, 0, 0)
    volume.delete_snapshot("first")
    volume.close()
    assert state_of(mounted(container, anchor, writable=False).tree).keys() == _expected().keys() | {b"/new"}
    assert not check_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor).findings


def test_this_version_writes_the_golden_volume_to_the_byte() -> None:
    content, anchored = build()
    assert hashlib.sha256(content).hexdigest() == _SHA256
    assert anchored == _ANCHORED


if __name__ == "__main__":
    made, newest = build()
    _GOLDEN.parent.mkdir(exist_ok=True)
    _GOLDEN.write_bytes(gzip.compress(made, 9, mtime=0))
    print(hashlib.sha256(made).hexdigest(), newest.generation, newest.digest.hex())

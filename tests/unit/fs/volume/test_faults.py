"""What a volume does when there is no room, when the container or the anchor fails, and when two want to write it."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from belljar.fs.errors import VolumeCorrupt, VolumeRefused
from belljar.fs.volume.container import FileContainer
from belljar.fs.volume.offline.check import check_volume
from belljar.fs.volume.posix.tree import PosixTree
from belljar.fs.volume.volume import Volume, format_volume, open_volume
from belljar.fs.writable.tree import Changes
from support.volume_states import state_of
from support.volumes import KEY, SMALL, VOLUME_ID, MemoryAnchor, MemoryContainer, formatted, mounted

_FILE = 0o100644


def fails_with(code: int, do: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at next
        do()
    assert caught.value.errno == code


def filled(volume: Volume, code: int) -> int:
    """Write until there is no room; return the number of files that were written whole."""
    tree = volume.tree
    for number in range(100_000):
        try:
            ino = tree.make(1, b"%d" % number, _FILE, 0, 0).ino
            tree.write(ino, 0, bytes([number % 251]) * 70_000)
        except OSError as error:
            assert error.errno == code  # noqa: PT017 - the loop goes on in this state
            tree.unlink(1, b"%d" % number)
            tree.forget(tree.ground.next_ino - 1)
            return number
    raise AssertionError("never full")


def sound(container: MemoryContainer, anchor: MemoryAnchor) -> None:
    assert not check_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor).findings


def test_a_quota_is_kept_and_nothing_is_lost() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor, quota_bytes=8 << 20, limits=SMALL)
    count = filled(volume, errno.EDQUOT)
    assert 60 < count < 128
    volume.commit()
    assert volume.stat().used <= 8 << 20
    blocks, free, *_ = volume.tree.space()
    assert free < 100 < blocks <= (8 << 20) // 4096
    before = state_of(volume.tree)
    sound(container, anchor)
    again = mounted(container, anchor, quota_bytes=8 << 20)
    assert state_of(again.tree) == before
    for number in range(count):
        ino = again.tree.lookup(1, b"%d" % number).ino
        assert again.tree.read(ino, 0, 80_000) == bytes([number % 251]) * 70_000
        again.tree.unlink(1, b"%d" % number)
        again.tree.forget(ino)
    again.commit()
    assert again.tree.space()[1] > 1900
    assert filled(mounted(container, anchor, quota_bytes=8 << 20), errno.EDQUOT) == pytest.approx(count, abs=25)


def test_a_failed_write_changes_nothing() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor, quota_bytes=2 << 20, limits=SMALL)
    ino = volume.tree.make(1, b"file", _FILE, 0, 0).ino
    volume.tree.write(ino, 0, b"content")
    before = state_of(volume.tree)
    fails_with(errno.EDQUOT, lambda: volume.tree.write(ino, 3, bytes(3 << 20)))
    fails_with(errno.EDQUOT, lambda: volume.tree.allocate(ino, 0, 3 << 20, 0))
    assert state_of(volume.tree) == before
    volume.tree.set_attributes(ino, Changes(size=1 << 40))  # a hole takes nothing
    volume.tree.write(ino, (1 << 40) - 5, b"tail!")
    volume.commit()
    assert volume.tree.read(ino, (1 << 40) - 8, 100) == b"\0\0\0tail!"
    sound(container, anchor)


def test_a_full_host_loses_nothing_and_room_can_be_made() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor, limits=SMALL)
    kept = volume.tree.make(1, b"kept", _FILE, 0, 0).ino
    volume.tree.write(kept, 0, b"k" * 5000)
    volume.commit()
    container.room = 6 << 20
    count = filled(volume, errno.ENOSPC)
    assert count > 20
    for number in range(count):
        volume.tree.unlink(1, b"%d" % number)
        volume.tree.forget(volume.tree.attributes(kept).ino + 1 + number)
    volume.commit()
    sound(container, anchor)
    again = mounted(container, anchor)
    assert again.tree.read(again.tree.lookup(1, b"kept").ino, 0, 9000) == b"k" * 5000


@pytest.mark.parametrize("writes", range(12))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_below_can_be_tried_again(writes: int, code: int) -> None:
    """Whichever write of a commit fails: memory stays whole, the last commit readable, and the next try succeeds."""
    container, anchor = formatted()
    volume = mounted(container, anchor)
    volume.tree.make(1, b"committed", _FILE, 0, 0)
    volume.commit()
    durable = state_of(volume.tree)
    for number in range(8):
        ino = volume.tree.make(1, b"file %d" % number, _FILE, 0, 0).ino
        volume.tree.write(ino, 7, b"w" * 3000 * number)
    now = state_of(volume.tree)
    container.broken, container.countdown = {"pwrite": code}, writes
    try:
        volume.tree.sync(1)
    except OSError as error:
        assert error.errno == code  # noqa: PT017 - late writes do not fail at all
        crashed = mounted(MemoryContainer(bytes(container.content)), MemoryAnchor(dict(anchor.known)))
        assert state_of(crashed.tree) == durable
    container.broken = {}
    assert state_of(volume.tree) == now
    volume.tree.sync(1)
    assert state_of(mounted(container, anchor, writable=False).tree) == now
    sound(container, anchor)


def test_after_a_failed_sync_the_volume_takes_no_more_changes() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    volume.tree.make(1, b"before", _FILE, 0, 0)
    volume.commit()
    volume.tree.make(1, b"after", _FILE, 0, 0)
    container.broken = {"sync": errno.EIO}
    fails_with(errno.EIO, lambda: volume.tree.sync(1))
    container.broken = {}
    with pytest.raises(OSError, match=r"could not be made durable .*; the last commit is safe, mount the volume again"):
        volume.tree.make(1, b"more", _FILE, 0, 0)
    fails_with(errno.EIO, lambda: volume.tree.sync(1))
    assert volume.tree.lookup(1, b"before").nlink == 1
    volume.close()
    again = mounted(container, anchor)
    again.tree.lookup(1, b"before")
    fails_with(errno.ENOENT, lambda: again.tree.lookup(1, b"after"))  # the cache shows it, and the disk may not have it


def test_an_anchor_that_fails_is_reported_and_advanced_before_the_next_root() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    volume.tree.make(1, b"one", _FILE, 0, 0)
    anchor.fails = True
    fails_with(errno.EIO, lambda: volume.tree.sync(1))
    assert anchor.known[VOLUME_ID].generation == 1
    crashed = mounted(MemoryContainer(bytes(container.content)), MemoryAnchor(dict(anchor.known)))
    crashed.tree.lookup(1, b"one")  # the direct successor of what is anchored
    volume.tree.make(1, b"two", _FILE, 0, 0)
    fails_with(errno.EIO, lambda: volume.tree.sync(1))
    assert volume.anchored.generation == 2
    anchor.fails = False
    volume.tree.sync(1)
    assert anchor.known[VOLUME_ID].generation == 3
    sound(container, anchor)


def test_a_read_that_fails_below_is_an_error_and_no_state() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    ino = volume.tree.make(1, b"file", _FILE, 0, 0).ino
    volume.tree.write(ino, 0, b"r" * 200_000)
    volume.commit()
    volume = mounted(container, anchor)
    before = state_of(volume.tree)
    volume = mounted(container, anchor)
    container.broken = {"pread": errno.EIO}
    fails_with(errno.EIO, lambda: volume.tree.read(ino, 0, 10))
    fails_with(errno.EIO, lambda: volume.tree.write(ino, 10, b"part of a chunk"))
    fails_with(errno.EIO, lambda: volume.tree.set_attributes(ino, Changes(size=100)))
    container.broken = {}
    assert state_of(volume.tree) == before


def test_what_is_read_only_stays_as_it_is() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    volume.snapshot("then")
    before = bytes(container.content)
    reader = mounted(container, anchor, writable=False)
    for tree in (reader.tree, reader.snapshot_tree("then")):
        _refuses_changes(tree)
    fails_with(errno.EROFS, lambda: reader.snapshot("no"))
    fails_with(errno.EROFS, lambda: reader.rollback("then"))
    fails_with(errno.EROFS, lambda: reader.delete_snapshot("then"))
    reader.close()
    assert bytes(container.content) == before


def _refuses_changes(tree: PosixTree) -> None:
    fails_with(errno.EROFS, lambda: tree.make(1, b"no", _FILE, 0, 0))
    fails_with(errno.EROFS, lambda: tree.set_attributes(1, Changes(mode=0)))
    fails_with(errno.EROFS, lambda: tree.set_xattr(1, b"user.a", b"", 0))
    tree.sync(1)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 256, "line\nbreak"])
def test_names_of_snapshots_are_plain(name: str) -> None:
    volume = mounted(*formatted())
    with pytest.raises(OSError, match="printable text"):
        volume.snapshot(name)
    volume.snapshot("good")
    fails_with(errno.EEXIST, lambda: volume.snapshot("good"))
    fails_with(errno.ENOENT, lambda: volume.rollback("missing"))
    fails_with(errno.ENOENT, lambda: volume.delete_snapshot("missing"))
    fails_with(errno.ENOENT, lambda: volume.snapshot_tree("missing"))


def test_two_writers_are_locked_out_also_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    path.touch()
    container, anchor = FileContainer(str(path), writable=True), MemoryAnchor()
    format_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor)
    with pytest.raises(VolumeRefused, match="the volume is in use: another mount holds its lock"):
        FileContainer(str(path), writable=True)
    code = f"from belljar.fs.volumes import FileContainer\nFileContainer({str(path)!r}, writable=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "the volume is in use" in done.stderr
    reader = FileContainer(str(path), writable=False)
    open_volume(reader, volume_id=VOLUME_ID, key=KEY, anchor=anchor, writable=False)
    reader.close()
    container.close()
    FileContainer(str(path), writable=True).close()


def test_a_file_that_shrinks_gives_its_room_back(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    path.touch()
    container, anchor = FileContainer(str(path), writable=True), MemoryAnchor()
    format_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor)
    volume = open_volume(container, volume_id=VOLUME_ID, key=KEY, anchor=anchor, writable=True)
    one, two = (volume.tree.make(1, name, _FILE, 0, 0).ino for name in (b"one", b"two"))
    for ino in (one, two):
        volume.tree.write(ino, 0, b"z" * (8 << 20))
    volume.tick()
    assert path.stat().st_blocks * 512 > 16 << 20
    volume.tree.unlink(1, b"one")
    volume.tree.forget(one)
    volume.tick()
    assert path.stat().st_blocks * 512 < 9 << 20  # punched
    volume.tree.set_attributes(two, Changes(size=0))
    volume.close()
    assert path.stat().st_size < 1 << 20  # and cut
    container.close()


def test_corruption_names_the_place() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    ino = volume.tree.make(1, b"file", _FILE, 0, 0).ino
    volume.tree.write(ino, 0, b"c" * 200_000)
    volume.commit()
    at = bytes(container.content).rindex(container.content[-4096:])
    container.content[139264:at] = bytes(at - 139264)
    with pytest.raises(
        VolumeCorrupt, match=r"inode 2, bytes 0 to 65535 \(container block \d+\): does not verify as it"
    ):
        volume.tree.read(ino, 0, 10)

"""Backup and restore: what comes back is what was there, whatever is interrupted; a changed repository is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belljar.fs.errors import BackupRefused, VolumeRefused
from belljar.fs.volume.backup import layout
from belljar.fs.volume.backup.layout import FAN_OUT, ZERO, Backup, Digest
from belljar.fs.volume.backup.repository import Repository
from belljar.fs.volume.backup.restore import restore
from belljar.fs.volume.backup.source import Source
from belljar.fs.volume.backup.store import FolderStore, Store, open_store
from belljar.fs.volume.backup.tree import Builder, Cursor
from belljar.fs.volume.backup.verify import Verified, prune, verify
from belljar.fs.volume.backup.write import Written, back_up
from belljar.fs.volume.header.unlock import format_header
from support.headers import KEY_FILE, MemoryRegion, counted_random

BLOCK = layout.BLOCK_BYTES
DIGESTS = st.binary(min_size=32, max_size=32).map(Digest)


def container(path: Path, blocks: dict[int, bytes], size: int, seed: bytes = b"") -> Path:
    """Make a container: a header, and some content at the beginning of some blocks."""
    region = MemoryRegion()
    format_header(region, KEY_FILE, created_s=1, random=counted_random(seed)).close()
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(region.content)
        for number, content in blocks.items():
            file.seek(max(number * BLOCK, 131072))
            file.write(content)
        file.truncate(size)
    return path


def backed_up(path: Path, place: str, time_s: int = 5) -> Written:
    store = open_store(place, create=True)
    try:
        with Source(str(path)) as source:
            return back_up(source, Repository(store, create=True), created_s=time_s)
    finally:
        store.close()


def restored(place: str, digest: Digest, target: Path, *, replace: bool = False) -> Backup:
    store = open_store(place, create=False)
    try:
        return restore(Repository(store), digest, str(target), replace=replace)
    finally:
        store.close()


def verified(place: str) -> Verified:
    store = open_store(place, create=False)
    try:
        return verify(Repository(store))
    finally:
        store.close()


@pytest.fixture(params=["folder", "file://", "memory://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory://":
        fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
        url = f"memory://{uuid.uuid4()}/repository"
        yield url
        fsspec.filesystem("memory").store.clear()
    else:
        yield str(tmp_path / "repository") if request.param == "folder" else f"file://{tmp_path}/a%20repository"


def test_what_is_restored_is_what_was_there(place: str, tmp_path: Path) -> None:
    path = container(tmp_path / "c", {0: b"tree", 2: os.urandom(BLOCK), 5: b"end"}, 5 * BLOCK + 777)
    first = backed_up(path, place)
    assert (first.blocks, first.nodes, first.backup.number, first.backup.parent) == (3, 1, 1, ZERO)
    content = path.read_bytes()
    container(path, {3: b"new"}, 7 * BLOCK)
    second = backed_up(path, place)
    assert (second.blocks, second.nodes, second.backup.number, second.backup.parent) == (2, 1, 2, first.digest)
    restored(place, first.digest, tmp_path / "one")
    restored(place, second.digest, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == content
    assert (tmp_path / "two").read_bytes() == path.read_bytes()
    assert (tmp_path / "two").stat().st_blocks * 512 < 5 * BLOCK
    assert (tmp_path / "two").stat().st_mode & 0o777 == 0o600
    found = verified(place)
    assert ([each.digest for each in found.backups], found.unreferenced) == ([first.digest, second.digest], 0)


def test_nothing_is_written_for_what_did_not_change(tmp_path: Path) -> None:
    path = container(tmp_path / "c", {number: str(number).encode() for number in range(0, 300, 10)}, 300 * BLOCK)
    place = str(tmp_path / "r")
    first = backed_up(path, place)
    assert (first.blocks, first.nodes) == (30, 3)
    again = backed_up(path, place)
    assert (again.blocks, again.nodes, again.written_bytes) == (0, 0, 0)
    assert again.backup.root == first.backup.root
    container(path, {150: b"changed"}, 300 * BLOCK)
    changed = backed_up(path, place)
    assert (changed.blocks, changed.nodes) == (1, 2)
    restored(place, changed.digest, tmp_path / "out")
    assert subprocess.run(["cmp", path, tmp_path / "out"], check=False).returncode == 0


def test_holes_are_not_read(tmp_path: Path) -> None:
    path = container(tmp_path / "c", {3000: b"far"}, 1 << 37)
    read: list[int] = []

    class Counted(Source):
        def pread(self, size: int, offset: int) -> bytes:
            read.append(size)
            return super().pread(size, offset)

    store = FolderStore(str(tmp_path / "r"), create=True)
    with Counted(str(path)) as source:
        written = back_up(source, Repository(store, create=True), created_s=1)
    store.close()
    assert sum(read) < 4 * BLOCK
    assert written.blocks == 2
    restored(str(tmp_path / "r"), written.digest, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 1 << 37
    assert (tmp_path / "out").stat().st_blocks * 512 < 4 * BLOCK


@given(st.lists(DIGESTS | st.just(ZERO), max_size=700), st.data())
@settings(max_examples=30, deadline=None)
def test_a_tree_is_walked_as_it_was_built(digests: list[Digest], data: st.DataObject) -> None:
    nodes: dict[str, bytes] = {layout.MARKER: layout.encode_marker()}
    repository = Repository(Dictionary(nodes))
    builder = Builder(len(digests), lambda _level, _index, digest, content: repository.write_node(digest, content))
    for digest in digests:
        builder.add(digest)
    backup = Backup(
        volume_id=bytes(16),
        container_bytes=len(digests) * BLOCK,
        root=builder.root(),
        number=1,
        parent=ZERO,
        created_s=0,
    )
    cursor = Cursor(repository, backup)
    assert [cursor.digest(0, number) for number in range(len(digests))] == digests
    assert cursor.digest(0, len(digests)) is None
    if digests:
        anywhere = data.draw(st.integers(0, len(digests) - 1))
        assert cursor.digest(0, anywhere) == digests[anywhere]
    if digests and set(digests) != {ZERO}:
        victim = data.draw(st.sampled_from([name for name in nodes if name != layout.MARKER]))
        nodes[victim] = nodes[victim][:-1] + bytes([nodes[victim][-1] ^ 1])
        fresh = Cursor(repository, backup)
        with pytest.raises(BackupRefused, match="is damaged"):
            list(map(fresh.digest, [0] * len(digests), range(len(digests))))


class Dictionary:
    """A store in memory that can fail at its nth write."""

    def __init__(self, content: dict[str, bytes], fail_at: int = -1) -> None:
        self.content = content
        self.left = fail_at

    def read(self, name: str) -> bytes:
        if name not in self.content:
            raise FileNotFoundError(name)
        return self.content[name]

    def size(self, name: str) -> int | None:
        return len(self.content[name]) if name in self.content else None

    def write(self, name: str, content: bytes) -> None:
        self._step(name, content)
        self.content[name] = content

    def publish(self, name: str, content: bytes) -> None:
        if self.left == 0:
            raise OSError(errno.EIO, "interrupted")
        self.left -= 1
        self.content[name] = content

    def _step(self, name: str, content: bytes) -> None:
        if self.left == 0:
            self.content[name] = content[: len(content) // 2]  # cut short under its final name, as remote places may
            raise OSError(errno.EIO, "interrupted")
        self.left -= 1

    def names(self) -> Iterator[str]:
        return iter(sorted(self.content))

    def remove(self, name: str) -> None:
        if self.left == 0:
            raise OSError(errno.EIO, "interrupted")
        self.left -= 1
        del self.content[name]

    def close(self) -> None:
        pass


def test_a_backup_interrupted_at_any_step_leaves_nothing_wrong_and_goes_on(tmp_path: Path) -> None:
    path = container(tmp_path / "c", {0: b"a", 1: b"b"}, 3 * BLOCK)
    content: dict[str, bytes] = {}
    with Source(str(path)) as source:
        first = back_up(source, Repository(Dictionary(content), create=True), created_s=1)
    container(path, {1: b"B", 2: b"c", 4: b"d"}, 5 * BLOCK)
    expected = path.read_bytes()
    steps = 0
    while True:
        now = dict(content)
        try:
            with Source(str(path)) as source:
                back_up(source, Repository(Dictionary(now, steps)), created_s=2)
            break
        except OSError:
            steps += 1
        repository = Repository(Dictionary(now))
        assert [each.digest for each in repository.backups()] == [first.digest]
        restore(repository, first.digest, str(tmp_path / "old"), replace=True)
        with Source(str(path)) as source:
            second = back_up(source, repository, created_s=2)
        assert verify(repository).unreferenced == 0
        restore(repository, second.digest, str(tmp_path / "new"), replace=True)
        assert (tmp_path / "new").read_bytes() == expected
    assert steps == 3 + 1 + 1  # blocks, node, the record itself


def test_a_prune_interrupted_at_any_step_leaves_the_backups_it_keeps(tmp_path: Path) -> None:
    path = tmp_path / "c"
    content: dict[str, bytes] = {}
    digests = []
    for number in range(4):
        container(path, {0: b"same", 1: bytes([number + 1])}, 2 * BLOCK)
        with Source(str(path)) as source:
            digests.append(back_up(source, Repository(Dictionary(content), create=True), created_s=1).digest)
    steps = 0
    while True:
        now = dict(content)
        try:
            done = prune(Repository(Dictionary(now, steps)), digests[2:])
            break
        except OSError:
            steps += 1
        repository = Repository(Dictionary(now))
        assert {each.digest for each in verify(repository).backups} >= set(digests[2:])
        prune(repository, digests[2:])
        assert verify(repository).unreferenced == 0
    assert (done.backups, done.objects, steps) == (2, 4, 6)
    repository = Repository(Dictionary(now))
    with pytest.raises(BackupRefused, match="no backup would be kept"):
        prune(repository, [])
    with pytest.raises(BackupRefused, match="there is no backup 00000000"):
        prune(repository, [ZERO])
    restore(repository, digests[3], str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def test_a_restore_goes_on_where_it_stopped_and_believes_nothing(tmp_path: Path) -> None:
    path = container(tmp_path / "c", dict.fromkeys(range(6), b"content"), 8 * BLOCK)
    place = str(tmp_path / "r")
    digest = backed_up(path, place).digest
    target = tmp_path / "out"
    partial = tmp_path / f"out.{digest.hex()[:16]}.partial"
    with partial.open("wb") as file:
        file.write(path.read_bytes()[: 3 * BLOCK])
        file.write(b"rubbish" * 1_000_000)
    restored(place, digest, target)
    assert target.read_bytes() == path.read_bytes()
    assert not partial.exists()


def test_a_container_that_is_there_is_replaced_only_when_asked_and_not_in_use(tmp_path: Path) -> None:
    path = container(tmp_path / "c", {}, BLOCK)
    place = str(tmp_path / "r")
    digest = backed_up(path, place).digest
    before = path.read_bytes()
    path.write_bytes(b"another")
    with pytest.raises(BackupRefused, match="already there"):
        restored(place, digest, path)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BackupRefused, match="the volume is in use, and is not replaced"):
            restored(place, digest, path, replace=True)
    assert path.read_bytes() == b"another"
    restored(place, digest, path, replace=True)
    assert path.read_bytes() == before
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(VolumeRefused, match="the volume is mounted writable, so a copy"):
            backed_up(path, place)


def tampered(content: dict[str, bytes], how: str) -> dict[str, bytes]:
    """Return the repository, changed in some way."""
    now = dict(content)
    what, _, kind = how.partition(" ")
    victim = next((name for name in sorted(now) if name.startswith(kind)), "")
    if what == "flip":
        now[victim] = now[victim][:-1] + bytes([now[victim][-1] ^ 1])
    elif what == "cut":
        now[victim] = now[victim][:-1]
    elif what == "lengthen":
        now[victim] += b"\0"
    elif what == "lose":
        del now[victim]
    elif what == "swap":
        other = next(name for name in sorted(now) if name.startswith(kind) and name != victim)
        now[victim], now[other] = now[other], now[victim]
    elif what == "add":
        now[kind] = b"?"
    elif what == "misname":
        now[victim[:-1] + ("0" if victim[-1] != "0" else "1")] = now[victim]
    return now


CHANGES = [
    f"{what} {kind}" for what in ("flip", "cut", "lengthen", "lose", "swap") for kind in ("blocks", "nodes", "backups")
]
CHANGES += ["flip belljar-backup", "lose belljar-backup", "misname blocks", "misname nodes", "misname backups"]
CHANGES += [
    f"add {name}" for name in ("README", "blocks/zz/zz", f"blocks/00/{'a' * 64}", "backups/abc", f"x/aa/{'a' * 64}")
]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[Digest], bytes]:
    path = tmp_path_factory.mktemp("honest") / "c"
    content: dict[str, bytes] = {}
    digests = []
    for number in range(2):
        container(path, {0: b"a", 1: bytes([number + 1])}, 2 * BLOCK)
        with Source(str(path)) as source:
            digests.append(back_up(source, Repository(Dictionary(content), create=True), created_s=1).digest)
    return content, digests, path.read_bytes()


@pytest.mark.parametrize("how", CHANGES)
def test_a_changed_repository_is_refused(
    honest: tuple[dict[str, bytes], list[Digest], bytes], how: str, tmp_path: Path
) -> None:
    content, digests, expected = honest
    store: Store = Dictionary(tampered(content, how))
    if how != "lose backups":  # nobody can tell a backup that is gone from one that never was
        with pytest.raises(BackupRefused):
            verify(Repository(store))
    for digest in digests:
        target = tmp_path / digest.hex()
        try:
            restore(Repository(store), digest, str(target))
        except BackupRefused:
            assert not target.exists()
        else:
            assert digest == digests[0] or target.read_bytes() == expected


@given(st.binary(max_size=400))
def test_any_bytes_are_no_backup(content: bytes) -> None:
    with pytest.raises(BackupRefused):
        layout.parse_backup(content)
    with pytest.raises(BackupRefused):
        layout.parse_node(content, 1, 3)


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 1 << 60),
    DIGESTS,
    st.integers(1, 1 << 40),
    st.integers(0, 1 << 40),
)
def test_a_backup_is_read_as_it_was_written(volume: bytes, size: int, root: Digest, number: int, time_s: int) -> None:
    parent = ZERO if number == 1 else Digest(b"p" * 32)
    backup = Backup(volume_id=volume, container_bytes=size, root=root, number=number, parent=parent, created_s=time_s)
    raw = layout.encode_backup(backup)
    assert layout.parse_backup(raw) == backup
    with pytest.raises(BackupRefused, match="canonical form"):
        layout.parse_backup(raw.replace(b",", b", ", 1))
    with pytest.raises(BackupRefused, match="other members"):
        layout.parse_backup(raw[:-1] + b',"x":1}')


def test_levels_cover_what_they_say() -> None:
    for blocks, level in ((0, 1), (1, 1), (FAN_OUT, 1), (FAN_OUT + 1, 2), (FAN_OUT**2, 2), (FAN_OUT**2 + 1, 3)):
        assert layout.levels(blocks) == level


def test_a_folder_of_something_else_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    store = open_store(str(tmp_path), create=True)
    with pytest.raises(BackupRefused, match=r"the place holds letter\.txt and is no backup repository"):
        Repository(store, create=True)
    with pytest.raises(BackupRefused, match="it has no file belljar-backup"):
        Repository(store)
    with pytest.raises(BackupRefused, match="another backup, restore or prune works in this repository"):
        open_store(str(tmp_path), create=False)
    store.close()
    with pytest.raises(BackupRefused, match="no such backup repository"):
        open_store(str(tmp_path / "none"), create=False)
    with pytest.raises(BackupRefused, match="expected file:///path"):
        open_store("file://host/x", create=False)
    with pytest.raises(BackupRefused, match="fsspec cannot open it"):
        open_store("nosuch://x", create=False)


def test_what_is_no_volume_is_not_backed_up(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"not one" * 99999)
    with pytest.raises(VolumeRefused, match="not a volume"):
        backed_up(tmp_path / "c", str(tmp_path / "r"))


def test_a_plain_folder_needs_no_fsspec(tmp_path: Path) -> None:
    path = container(tmp_path / "c", {}, BLOCK)
    code = (
        "import sys; sys.modules['fsspec'] = None; sys.modules['fsspec.core'] = None\n"
        "from belljar.fs.volume.backup.store import open_store\n"
        "from belljar.fs.volume.backup.repository import Repository\n"
        "from belljar.fs.volume.backup.source import Source\n"
        "from belljar.fs.volume.backup.write import back_up\n"
        f"repository = Repository(open_store({str(tmp_path / 'r')!r}, create=True), create=True)\n"
        f"back_up(Source({str(path)!r}), repository, created_s=1)\n"
        "open_store('memory://x', create=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("BackupRefused: memory://x: repositories at URLs need fsspec, which is not installed\n")
    assert len(verified(str(tmp_path / "r")).backups) == 1

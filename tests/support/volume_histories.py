"""Random histories of a volume: each operation is done on the volume and on the model, and both must agree.

What the anchor is told marks a commit; the model as it is then is what a crash afterwards must find.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from stat import S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK, S_ISDIR, S_ISREG

from belljar.fs.volume.anchor import Anchored
from belljar.fs.writable.tree import Attributes, Changes
from support.posix_model import Model, State
from support.volume_states import state_of
from support.volumes import SMALL, MemoryAnchor, RecordingContainer, formatted, mounted

_NAMES = [b"a", b"b", b"c", b"d", b"e", b"x" * 200, b"\xff\xfe", b"y" * 255]
_XATTRS = [b"user.one", b"user.two", b"user." + b"z" * 100]


class History:
    """One volume, its model, and the states that were committed. Any difference raises AssertionError."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - must be repeatable
        self.container = RecordingContainer()
        self.anchor = MemoryAnchor()
        formatted(self.container, self.anchor, seed=seed)
        self.start = bytes(self.container.content)
        self.container.log.clear()
        self.first = self.anchor.known[bytes(range(16))]
        self.model = Model()
        self.states: dict[int, Model] = {1: Model()}
        self.snapshots: dict[str, Model] = {}
        self.anchor.told = self._committed
        self.anchor.settled = lambda anchored: self.container.log.append(("anchor", anchored))
        self.volume = mounted(self.container, self.anchor, limits=SMALL, seed=seed + 1)
        self.tree = self.volume.tree

    def _committed(self, anchored: Anchored) -> None:
        self.container.log.append(("told", anchored.generation))
        self.states[anchored.generation] = self.model.clone()

    def run(self, steps: int) -> None:
        """Do so many random operations."""
        ways: list[tuple[Callable[[], None], int]] = [
            (self._make, 14), (self._bulk, 4), (self._write, 20), (self._resize, 6), (self._unlink, 8),
            (self._rmdir, 3), (self._rename, 8), (self._link, 4), (self._unnamed, 2), (self._forget, 6),
            (self._read, 8), (self._zero, 4), (self._xattr, 6), (self._copy, 3), (self._attributes, 3),
            (self._sync, 6), (self._tick, 2), (self._snapshot, 2), (self._delete_snapshot, 1), (self._rollback, 1),
            (self._remount, 1), (self._list, 3), (self._seek, 2),
        ]  # fmt: skip
        for way in self.chance.choices([way for way, _ in ways], [weight for _, weight in ways], k=steps):
            way()

    def compare(self) -> None:
        """Compare the whole tree with the model."""
        assert state_of(self.tree, times_of(self.model)) == self.model.state()

    def both(self, real: Callable[[], object], model: Callable[[], object]) -> None:
        """Do something on both: the same errno, or none."""
        wrong = _errno_of(real)
        assert wrong == _errno_of(model)

    def _make(self, name: bytes | None = None, directory: int | None = None) -> None:
        mode = self.chance.choice([S_IFREG] * 6 + [S_IFDIR] * 4 + [S_IFLNK, S_IFIFO, S_IFSOCK, S_IFBLK])
        mode |= self.chance.randrange(0o1000)
        directory, name = directory or self._directory(), name or self._name()
        target = b"/to/" + self._name() if mode >> 12 == S_IFLNK >> 12 else b""
        made: list[Attributes] = []
        self.both(
            lambda: made.append(self.tree.make(directory, name, mode, 5, 6, target=target)),
            lambda: self.model.make(directory, name, mode, made[0].ino if made else -1, target),
        )
        if made:
            self.model.nodes[made[0].ino].uid, self.model.nodes[made[0].ino].gid = 5, 6

    def _bulk(self) -> None:
        directory = self._directory()
        if directory not in self.model.nodes or not S_ISDIR(self.model.nodes[directory].mode):
            return
        for number in range(self.chance.randrange(10, 60)):
            self._make(b"%d-" % number + b"n" * self.chance.randrange(200), directory)
            if self.chance.random() < 0.3:
                self._write()
        if self.chance.random() < 0.5:
            for name in list(self.model.nodes[directory].children):
                self._unlink_it(directory, name)

    def _write(self) -> None:
        ino = self._file()
        offset = self.chance.choice([0, 0, self.chance.randrange(3000), self.chance.randrange(200_000), 65536])
        size = self.chance.choice([0, 10, self.chance.randrange(4000), self.chance.randrange(200_000), 65536, 131072])
        content = self.chance.randbytes(size)
        self.both(
            lambda: self.tree.write(ino, offset, memoryview(content)), lambda: self.model.write(ino, offset, content)
        )

    def _resize(self) -> None:
        ino, size = self._file(), self.chance.choice([0, 1, 1000, 2048, 2049, 65536, self.chance.randrange(250_000)])
        self.both(lambda: self.tree.set_attributes(ino, Changes(size=size)), lambda: self.model.resize(ino, size))

    def _attributes(self) -> None:
        ino, mode, when = self._any(), self.chance.randrange(0o10000), self.chance.randrange(1 << 60)

        def model() -> None:
            node = self.model.node(ino)
            node.mode = node.mode & ~0o7777 | mode
            node.uid = mode
            if S_ISREG(node.mode):
                node.mtime_ns = when

        self.both(lambda: self.tree.set_attributes(ino, Changes(mode=mode, uid=mode, mtime_ns=when)), model)

    def _unlink(self) -> None:
        self._unlink_it(*self._entry())

    def _unlink_it(self, parent: int, name: bytes) -> None:
        self.both(lambda: self.tree.unlink(parent, name), lambda: self.model.unlink(parent, name))

    def _rmdir(self) -> None:
        parent, name = self._entry()
        self.both(lambda: self.tree.rmdir(parent, name), lambda: self.model.rmdir(parent, name))

    def _rename(self) -> None:
        (parent, name), (new_parent, new_name) = self._entry(), self._entry()
        if self.chance.random() < 0.5:
            new_parent, new_name = self._directory(), self._name()
        flags = self.chance.choice([0, 0, 0, 1, 2, 4])
        words = (parent, name, new_parent, new_name, flags)
        self.both(lambda: self.tree.rename(*words), lambda: self.model.rename(*words))

    def _link(self) -> None:
        ino, parent, name = self._any(), self._directory(), self._name()
        self.both(lambda: self.tree.link(ino, parent, name), lambda: self.model.link(ino, parent, name))

    def _unnamed(self) -> None:
        made = self.tree.make_unnamed(0o600, 0, 0)
        self.model.make_unnamed(S_IFREG | 0o600, made.ino)

    def _forget(self) -> None:
        ino = self._any()
        self.tree.forget(ino)
        self.model.forget(ino)

    def _read(self) -> None:
        ino, offset, size = self._file(), self.chance.randrange(250_000), self.chance.randrange(100_000)
        found: list[bytes] = []
        self.both(
            lambda: found.append(bytes(self.tree.read(ino, offset, size))),
            lambda: found.append(bytes(self.model.regular(ino).content[offset : offset + size])),
        )
        assert not found or found[0] == found[1]

    def _zero(self) -> None:
        ino, offset, size = self._file(), self.chance.randrange(200_000), self.chance.randrange(1, 200_000)
        if self.chance.random() < 0.3:
            offset, size = offset & ~65535, size & ~65535 or 65536
        mode = self.chance.choice([0, 1, 3, 16, 17, 2])
        if mode == 2:
            assert _errno_of(lambda: self.tree.allocate(ino, offset, size, mode)) == (
                errno.EOPNOTSUPP if _errno_of(lambda: self.model.regular(ino)) is None else
                _errno_of(lambda: self.model.regular(ino))
            )  # fmt: skip
            return
        extend, zeros = not mode & 1, size if mode & 18 else 0

        def model() -> None:
            self.model.zero(ino, offset + size, 0, extend=extend)
            self.model.zero(ino, offset, zeros, extend=False)

        self.both(lambda: self.tree.allocate(ino, offset, size, mode), model)

    def _xattr(self) -> None:
        ino, name, flags = self._any(), self.chance.choice(_XATTRS), self.chance.choice([0, 0, 1, 2])
        content = self.chance.randbytes(self.chance.choice([0, 5, 4096]))
        if self.chance.random() < 0.3:
            self.both(lambda: self.tree.remove_xattr(ino, name), lambda: self.model.remove_xattr(ino, name))
        else:
            words = (ino, name, content, flags)
            self.both(lambda: self.tree.set_xattr(*words), lambda: self.model.set_xattr(*words))

    def _copy(self) -> None:
        words = (self._file(), self.chance.randrange(100_000), self._file(), self.chance.randrange(100_000), 70_000)
        self.both(lambda: self.tree.copy_range(*words), lambda: self.model.copy_range(*words))

    def _list(self) -> None:
        ino = self._directory()
        if ino not in self.model.nodes or not S_ISDIR(self.model.nodes[ino].mode):
            return
        found = [entry[:3] for entry in self.tree.entries(ino, 0)]
        assert [cookie for cookie, _, _ in found] == sorted({cookie for cookie, _, _ in found})
        assert {name: child for _, name, child in found} == self.model.nodes[ino].children
        if found:
            after = self.chance.choice(found)[0]
            assert [entry[:3] for entry in self.tree.entries(ino, after)] == [e for e in found if e[0] > after]

    def _seek(self) -> None:
        """Whatever SEEK_HOLE calls a hole must be zeros."""
        node = self.model.nodes.get(ino := self._file())
        if node is None or not S_ISREG(node.mode) or not node.content:
            return
        hole = self.tree.seek(ino, self.chance.randrange(len(node.content)), 4)
        data = len(node.content)
        if hole < data and _errno_of(lambda: self.tree.seek(ino, hole, 3)) is None:
            data = self.tree.seek(ino, hole, 3)
        assert not any(node.content[hole:data])

    def _sync(self) -> None:
        self.tree.sync(1)

    def _tick(self) -> None:
        self.volume.tick()

    def _snapshot(self) -> None:
        name = f"snapshot {len(self.states)}"
        self.volume.snapshot(name)
        self.snapshots[name] = self.model.clone()

    def _delete_snapshot(self) -> None:
        if self.snapshots:
            name = self.chance.choice(sorted(self.snapshots))
            self.volume.delete_snapshot(name)
            del self.snapshots[name]

    def _rollback(self) -> None:
        if self.snapshots:
            self.rollback(self.chance.choice(sorted(self.snapshots)))

    def rollback(self, name: str) -> None:
        """Go back to a snapshot."""
        self.volume.rollback(name)
        self.model = self.snapshots[name].clone()
        self._drop_orphans()
        self.states[self.volume.anchored.generation] = self.model.clone()
        self.tree = self.volume.tree

    def _remount(self) -> None:
        self.volume.close()
        self.volume = mounted(self.container, self.anchor, limits=SMALL, seed=self.chance.randrange(1 << 30))
        self.tree = self.volume.tree
        self._drop_orphans()

    def _drop_orphans(self) -> None:
        for ino in [ino for ino, node in self.model.nodes.items() if not node.nlink]:
            del self.model.nodes[ino]

    def _any(self) -> int:
        return self.chance.choice([*self.model.nodes, 999_999] if self.chance.random() < 0.1 else [*self.model.nodes])

    def _directory(self) -> int:
        if self.chance.random() < 0.05:
            return self._any()
        return self.chance.choice([ino for ino, node in self.model.nodes.items() if S_ISDIR(node.mode)])

    def _file(self) -> int:
        files = [ino for ino, node in self.model.nodes.items() if S_ISREG(node.mode)]
        return self.chance.choice(files) if files and self.chance.random() < 0.95 else self._any()

    def _name(self) -> bytes:
        return self.chance.choice(_NAMES)

    def _entry(self) -> tuple[int, bytes]:
        directory = self._directory()
        node = self.model.nodes.get(directory)
        if node is not None and node.children and self.chance.random() < 0.9:
            return directory, self.chance.choice(sorted(node.children))
        return directory, self._name()


def times_of(model: Model) -> dict[int, int]:
    """Return the modification times that the model is sure of."""
    return {ino: node.mtime_ns for ino, node in model.nodes.items() if node.mtime_ns is not None}


def committed_state(model: Model) -> State:
    """Return what a mount after a crash must find of a committed model: what has names."""
    return model.state()


def _errno_of(do: Callable[[], object]) -> int | None:
    try:
        do()
    except OSError as error:
        return error.errno
    return None

"""What a volume's tree holds, said as the model says it, so that the two can be compared."""

from __future__ import annotations

from stat import S_IFMT, S_ISDIR, S_ISLNK, S_ISREG

from belljar.fs.writable.tree import ROOT_INO, Attributes
from support.posix_model import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.writable.tree import WritableTree


def state_of(tree: WritableTree, known_times: dict[int, int] | None = None) -> State:
    """Return everything a tree holds, by path. Times count for inodes whose number is among the known ones only."""
    found: State = {}
    first: dict[int, bytes] = {}
    rest = [(b"", ROOT_INO)]
    while rest:
        path, ino = rest.pop()
        attributes = tree.attributes(ino)
        same = first.setdefault(ino, path)
        children: list[tuple[bytes, int]] = []
        if S_ISDIR(attributes.mode):
            for _, name, child, mode in tree.entries(ino, 0):
                assert mode == S_IFMT(tree.attributes(child).mode)
                children.append((name, child))
            assert len(dict(children)) == len(children)
        content = _content(tree, attributes)
        mtime = attributes.mtime_ns if known_times is not None and ino in known_times else None
        found[path] = (
            attributes.mode, attributes.uid, attributes.gid, attributes.rdev, attributes.nlink, attributes.size,
            content, same, tuple(sorted((name, tree.xattr(ino, name)) for name in tree.xattrs(ino))), mtime,
        )  # fmt: skip
        rest += sorted(((path + b"/" + name, child) for name, child in children), reverse=True)
    return found


def _content(tree: WritableTree, attributes: Attributes) -> bytes:
    if S_ISREG(attributes.mode):
        return bytes(tree.read(attributes.ino, 0, attributes.size + 10))
    return tree.target(attributes.ino) if S_ISLNK(attributes.mode) else b""

"""Build the bytes of an index from what a walk found.

In come files, directories and links with their digests; out comes the one canonical index of them: same content, same
bytes before the times, wherever and in whatever order it was found. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from belljar.fs.errors import SourceError

from . import layout

_EXECUTABLE_BITS = 0o111


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One path of a tree.

    Attributes:
        path: components below the root, joined by slashes, without a leading one; b"" is the root itself.
        kind: `layout.KIND_*`.
        mode: permission bits of the host file; only "may anyone execute it" enters the index.
        size: bytes of a file; unused otherwise.
        mtime_ns: modification time.
        identity: what hard links of one file have in common, or None.
        target: where a symbolic link points.
        digests: the chunk digests of a file, one after the other.
    """

    path: bytes
    kind: int
    mode: int = 0
    size: int = 0
    mtime_ns: int = 0
    identity: tuple[int, int] | None = None
    target: bytes = b""
    digests: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIndex:
    """The bytes of an index, its digest, and how many entries it has."""

    content: bytes
    digest: bytes
    entries: int


class _Node:
    __slots__ = ("children", "found", "name")

    def __init__(self, name: bytes, found: Found) -> None:
        self.name = name
        self.found = found
        self.children: dict[bytes, _Node] = {}


def build_index(found: list[Found]) -> BuiltIndex:
    """Return the canonical index of `found`; parents that are not named are added as directories.

    Raises:
        SourceError: two entries share a path, a file has children, or a name or link target is too long.
    """
    ordered = _breadth_first(_tree(found))
    entries, names, digests = _body(ordered)
    body = entries + names + digests
    table = b"".join(
        hashlib.sha256(body[at : at + layout.BLOCK_BYTES]).digest() for at in range(0, len(body), layout.BLOCK_BYTES)
    )
    header = layout.HEADER.pack(
        layout.MAGIC, layout.VERSION, layout.SHA256, layout.BLOCK_BYTES, layout.CHUNK_BYTES,
        len(ordered), len(names), len(digests) // 32,
    )  # fmt: skip
    head = header + table
    return BuiltIndex(content=head + body + _times(ordered), digest=hashlib.sha256(head).digest(), entries=len(ordered))


def _tree(found: list[Found]) -> _Node:
    root = _Node(b"", Found(path=b"", kind=layout.KIND_DIRECTORY))
    for item in sorted(found, key=lambda item: item.path.split(b"/")):
        if not item.path:
            root.found = item
            continue
        *parents, name = item.path.split(b"/")
        node = root
        for parent in parents:
            child = node.children.get(parent)
            if child is None:
                child = node.children[parent] = _Node(parent, Found(path=b"", kind=layout.KIND_DIRECTORY))
            node = child
        if node.found.kind != layout.KIND_DIRECTORY:
            raise SourceError(f"{_show(item.path)} lies below something that is not a directory")
        if name in node.children:
            raise SourceError(f"{_show(item.path)} is listed twice")
        _check_lengths(item, name)
        node.children[name] = _Node(name, item)
    return root


def _check_lengths(item: Found, name: bytes) -> None:
    if not 0 < len(name) <= layout.MAX_NAME_BYTES:
        raise SourceError(f"{_show(item.path)}: name of {len(name)} bytes, expected 1 to {layout.MAX_NAME_BYTES}")
    if len(item.target) > layout.MAX_TARGET_BYTES:
        raise SourceError(f"{_show(item.path)}: link target is longer than {layout.MAX_TARGET_BYTES} bytes")


def _breadth_first(root: _Node) -> list[tuple[_Node, int]]:
    """Return (node, number of its parent); the children of a directory become neighbours, sorted by name."""
    ordered: list[tuple[_Node, int]] = [(root, 0)]
    for number, (node, _) in enumerate(ordered):  # the list grows while we walk it
        ordered.extend((node.children[name], number) for name in sorted(node.children))
    if len(ordered) > layout.MAX_ENTRIES:
        raise SourceError(f"{len(ordered)} files are more than an index can hold ({layout.MAX_ENTRIES})")
    return ordered


def _body(ordered: list[tuple[_Node, int]]) -> tuple[bytes, bytes, bytes]:
    names = b"".join(node.name for node, _ in ordered)
    targets: list[bytes] = []
    digests: dict[bytes, int] = {}  # chunk digests of a file -> number of the first: equal files share them
    entries: list[bytes] = []
    name_at, target_at, chunk, child = 0, len(names), 0, 1
    for node, parent in ordered:
        found, flags, size, first = node.found, 0, 0, 0
        if found.kind == layout.KIND_DIRECTORY:
            size, first = len(node.children), child
            child += size
        elif found.kind == layout.KIND_SYMLINK:
            size, first = len(found.target), target_at
            targets.append(found.target)
            target_at += size
        else:
            flags = layout.FLAG_EXECUTABLE if found.mode & _EXECUTABLE_BITS else 0
            size, first = found.size, digests.setdefault(found.digests, chunk)
            if first == chunk:
                chunk += len(found.digests) // 32
        entries.append(layout.ENTRY.pack(name_at, len(node.name), found.kind, flags, size, first, parent))
        name_at += len(node.name)
    return b"".join(entries), names + b"".join(targets), b"".join(digests)


def _times(ordered: list[tuple[_Node, int]]) -> bytes:
    """Pack modification times and hard links: what the guest is shown, but no measurement covers."""
    first: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], int] = {}
    for number, (node, _) in enumerate(ordered):
        identity = node.found.identity
        if identity is not None:
            first.setdefault(identity, number)
            links[identity] = links.get(identity, 0) + 1
    packed: list[bytes] = []
    for number, (node, _) in enumerate(ordered):
        identity = node.found.identity
        inode, nlink = (number, 1) if identity is None else (first[identity], links[identity])
        packed.append(layout.TIME.pack(node.found.mtime_ns, inode, nlink))
    return b"".join(packed)


def _show(path: bytes) -> str:
    return path.decode(errors="backslashreplace")

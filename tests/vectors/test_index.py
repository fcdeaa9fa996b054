"""Golden vectors of the index format, written down from docs/formats/index.md and from nothing of our code."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

from belljar.fs.hashed.build import Found, build_index
from belljar.fs.hashed.index import Index
from support.trees import measured

GREETING = b"hello\n"
LARGE = bytes(range(256)) * 300  # 76 800 bytes: one chunk of 64 KiB and one of 11 264
DIGEST = "7bb9dddcd632173811505dfdb3dd40d378e481d01a9650f44643128f7686062e"


def by_the_book() -> tuple[bytes, bytes]:
    """Return (file, digest) of the tree below, each byte as the document says.

    bin/run (executable, LARGE), bin/copy (LARGE), empty, link -> bin/run, note (GREETING)
    """
    chunk = [hashlib.sha256(part).digest() for part in (LARGE[:65536], LARGE[65536:], GREETING)]
    # breadth first, sorted: 0 root, 1 bin, 2 empty, 3 link, 4 note, 5 bin/copy, 6 bin/run
    names = b"binemptylinknotecopyrun" + b"bin/run"
    entries = b"".join(
        struct.pack("<IHBBQII", *entry)
        for entry in (
            (0, 0, 2, 0, 4, 1, 0),
            (0, 3, 2, 0, 2, 5, 0),
            (3, 5, 1, 0, 0, 0, 0),
            (8, 4, 3, 0, 7, 23, 0),
            (12, 4, 1, 0, 6, 0, 0),
            (16, 4, 1, 0, 76800, 1, 1),
            (20, 3, 1, 1, 76800, 1, 1),
        )
    )
    body = entries + names + chunk[2] + chunk[0] + chunk[1]
    header = struct.pack("<8sHHIIIQQ8x", b"BELLJIDX", 1, 1, 16384, 65536, 7, len(names), 3)
    head = header + hashlib.sha256(body).digest()
    times = b"".join(struct.pack("<qII", number * 1_000_000_000, number, 1) for number in range(7))
    return head + body + times, hashlib.sha256(head).digest()


def found() -> list[Found]:
    large = hashlib.sha256(LARGE[:65536]).digest() + hashlib.sha256(LARGE[65536:]).digest()
    greeting = hashlib.sha256(GREETING).digest()
    second = 1_000_000_000
    return [
        Found(path=b"", kind=2, mtime_ns=0),
        Found(path=b"note", kind=1, size=6, mode=0o600, mtime_ns=4 * second, digests=greeting),
        Found(path=b"link", kind=3, target=b"bin/run", mtime_ns=3 * second),
        Found(path=b"empty", kind=1, size=0, mode=0o644, mtime_ns=2 * second),
        Found(path=b"bin", kind=2, mtime_ns=second),
        Found(path=b"bin/run", kind=1, size=76800, mode=0o711, mtime_ns=6 * second, digests=large),
        Found(path=b"bin/copy", kind=1, size=76800, mode=0o666, mtime_ns=5 * second, digests=large),
    ]


def test_what_we_write_is_what_the_document_says() -> None:
    content, digest = by_the_book()
    built = build_index(found())
    assert built.content == content
    assert built.digest == digest


def test_what_the_document_says_can_be_read(tmp_path: Path) -> None:
    content, digest = by_the_book()
    (tmp_path / "index").write_bytes(content)
    index = Index(os.open(tmp_path / "index", os.O_RDONLY), digest)
    run = index.child(index.child(0, b"bin") or 0, b"run")
    assert run == 6
    assert index.path(run) == b"bin/run"
    assert index.target(index.record(3)) == b"bin/run"
    index.close()


def test_a_tree_on_disk_has_this_digest_on_every_machine(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/run").write_bytes(LARGE)
    (tree / "bin/run").chmod(0o700)
    (tree / "bin/copy").write_bytes(LARGE)
    (tree / "empty").touch()
    (tree / "link").symlink_to("bin/run")
    (tree / "note").write_bytes(GREETING)
    digest = measured(tree).index.digest
    assert digest.hex() == DIGEST
    assert digest == by_the_book()[1]

"""Memory grows with what is used, not with what exists. The volume has 20 000 files, 100 000 with BELLJAR_HISTORIES."""

from __future__ import annotations

import gc
import os
import tracemalloc

from belljar.fs.volume.ground import Limits
from support.volumes import formatted, mounted

_FILES = 100_000 if os.environ.get("BELLJAR_HISTORIES") else 20_000
_PER_FOLDER = 1000
_CACHED = 64


def test_a_mount_that_looks_at_one_file_holds_little() -> None:
    container, anchor = formatted()
    volume = mounted(container, anchor)
    for number in range(_FILES // _PER_FOLDER):
        folder = volume.tree.make(1, b"folder %d" % number, 0o040755, 0, 0).ino
        for file in range(_PER_FOLDER):
            volume.tree.make(folder, b"file %d" % file, 0o100644, 0, 0)
    volume.close()
    del volume
    gc.collect()
    tracemalloc.start()
    volume = mounted(container, anchor, limits=Limits(cached_nodes=_CACHED))
    folder = volume.tree.lookup(1, b"folder 7").ino
    ino = volume.tree.lookup(folder, b"file 77").ino
    assert volume.tree.attributes(ino).size == 0
    one = tracemalloc.get_traced_memory()[0]
    for number in range(0, _FILES // _PER_FOLDER, 2):
        folder = volume.tree.lookup(1, b"folder %d" % number).ino
        for file in range(0, _PER_FOLDER, 50):
            volume.tree.lookup(folder, b"file %d" % file)
    many = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert one < 400_000
    assert many < 6_000_000
    assert volume.tree.ground.tree.loaded < 2 * _CACHED

"""Volumes are handled on any system: without flock, positioned reads, mlock or holes, everything still works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_LESS = """
import os, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("pread", "pwrite", "fdatasync", "posix_fallocate", "fstatvfs", "SEEK_DATA", "SEEK_HOLE", "geteuid",
             "O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "O_NONBLOCK", "mkfifo", "listxattr", "setxattr", "getxattr"):
    delattr(os, name)
from belljar.loader.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_commands_work_where_linux_is_missing(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 64)
    (tmp_path / "file").write_bytes(bytes(100_000) + b"content")
    opening = ["--key-file", "key", "--anchors", "anchors"]

    def belljar(*words: str) -> str:
        command = [sys.executable, "-c", _LESS, "volume", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    belljar("create", *opening, "state.vol")
    belljar("put", *opening, "state.vol", "file", "/")
    belljar("get", *opening, "state.vol", "file", "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "file").read_bytes()
    belljar("backup", "state.vol", "backups")
    belljar("restore", "--replace", "backups", "state.vol")
    assert "sound" in belljar("check", *opening, "state.vol")
    belljar("keygen")
    belljar("destroy", "--yes", "--anchors", "anchors", "state.vol")

"""Work on a file system; print what was measured as JSON: "table: figure" -> value.

volume.py write FOLDER SCALE     content and small files, git, SQLite
volume.py read FOLDER SCALE      what `write` left, for the first time since it was mounted; then unlink it
volume.py fill FOLDER COUNT      make so many small files
volume.py look FOLDER            ask for one file, say so, wait for a line
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import time

MIB = 1 << 20
PAGE = 4096
PER_FOLDER = 1000
SMALL = b"belljar " * 128


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self):
        self.started = time.perf_counter()

    def rate(self, amount):
        """Return an amount per second."""
        return amount / (time.perf_counter() - self.started)

    def micros(self, count):
        """Return microseconds for each of so many."""
        return (time.perf_counter() - self.started) / count * 1e6


def paths(folder, count):
    """Return the paths of so many small files."""
    return [f"{folder}/{number // PER_FOLDER:04}/{number:07}" for number in range(count)]


def make_files(folder, count):
    """Make small files of 1 KiB."""
    os.makedirs(folder, exist_ok=True)
    for path in paths(folder, count):
        if path.endswith(f"{0:03}"):
            os.mkdir(os.path.dirname(path))
        with open(path, "xb", buffering=0) as file:
            file.write(SMALL)


def positions(size, count):
    """Return pages of a file, in the same random order each time."""
    chance = random.Random(1)  # noqa: S311 - the same each time
    return [chance.randrange(size // PAGE) * PAGE for _ in range(count)]


def write_content(folder, scale):
    """Write sequentially, then at random places; durable at the end of each."""
    found = {}
    piece = os.urandom(MIB)
    with open(f"{folder}/big", "xb", buffering=0) as file:
        watch = Stopwatch()
        file.writelines(piece for _ in range(2 * scale))
        os.fsync(file)
        found["content: sequential write, fsync at the end, MB/s"] = watch.rate(2 * scale * MIB / 1e6)
    size = scale * MIB
    with open(f"{folder}/mixed", "xb", buffering=0) as file:
        file.writelines(piece for _ in range(scale))
        os.fsync(file)
    with open(f"{folder}/mixed", "r+b", buffering=0) as file:
        count = 16 * scale
        watch = Stopwatch()
        for at in positions(size, count):
            os.pwrite(file.fileno(), piece[:PAGE], at)
        os.fsync(file)
        found["content: random write of 4 KiB, fsync at the end, MB/s"] = watch.rate(count * PAGE / 1e6)
        count = max(4, scale)
        watch = Stopwatch()
        for at in positions(size, count):
            os.pwrite(file.fileno(), piece[:PAGE], at)
            os.fsync(file)
        found["content: 4 KiB and fsync, per second"] = watch.rate(count)
    return found


def write_small(folder, scale):
    """Create small files, and durable ones."""
    count = 16 * scale
    watch = Stopwatch()
    make_files(f"{folder}/many", count)
    found = {"small files: create with 1 KiB, µs": watch.micros(count)}
    os.mkdir(f"{folder}/durable")
    count = max(4, scale // 2)
    watch = Stopwatch()
    for number in range(count):
        with open(f"{folder}/durable/{number}", "xb", buffering=0) as file:
            file.write(SMALL)
            os.fsync(file)
    found["small files: create with 1 KiB and fsync, µs"] = watch.micros(count)
    return found


def git(folder, scale):
    """Have git keep a tree of files: add, commit, look, collect garbage."""
    here = f"{folder}/repository"
    clean = {"HOME": folder, "GIT_CONFIG_NOSYSTEM": "1", "PATH": "/usr/bin:/bin"}

    def run(*words):
        subprocess.run(("git", *words), cwd=here, env=clean, check=True, capture_output=True)

    make_files(here, 8 * scale)
    for number, path in enumerate(paths(here, 8 * scale)):
        with open(path, "wb", buffering=0) as file:
            file.write(b"%d\n" % number + SMALL)
    found = {}
    try:
        for figure, *commands in (
            ("init, add, commit", ("init", "-q"), ("add", "-A"),
             ("-c", "user.email=a@b", "-c", "user.name=n", "commit", "-qm", "one")),
            ("status", ("status",)),
            ("gc", ("gc", "-q")),
        ):  # fmt: skip
            watch = Stopwatch()
            for words in commands:
                run(*words)
            found[f"git: {figure}, ms"] = watch.micros(1) / 1000
    except FileNotFoundError:  # no git here: its table stays empty
        return {}
    return found


def sqlite(folder, scale):
    """Return SQLite's transactions per second, one row each, every one durable."""
    found = {}
    for mode in ("wal", "delete"):
        base = sqlite3.connect(f"{folder}/base-{mode}", isolation_level=None)
        base.execute(f"pragma journal_mode={mode}")
        base.execute("pragma synchronous=full")
        base.execute("create table t (n integer primary key, text blob)")
        count = max(4, scale)
        watch = Stopwatch()
        for number in range(count):
            base.execute("insert into t values (?, ?)", (number, SMALL[:200]))
        found[f"SQLite: journal_mode={mode}, transactions/s"] = watch.rate(count)
        base.close()
    return found


def write(folder, scale):
    """Do everything that writes."""
    return {
        **write_content(folder, scale),
        **write_small(folder, scale),
        **git(folder, scale),
        **sqlite(folder, scale),
    }


def read(folder, scale):
    """Read what `write` wrote, then remove the small files."""
    found = {
        "content: sequential read, cold, MB/s": read_all(f"{folder}/big"),
        "content: sequential read of what was written at random, cold, MB/s": read_all(f"{folder}/mixed"),
    }
    size = 2 * scale * MIB
    with open(f"{folder}/big", "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        count = 8 * scale
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        watch = Stopwatch()
        for at in positions(size, count):
            os.pread(file.fileno(), PAGE, at)
        found["content: random read of 4 KiB, MB/s"] = watch.rate(count * PAGE / 1e6)
    many = paths(f"{folder}/many", 16 * scale)
    for figure, work in (("stat, cold", os.stat), ("read, cold", read_one), ("unlink", os.unlink)):
        watch = Stopwatch()
        for path in many:
            work(path)
        found[f"small files: {figure}, µs"] = watch.micros(len(many))
    return found


def read_all(path):
    """Return megabytes per second of a sequential read."""
    buffer = bytearray(MIB)
    with open(path, "rb", buffering=0) as file:
        watch = Stopwatch()
        while file.readinto(buffer):
            pass
        return watch.rate(os.fstat(file.fileno()).st_size / 1e6)


def read_one(path):
    """Read a small file."""
    with open(path, "rb", buffering=0) as file:
        assert file.read() == SMALL


def fill(folder, count):
    """Make files for `look`."""
    make_files(f"{folder}/tree", count)
    return {}


def main():
    """Do what is asked."""
    phase, folder, *rest = sys.argv[1:]
    if phase == "look":
        path = next(iter(paths(f"{folder}/tree", 1)))
        print("ready" if not rest and os.stat(path).st_size else "idle", flush=True)
        sys.stdin.readline()
    else:
        print(json.dumps({"write": write, "read": read, "fill": fill}[phase](folder, int(rest[0]))))


main()

"""Real programs on a writable mount: fsx, fio, SQLite, git, large directories; and failures of the store."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import pytest

from belljar.fs.errors import VolumeCorrupt
from support.memory_tree import MemoryTree
from support.mounting import Mounted, mounted

FSX_STEPS = int(os.environ.get("BELLJAR_FSX_STEPS", "1500"))
MANY = int(os.environ.get("BELLJAR_MANY_FILES", "5000"))

pytestmark = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="/dev/fuse cannot be opened here")


@pytest.fixture(scope="module")
def mount() -> Iterator[Mounted]:
    with mounted(MemoryTree()) as shown:
        yield shown


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_access_to_a_file(mount: Mounted, seed: int) -> None:
    mount.python("-m", "support.fsx", f"{mount.fuse}/fsx{seed}", f"{seed}", f"{FSX_STEPS}")


@pytest.mark.parametrize(
    "how", ["--ioengine=psync --rw=randwrite --bs=4k-70k", "--ioengine=mmap --rw=randwrite --bs=4k"]
)
def test_fio_verifies_what_it_wrote(mount: Mounted, how: str) -> None:
    if not shutil.which("fio"):
        pytest.skip("fio is not installed (Debian's package)")
    words = ["--name=job", "--size=24m", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--end_fsync=1"]
    mount.run("fio", *words, *how.split(), "--fsync=200", "--numjobs=2", cwd=mount.fuse)


_SQLITE = """
import os, sqlite3, sys
mode = sys.argv[1]
children = []
base = sqlite3.connect("db-" + mode, timeout=60)
base.execute("pragma journal_mode=" + mode)
base.execute("create table t (who int, n int, text blob)")
for who in range(3):
    child = os.fork()
    if child == 0:
        own = sqlite3.connect("db-" + mode, timeout=60, isolation_level="IMMEDIATE")
        for n in range(40):
            with own:
                own.executemany("insert into t values (?, ?, ?)", [(who, n * 5 + k, os.urandom(500)) for k in range(5)])
                if n % 4 == 0:
                    own.execute("delete from t where who=? and n<?", (who, n))
        os._exit(0)
    children.append(child)
assert not [child for child in children if os.waitpid(child, 0)[1]]
base.execute("vacuum")
print(base.execute("pragma integrity_check").fetchall(), base.execute("select count(*) from t").fetchall())
"""


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate"])
def test_sqlite_with_several_writers(mount: Mounted, mode: str) -> None:
    answers = [mount.python("-c", _SQLITE, mode, cwd=folder) for folder in (mount.fuse, mount.tmpfs)]
    assert answers[0] == answers[1]
    assert answers[0].startswith("[('ok',)]")


_GIT = """
set -e
git init -q -b main one && cd one
git config user.email a@b && git config user.name n
for n in 1 2 3 4 5 6; do mkdir -p d$n; seq $((n * 400)) > d$n/f; git add -A; git commit -qm "$n"; done
git checkout -q -b other HEAD~2 && echo change >> d1/f && git commit -qam change
git checkout -q main && git merge -q -m merge other && git mv d2 moved && git commit -qm moved
git gc -q --aggressive && git repack -adq && git fsck --full --strict 2>/dev/null
git clone -q --no-hardlinks . ../two && cd ../two && git status --porcelain && git rev-parse "HEAD^{tree}"
"""


def test_git(mount: Mounted) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    answers = [mount.run("sh", "-c", _GIT, cwd=folder).stdout for folder in (mount.fuse, mount.tmpfs)]
    assert answers[0] == answers[1]
    assert len(answers[0].split()[-1]) == 40


_MANY = """
import os, sys, time
count = int(sys.argv[1])
os.mkdir("many"); os.chdir("many")
for n in range(count): os.close(os.open("f%d" % n, os.O_CREAT | os.O_WRONLY))
start = time.perf_counter()
assert len(os.listdir()) == count
listed = time.perf_counter() - start
with os.scandir() as entries:
    assert sum(entry.stat().st_nlink for entry in entries) == count
os.chdir("..")
start = time.perf_counter()
assert os.system("rm -rf many") == 0
print(listed, time.perf_counter() - start)
"""


def test_a_large_directory(mount: Mounted) -> None:
    few = [float(word) for word in mount.python("-c", _MANY, f"{MANY // 10}", cwd=mount.fuse).split()]
    many = [float(word) for word in mount.python("-c", _MANY, f"{MANY}", cwd=mount.fuse).split()]
    for small, large in zip(few, many, strict=True):
        assert large < 40 * small + 0.1, f"{MANY // 10} take {small:.3f} s, {MANY} take {large:.3f} s"


def test_what_was_written_is_in_the_store_after_unmounting() -> None:
    tree = MemoryTree()
    with mounted(tree) as mount:
        mount.run(
            "sh", "-c", "echo text > a; mkdir d; ln a d/b; echo gone > c; exec 3<c; rm c; sleep 0", cwd=mount.fuse
        )
    found = tree.lookup(1, b"a")
    assert tree.read(found.ino, 0, 100) == b"text\n"
    assert found.nlink == 2
    assert abs(found.mtime_ns - time.time_ns()) < 60_000_000_000
    assert tree.space()[3] - tree.space()[4] == 3  # nothing that lost its name is left


def test_forgotten_files_give_back_their_space() -> None:
    tree = MemoryTree()
    with mounted(tree) as mount:
        mount.run("sh", "-c", "exec 3<>a; head -c 1000000 /dev/zero >&3; rm a; sync; exec 3>&-", cwd=mount.fuse)
        deadline = time.monotonic() + 10
        while tree.space()[1] != tree.space()[0] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert tree.space()[1] == tree.space()[0]


def test_a_full_store_says_so() -> None:
    with mounted(MemoryTree(max_bytes=1 << 20, max_inodes=4)) as mount:
        code = "set -e; mkdir a; echo b > b; echo c > c; ! mkdir full; head -c 900000 /dev/zero > b"
        assert "No space left" in mount.run("sh", "-c", code, cwd=mount.fuse).stderr
        done = mount.run("dd", "if=/dev/zero", "of=c", "bs=1M", "count=3", "conv=fsync", cwd=mount.fuse, check=False)
        assert done.returncode != 0
        assert "No space left" in done.stderr
        assert mount.run("cat", "b", cwd=mount.fuse).stdout == "\0" * 900_000


class CorruptTree(MemoryTree):
    def read(self, ino: int, offset: int, size: int) -> bytes:  # noqa: ARG002 - as the seam has it
        raise VolumeCorrupt(f"inode {ino}", f"chunk {offset >> 16} is not what was written")


class DefectiveTree(MemoryTree):
    def xattrs(self, ino: int) -> list[bytes]:
        raise RuntimeError(f"a defect at {ino}")


def test_corruption_is_an_io_error_and_is_told() -> None:
    with mounted(CorruptTree()) as mount:
        code = "echo text > a; dd if=a of=/dev/null iflag=direct"
        assert "Input/output error" in mount.run("sh", "-c", code, cwd=mount.fuse, check=False).stderr
        assert str(mount.violations[0]) == "inode 2: chunk 0 is not what was written"


def test_a_defect_is_an_io_error_and_is_told() -> None:
    with mounted(DefectiveTree()) as mount:
        answer = mount.python(
            "-c", "import os\ntry: os.listxattr('.')\nexcept OSError as e: print(e.errno)", cwd=mount.fuse
        )
        assert answer == "5\n"
        assert str(mount.failures.pop()) == "a defect at 1"


def test_content_of_a_megabyte_travels_whole(mount: Mounted) -> None:
    code = "import os\nfd=os.open('big',os.O_RDWR|os.O_CREAT)\nfor n in range(9): os.write(fd,bytes([n+1])*1000003)"
    mount.python("-c", code, cwd=mount.fuse)
    code = "import hashlib;print(hashlib.sha256(open('big','rb').read()).hexdigest())"
    expected = mount.python(
        "-c", "import hashlib;print(hashlib.sha256(b''.join(bytes([n+1])*1000003 for n in range(9))).hexdigest())"
    )
    assert mount.python("-c", code, cwd=mount.fuse) == expected

"""Real programs, unmodified, inside of enclaves, on an encrypted volume: databases, git, pip, tar, fsx, fio.

BELLJAR_VOLUME_LOAD multiplies how much they do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

from support.enclosed_volume import Enclosed, missing
from support.running import PYTHON, Belljar
from support.source import ROOT

LOAD = int(os.environ.get("BELLJAR_VOLUME_LOAD", "1"))
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
SHELL = "{type: hashed, path: /bin/sh, source: /usr/bin/sh}"  # where popen(3) looks for it


@pytest.fixture
def kept(belljar: Belljar) -> Enclosed:
    return Enclosed(belljar, belljar.folder / "data.vol", size="1GiB").create()


def needs(*programs: str) -> None:
    if absent := missing(programs):
        pytest.skip(f"not installed (Debian's packages): {absent}")


def shell(kept: Enclosed, script: str, *, check: int | None = 0) -> str:
    """Run a shell script in the volume, in an enclave; return what it printed."""
    code = "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1]])"
    return kept.run(code, script, check=check, timeout=300).stdout


BANK = """
import os, sqlite3, sys
mode = sys.argv[1]
base = sqlite3.connect("bank.db", timeout=60, isolation_level=None)
base.execute("pragma journal_mode=" + mode)
base.execute("pragma synchronous=extra")  # with full, the end of a rollback journal is not synced
base.execute("create table if not exists account (id integer primary key, money int)")
base.execute("create table if not exists transfer (n integer primary key, blob blob)")
base.execute("insert or ignore into account select value, 1000 from json_each('[1,2,3,4,5,6,7,8]')")
print("ready", flush=True)
n = base.execute("select coalesce(max(n), -1) + 1 from transfer").fetchone()[0]
while True:
    base.execute("begin immediate")
    base.execute("update account set money = money - 7 where id = ?", (n % 8 + 1,))
    base.execute("insert into transfer values (?, ?)", (n, os.urandom(3000 + n % 5000)))
    base.execute("update account set money = money + 7 where id = ?", (n * 3 % 8 + 1,))
    if n > 40:
        base.execute("delete from transfer where n between ? and ?", (n - 60, n - 41))
    base.execute("commit")
    print(n, flush=True)
    n += 1
"""
AUDIT = """
import sqlite3
base = sqlite3.connect("bank.db")
for question in ("pragma integrity_check", "select sum(money) from account", "select max(n) from transfer"):
    print(base.execute(question).fetchone()[0])
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_sqlite_keeps_every_committed_transaction(kept: Enclosed, mode: str) -> None:
    for number in range(2 * LOAD):
        process = kept.start(BANK, mode)
        time.sleep(0.4 + 0.037 * number)
        if number % 2:
            kept.belljar("stop", "--time", "0", "kept")
        else:
            os.kill(process.pid, signal.SIGKILL)
        printed = process.communicate(timeout=60)[0].rpartition("\n")[0].splitlines()
        found = kept.run(AUDIT).stdout.split()
        assert found[:2] == ["ok", "8000"]
        assert printed
        assert int(printed[-1]) <= int(found[2]) <= int(printed[-1]) + 1


GIT = f"""
set -e
export PATH=/usr/bin:/bin GIT_CONFIG_NOSYSTEM=1
git init -q -b main one && cd one
git config user.email a@b && git config user.name n
for n in 1 2 3 4 5; do mkdir -p d$n; seq $((n * 400 * {LOAD})) > d$n/f; git add -A; git commit -qm "$n"; done
git checkout -q -b other HEAD~2 && echo change >> d1/f && git commit -qam change
git checkout -q main && git merge -q -m merge other && git mv d2 moved && git commit -qm moved
git gc -q --aggressive && git fsck --full --strict 2>/dev/null
git clone -q --no-hardlinks . ../two && cd ../two && git status --porcelain && git log --oneline | wc -l
"""


def test_git(kept: Enclosed) -> None:
    needs("git", "seq", "wc")
    kept.programs = ["sh", "git", "mkdir", "seq", "wc"]
    kept.mounts = [f"{{type: hashed, path: {place}, source: {place}}}" for place in (git_core(), "/usr/share/git-core")]
    kept.mounts.append(SHELL)
    kept.write()
    assert shell(kept, GIT).split() == ["8"]
    again = (
        "cd two && git fsck --full --strict 2>/dev/null && git pull -q && git ls-files | wc -l && git rev-parse HEAD"
    )
    count, head = shell(kept, again).split()
    assert (count, len(head)) == ("5", 40)


def git_core() -> str:
    return subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()


def wheel(folder: Path) -> Path:
    """Make a small wheel by hand: one module, one script."""
    made = folder / "greets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("greets.py", "def main():\n    print('greetings from a wheel')\n")
        place = "greets-1.0.dist-info"
        archive.writestr(f"{place}/METADATA", "Metadata-Version: 2.1\nName: greets\nVersion: 1.0\n")
        archive.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{place}/entry_points.txt", "[console_scripts]\ngreets = greets:main\n")
        names = ("METADATA", "WHEEL", "entry_points.txt")
        record = ["greets.py,,", *(f"{place}/{name},," for name in names), f"{place}/RECORD,,"]
        archive.writestr(f"{place}/RECORD", "\n".join(record) + "\n")
    return made


def test_pip_installs_into_a_venv(kept: Enclosed) -> None:
    if subprocess.run([PYTHON, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
        pytest.skip(f"{PYTHON} has no venv (Debian's package python3-venv)")
    kept.executable = True
    wheels = Path("/usr/share/python-wheels")
    if wheels.is_dir():  # Debian's ensurepip
        kept.mounts = [f"{{type: hashed, path: {wheels}, source: {wheels}}}"]
    kept.write()
    source = wheel(kept.belljar.folder)
    kept.belljar("volume", "put", "--key-file", "data.vol.key", "data.vol", str(source), "/")
    install = f"""
import subprocess, sys
subprocess.run([sys.executable, "-m", "venv", "env"], check=True)
pip = ["env/bin/python", "-m", "pip", "install", "-q", "--no-index", "--disable-pip-version-check", "{source.name}"]
subprocess.run(pip, check=True)
"""
    kept.run(install)
    assert kept.run("import os; os.execv('env/bin/greets', ['greets'])").stdout == "greetings from a wheel\n"


def test_tar_of_a_tree(kept: Enclosed) -> None:
    needs("tar", "diff")
    tree = sysconfig.get_path("stdlib") if LOAD > 1 else f"{sysconfig.get_path('stdlib')}/email"
    kept.programs = ["sh", "tar", "diff", "sync"]
    kept.mounts = [f"{{type: hashed, path: /tree, source: {tree}}}"]
    kept.write()
    shell(kept, "set -e; tar -C / -cf tree.tar tree; tar -xpf tree.tar; sync")
    compare = "diff -r /tree tree && tar -cf again.tar tree && tar --compare -f again.tar && echo same"
    assert shell(kept, compare) == "same\n"


POSTGRES_SERVER = """
import os, subprocess, sys
programs, what, seconds = sys.argv[1:]
settings = "-c unix_socket_directories=/tmp -c listen_addresses= -c shared_buffers=16MB"
def call(*words):
    done = subprocess.run([f"{programs}/{words[0]}", *words[1:]], stdout=subprocess.PIPE, stderr=2, text=True)
    assert done.returncode == 0, words
    return done.stdout
def ask(question):
    return call("psql", "-h", "/tmp", "-qtA", "-v", "ON_ERROR_STOP=1", "-c", question, "postgres").strip()
def control(*words):
    done = subprocess.run([f"{programs}/pg_ctl", "-D", "pg", "-w", "-l", "log", *words], stdout=2)
    assert done.returncode == 0, open("log").read()
if what == "begin":
    call("initdb", "-D", "pg", "-A", "trust", "--no-locale", "-E", "UTF8")
control("start", "-o", settings)
if what == "begin":
    call("pgbench", "-h", "/tmp", "-i", "-q", "-s", "1", "postgres")
    said = call("pgbench", "-h", "/tmp", "-n", "-c", "2", "-T", seconds, "postgres")
    print(said.split("actually processed: ")[1].split()[0].split("/")[0])
    print("ready", flush=True)
    call("pgbench", "-h", "/tmp", "-n", "-c", "2", "-T", "60", "postgres")
print(ask("select count(*) > 0 and sum(delta) = (select sum(bbalance) from pgbench_branches) "
          "and sum(delta) = (select sum(abalance) from pgbench_accounts) from pgbench_history"))
print(ask("select count(*) from pgbench_history"))
control("stop")
"""


def test_postgresql_recovers_after_a_kill(kept: Enclosed) -> None:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    folder = POSTGRES.parent
    names = ("initdb", "postgres", "pg_ctl", "pgbench", "psql")
    kept.programs = ["sh", "locale", *(str(folder / name) for name in names if (folder / name).exists())]
    share = f"/usr/share/postgresql/{folder.parent.name}"
    library = folder.parent / "lib"
    kept.mounts = [f"{{type: hashed, path: {place}, source: {place}}}" for place in (share, library)]
    kept.mounts.append(SHELL)
    kept.write()
    words = (str(folder), "begin", str(2 * LOAD))
    process = kept.belljar.start("run", "kept.yaml", "--", "-c", POSTGRES_SERVER, *words)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert process.stdout.readline() == "ready\n", first + process.communicate()[1]
    time.sleep(1)
    process.kill()
    process.communicate()
    consistent, transactions = kept.run(POSTGRES_SERVER, str(folder), "again", "0", timeout=300).stdout.split()
    assert consistent == "t"
    assert int(transactions) >= int(first) > 0


def test_fio_verifies_what_it_wrote(kept: Enclosed) -> None:
    needs("fio")
    kept.programs = ["sh", "fio"]
    kept.write()
    words = f"--size={8 * LOAD}m --verify=crc32c --do_verify=1 --verify_fatal=1 --end_fsync=1 --fsync=200 --thread"
    for engine in ("psync --rw=randwrite --bs=4k-70k", "mmap --rw=randwrite --bs=4k"):
        shell(kept, f"fio --name=job --ioengine={engine} {words} >&2")
    digest = "import hashlib; print(hashlib.sha256(open('job.0.0', 'rb').read()).hexdigest())"
    assert kept.run(digest).stdout == kept.run(digest).stdout


@pytest.mark.parametrize("seed", range(1, 1 + LOAD))
def test_random_access_to_a_file(kept: Enclosed, seed: int) -> None:
    tests = ROOT / "tests"
    kept.mounts = [
        f"{{type: hashed, path: /tests, source: {tests}, include: ['support/*.py', 'support/behaviour/*.py']}}"
    ]
    kept.mounts.append(f"{{type: hashed, path: /fs, source: {ROOT / 'fs'}, include: ['*.py']}}")
    kept.mounts.append(f"{{type: hashed, path: /libos, source: {ROOT / 'libos'}, include: ['*.py']}}")
    kept.lines = ["environment: {set: {PYTHONPATH: '/tests:/fs:/libos', HOME: /tmp}}"]
    kept.write()
    code = "import runpy, sys; sys.argv = ['fsx', *sys.argv[1:]]; runpy.run_module('support.fsx', run_name='__main__')"
    kept.run(code, "/data/file", str(seed), str(800 * LOAD), timeout=300)
    kept.run("assert open('file', 'rb').read() is not None")

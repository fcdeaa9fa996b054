"""The encrypted volume beside other encrypted file systems and the bare disk: `volume`.

Every way keeps its files in a folder of its own on the same disk. One program does the work; ours runs inside an
enclave, the others' beside their mount. What is read cold was written before the last mount, and as root the kernel's
caches are dropped, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .bench import PROGRAMS, Bench
from .peers import PYTHON, Peer
from .processes import family, pss_kib
from .rounds import Numbers, Table, interleave, told_inside

_PATIENCE_S = 20
_CONTAINER = "ours.vol"
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_GIT_CORE = Path("/usr/lib/git-core")
_MANIFEST = """\
belljar: 1
name: bench
extends: [minimal]
programs: [{programs}]
argv: ["{python}", /app/volume.py]
arguments: any
mounts:
  - {{type: hashed, path: /app, source: "{folder}/app"}}
{more}"""

TABLES = {
    "content": ("MB/s or per second", True, "write ≥ 3× gocryptfs, read ≥ 1.3×"),
    "small files": ("µs", False, "no more than gocryptfs"),
    "git": ("ms", False, "no more than gocryptfs"),
    "SQLite": ("transactions/s", True, "no less than gocryptfs"),
}
"""Table, as the program names it: unit, whether more is better, target."""


@dataclass(frozen=True, slots=True)
class Store:
    """Somewhere to keep files.

    Attributes:
        name: of the column.
        place: the folder, as the program sees it.
        command: what goes before the program's arguments.
        mounted: has it there while a block runs, and yields the processes that serve it.
    """

    name: str
    place: str
    command: tuple[str, ...]
    mounted: Callable[[], AbstractContextManager[Sequence[int]]]


def volume(bench: Bench) -> list[Table]:
    """Content, small files, git and SQLite on every store; then what a mount costs, by the number of files."""
    tables = {
        name: Table(f"encrypted volume: {name}", unit, target, more_is_better=more)
        for name, (unit, more, target) in TABLES.items()
    }
    scale = 2 if bench.small else 128
    for _ in range(1 if bench.small else bench.few(4)):
        with _new(bench) as (_, stores):
            for store in stores:
                for told, value in _worked(store, scale).items():
                    name, _, figure = told.partition(": ")
                    tables[name].add(store.name, {figure: value})
    mounts = Table("encrypted volume: mounting", "by row", "grows with what is used, not with what exists")
    counts = [20, 1_000] if bench.small else [1_000, 100_000]
    for count in [*counts, *([1_000_000] if bench.million else [])]:
        _mounting(bench, mounts, count)
    return [*(table for table in tables.values() if table.rows), mounts]


def _worked(store: Store, scale: int) -> Numbers:
    """Return what one round measured: written, and after another mount read."""
    found: Numbers = {}
    for phase in ("write", "read"):
        if phase == "read":
            os.sync()
            _drop_caches()
        with store.mounted():
            found |= told_inside(Peer(store.name, store.command), phase, store.place, f"{scale}")
    return found


def _mounting(bench: Bench, table: Table, count: int) -> None:
    with _new(bench) as (folder, stores):
        for store in stores:
            with store.mounted():
                told_inside(Peer(store.name, store.command), "fill", store.place, f"{count}")
        os.sync()
        ways: dict[str, Callable[[], Numbers]] = {store.name: partial(_looked, store, count) for store in stores}
        without = Store("belljar, no volume", "/data", _manifest(bench, folder, "bare.yaml", ""), _nothing_to_mount)
        ways[without.name] = partial(_looked, without, count, "idle")
        interleave(table, ways, bench.few(5))


def _looked(store: Store, count: int, *rest: str) -> Numbers:
    """Mount, ask for one file; return how long that took, and what the servers keep in memory then."""
    _drop_caches()
    started = time.perf_counter()
    with (
        store.mounted() as servers,
        subprocess.Popen(
            [*store.command, "look", store.place, *rest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        said = process.stdout.readline()
        took = (time.perf_counter() - started) * 1000
        assert said, f"{store.name} ended before it was ready"
        time.sleep(0.3)
        pids = [*servers, *family(process.pid)[:-1]]  # the last one is the program
        kept = sum(map(pss_kib, pids)) / 1024
        process.stdin.write("\n")
        process.stdin.close()
    return {f"{count:,} files: until one was asked for, ms": took, f"{count:,} files: servers' memory, MiB": kept}


def _drop_caches() -> None:
    if os.geteuid() == 0:
        with suppress(OSError):  # a container may not
            _DROP_CACHES.write_text("3")


@contextmanager
def _new(bench: Bench) -> Iterator[tuple[Path, list[Store]]]:
    """Yield a folder and every store there is to measure in it, new and empty; what is not installed is noted."""
    with tempfile.TemporaryDirectory(prefix="volumes-", dir=bench.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "key").write_bytes(os.urandom(64))
        (folder / "app").mkdir()
        program = folder / "app/volume.py"
        shutil.copyfile(PROGRAMS / "volume.py", program)
        stores = [_bare(folder, program), _ours(bench, folder)]
        for peer, make in (("gocryptfs", _gocryptfs), ("securefs", _securefs)):
            if bench.beside is not None and peer not in bench.beside:
                continue
            if shutil.which(peer) is None:
                bench.note(f"{peer} is left out: {peer} is not installed")
            elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
                bench.note(f"{peer} is left out: /dev/fuse cannot be opened")
            else:
                stores.append(make(folder, program))
        try:
            yield folder, stores
        finally:  # the anchor that the platform keeps goes with it
            subprocess.run(
                [bench.script, "volume", "destroy", "--yes", folder / _CONTAINER], capture_output=True, check=False
            )


@contextmanager
def _nothing_to_mount() -> Iterator[Sequence[int]]:
    yield ()


def _bare(folder: Path, program: Path) -> Store:
    place = folder / "disk"
    place.mkdir()
    return Store("disk", str(place), (PYTHON, str(program)), _nothing_to_mount)


def _ours(bench: Bench, folder: Path) -> Store:
    """Return a volume, mounted by the enclave that works on it."""
    container = folder / _CONTAINER
    key = f"{container}.key"
    shutil.copyfile(folder / "key", key)
    made = ("volume", "create", "--key-file", key, "--owner", "1000:1000", str(container))
    subprocess.run([bench.script, *made], check=True, capture_output=True)
    encrypted = f'  - {{type: encrypted, path: /data, source: "{container}", key: file}}\n'
    return Store("belljar", "/data", _manifest(bench, folder, "app.yaml", encrypted), _nothing_to_mount)


def _manifest(bench: Bench, folder: Path, name: str, more: str) -> tuple[str, ...]:
    """Write a manifest and return what runs it; git is in it where the host has it."""
    programs = [PYTHON]
    git = shutil.which("git")
    if git == "/usr/bin/git" and _GIT_CORE.is_dir():
        programs += [git, "/bin/sh"]
        more = f"  - {{type: hashed, path: {_GIT_CORE}, source: {_GIT_CORE}}}\n{more}"
    text = _MANIFEST.format(programs=", ".join(programs), python=PYTHON, folder=folder, more=more)
    (folder / name).write_text(text)
    return (str(bench.script), "run", str(folder / name), "--")


def _gocryptfs(folder: Path, program: Path) -> Store:
    cipher, place = folder / "gocryptfs", folder / "gocryptfs-mount"
    (folder / "pass").write_text("benchmark\n")
    words = ("-q", "-passfile", str(folder / "pass"))
    cipher.mkdir()
    place.mkdir()
    # Scrypt at its cheapest: what a passphrase costs is not what is measured, and our key file has no such cost.
    subprocess.run(["gocryptfs", "-init", "-scryptn", "10", *words, cipher], check=True, capture_output=True)
    server = ("gocryptfs", "-fg", *words, str(cipher), str(place))
    return _served("gocryptfs", server, place, program)


def _securefs(folder: Path, program: Path) -> Store:
    cipher, place = folder / "securefs", folder / "securefs-mount"
    cipher.mkdir()
    place.mkdir()
    key = ("--keyfile", str(folder / "key"))
    subprocess.run(["securefs", "create", *key, cipher], check=True, capture_output=True)
    return _served("securefs", ("securefs", "mount", *key, str(cipher), str(place)), place, program)


def _served(name: str, server: tuple[str, ...], place: Path, program: Path) -> Store:
    """Return a store that a server in the foreground mounts."""

    @contextmanager
    def mounted() -> Iterator[Sequence[int]]:
        with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _until(partial(os.path.ismount, place), f"{name} did not mount")
                yield (process.pid,)
            finally:
                _unmount(place)
                try:
                    process.wait(_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()

    return Store(name, str(place), (PYTHON, str(program)), mounted)


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.001)


def _unmount(place: Path) -> None:
    command = [*(("umount",) if os.geteuid() == 0 else ("fusermount", "-u")), str(place)]
    for _ in range(_PATIENCE_S):
        if not os.path.ismount(place) or not subprocess.run(command, check=False, capture_output=True).returncode:
            return
        time.sleep(1)  # busy
    raise TimeoutError(f"{place} cannot be unmounted")

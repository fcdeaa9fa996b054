"""Fetch Debian's python3.11 with its test package, and lay it out below a folder, without installing anything.

In comes an empty folder; out comes a `Packages`, whose interpreter finds its standard library and its tests beside
itself. Every part is of one version. What Debian's test package leaves out (test_sqlite3) comes from Debian's source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

NAMES = (
    "python3.11",
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libpython3.11-testsuite",
)
_LIBRARY = "usr/lib/python3.11"
_ONLY_IN_SOURCE = "test_sqlite3"
_SOURCES = "deb-src http://deb.debian.org/debian bookworm main\n"
_PATIENCE_S = 300


class PackagesMissing(Exception):
    """The packages cannot be had on this machine; says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """Debian's Python below a folder.

    Attributes:
        root: what would be `/` if the packages were installed.
    """

    root: Path

    @property
    def programs(self) -> Path:
        """The folder of the interpreter."""
        return self.root / "usr/bin"

    @property
    def library(self) -> Path:
        """The standard library, with the tests in it."""
        return self.root / _LIBRARY

    def has(self, module: str) -> bool:
        """Say whether a module of tests is there."""
        tests = self.library / "test"
        return (tests / f"{module}.py").exists() or (tests / module).is_dir()


def fetch(folder: Path, *, with_source: bool) -> Packages:
    """Return the packages below `folder`, fetched there unless an earlier call did.

    Args:
        folder: where to; the enclave must not cover it with scratch space, so nowhere below /tmp.
        with_source: also what only Debian's source has, 26 MB.

    Raises:
        PackagesMissing: this is no Debian 12, or its archive cannot be reached.
    """
    packages = Packages(root=folder / "root")
    if not packages.has("test_os"):
        unpacked = folder / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was interrupted
        for archive in _download(folder / "download"):
            _run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
        (unpacked / "usr/bin/python3").symlink_to("python3.11")  # the name that `${python}` is looked up by
        unpacked.rename(packages.root)
    if with_source and not packages.has(_ONLY_IN_SOURCE):
        _add_from_source(packages, folder / "source")
    # Compiled once, here: the ordinary user of the one side and the enclave of the other may not write beside them.
    interpreter = str(packages.programs / "python3")
    command = [interpreter, "-m", "compileall", "-q", "-x", "lib2to3/tests|test/bad|test/test_lib2to3"]
    subprocess.run([*command, str(packages.library)], check=False, capture_output=True)
    return packages


def _download(folder: Path) -> list[Path]:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise PackagesMissing(f"no {tool}: CPython's tests are taken from Debian's packages")
    folder.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "-q", *_as_ourselves(), "download", *NAMES], folder=folder)
    return sorted(folder.glob("*.deb"))


def _as_ourselves() -> list[str]:
    """Return options that keep apt from becoming its own user, who may not write to a folder of ours."""
    return ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []


def _add_from_source(packages: Packages, folder: Path) -> None:
    """Take the modules that the test package lacks from the source package, with apt's state in a folder of ours."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(_SOURCES)
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    apt = ["apt-get", "-q", *options, *_as_ourselves()]
    _run([*apt, "update"], folder=folder)
    _run([*apt, "source", "--download-only", "--tar-only", "python3.11"], folder=folder)
    (archive,) = folder.glob("python3.11_*.orig.tar.*")
    target = packages.library / "test" / _ONLY_IN_SOURCE
    target.mkdir()
    with tarfile.open(archive) as source:
        for member in source:
            content = source.extractfile(member)
            if content is not None and Path(member.name).parent.as_posix().endswith(f"/Lib/test/{_ONLY_IN_SOURCE}"):
                (target / Path(member.name).name).write_bytes(content.read())


def _run(command: list[str], *, folder: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        raise PackagesMissing(f"{' '.join(command[:1])}: {' '.join(last)}") from error
    except subprocess.TimeoutExpired as error:
        raise PackagesMissing(f"{command[0]}: no answer in {_PATIENCE_S} s") from error

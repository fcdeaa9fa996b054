"""A volume on the host, and enclaves that have it mounted at /data."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .running import PYTHON, Belljar
from .users import ORDINARY_ID

PASSPHRASE = "correct horse battery 2952"  # noqa: S105 - of volumes that tests make


@dataclass
class Enclosed:
    """A container and the manifest of an enclave that has it.

    Attributes:
        belljar: runs belljar.
        container: on the host, made by `create`.
        key: passphrase, file or ephemeral.
        size: limit, as a manifest says it.
        programs: of the host, that come with.
        mounts: more lines of the manifest's mounts.
        lines: more lines of the manifest.
        executable: whether what is in the volume may be run.
    """

    belljar: Belljar
    container: Path
    key: str = "file"
    size: str = "64MiB"
    programs: list[str] = field(default_factory=list[str])
    mounts: list[str] = field(default_factory=list[str])
    lines: list[str] = field(default_factory=list[str])
    executable: bool = False

    @property
    def secret(self) -> Path:
        """The file that holds what opens the container."""
        return Path(f"{self.container}.key" if self.key == "file" else f"{self.container}.words")

    def create(self) -> Enclosed:
        """Make what opens it, the empty container and the manifest."""
        self.belljar.environment["XDG_STATE_HOME"] = str(self.belljar.folder / "state")
        if self.key == "passphrase":
            self.secret.write_text(PASSPHRASE + "\n")
            self.belljar.environment["BELLJAR_PASSPHRASE_FILE"] = str(self.secret)
        else:
            self.secret.write_bytes(os.urandom(64))
        how = "--passphrase-file" if self.key == "passphrase" else "--key-file"
        self._give(self.secret)
        self.belljar("volume", "create", how, str(self.secret), str(self.container))
        self.write()
        return self

    def write(self) -> str:
        """Write the manifest, and return its name."""
        runs = ", insecure_executable: true" if self.executable else ""
        mount = f"type: encrypted, path: /data, source: {self.container}, key: {self.key}, size: {self.size}{runs}"
        text = [
            "belljar: 1", "name: kept", "extends: [minimal]", f"argv: [{PYTHON}]", "arguments: any",
            f"programs: [{', '.join([PYTHON, *self.programs])}]",
            "working_directory: /data", *self.lines, "mounts:", f"  - {{{mount}}}", *(f"  - {m}" for m in self.mounts),
        ]  # fmt: skip
        path = self.belljar.folder / "kept.yaml"
        path.write_text("\n".join(text) + "\n")
        self._give(path)
        return path.name

    def _give(self, path: Path) -> None:
        if self.belljar.prefix and os.geteuid() == 0:
            os.chown(path, ORDINARY_ID, ORDINARY_ID)

    def run(
        self, code: str, *arguments: str, check: int | None = 0, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in an enclave, in the volume."""
        return self.belljar("run", "kept.yaml", "--", "-c", code, *arguments, check=check, timeout=timeout)

    def start(self, code: str, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """Start Python code in an enclave; return when it has said `ready`."""
        process = self.belljar.start("run", "kept.yaml", "--", "-c", code, *arguments, stdin=stdin)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "ready\n", line + process.communicate()[1]
        return process


def missing(programs: Iterable[str]) -> str:
    """Return which of some programs are not installed."""
    return ", ".join(name for name in programs if not shutil.which(name))

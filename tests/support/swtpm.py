"""A real software TPM (Debian's swtpm) for one test, in a folder of its own, and stopped with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.running import has

needs_swtpm = pytest.mark.skipif(not has("swtpm"), reason="swtpm is not installed: apt-get install swtpm")


class Swtpm:
    """A software TPM that can be stopped, killed and started again on the same state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix:{self.folder}/s"

    @property
    def tcti(self) -> str:
        """For tpm2-tools."""
        return f"swtpm:path={self.folder}/s"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--server",
                f"type=unixio,path={self.folder}/s", "--ctrl", f"type=unixio,path={self.folder}/s.ctrl",
                "--flags", "not-need-init",
            ]
        )  # fmt: skip
        for _ in range(500):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(f"{self.folder}/s") == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("swtpm does not start")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=20)
            self._process = None
        for name in ("s", "s.ctrl"):
            (self.folder / name).unlink(missing_ok=True)


@contextmanager
def swtpm() -> Iterator[Swtpm]:
    """Run a software TPM; its socket's path is short, as sockets want."""
    with tempfile.TemporaryDirectory(prefix="swtpm", dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        made = Swtpm(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()

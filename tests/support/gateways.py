"""Enclaves with a gateway: written, started, asked where they listen, and ended."""

from __future__ import annotations

import json
import socket
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from belljar.attestation.channel import Channel, Terms, appraises_by, connect
from belljar.attestation.verifier import load_policy

from .running import PYTHON, Belljar

ECHO = """
import socket, threading

listener = socket.create_server(("127.0.0.1", 8080))

def serve(connection):
    try:
        with connection:
            while content := connection.recv(65536):
                connection.sendall(content)
    except OSError:  # cut: nobody reads what would be printed of it
        pass

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
"""A server that knows nothing of any of this."""

_PATIENCE_S = 30.0


def with_platform(belljar: Belljar) -> Belljar:
    """Give belljar a state folder with a soft platform, made once for all tests of a user."""
    belljar.environment["XDG_STATE_HOME"] = f"{belljar.cache}/state"
    if not _root_file(belljar).exists():
        belljar("platform", "init")
        _root_file(belljar).write_text(json.loads(belljar("platform", "show", "--json").stdout)["root"])
    return belljar


def _root_file(belljar: Belljar) -> Path:
    return belljar.cache / "root-of-tests"


def policy_of(belljar: Belljar, *measurements: str, more: str = "") -> str:
    """Return a policy that takes some enclaves on this platform, over channels.

    Args:
        belljar: whose platform.
        measurements: of the enclaves, in hexadecimal; none takes any enclave of the platform.
        more: lines of YAML.
    """
    root = _root_file(belljar).read_text()
    rules = "".join(f"  - measurement: {measurement}\n" for measurement in measurements)
    code = f"code:\n{rules}" if measurements else "insecure_skip_code: true\n"
    return (
        f'version: 1\ntees: [soft]\nroots: {{soft: ["{root}"]}}\n{code}nonce: required\npurpose: [channel]\n'
        "provider: any\ninsecure_skip_data_consistency: true\ninsecure_skip_task: true\n"
        f"insecure_skip_revocation: true\ninsecure_allow_simulated: true\n{more}"
    )


def certificate_policy_of(belljar: Belljar, *measurements: str) -> str:
    """Return a policy that takes some enclaves on this platform by certificates alone (RA-TLS)."""
    fresh, used = "nonce: required\n", "purpose: [channel]\n"
    text = policy_of(belljar, *measurements)
    return text.replace(fresh, "insecure_skip_freshness: true\n").replace(used, "insecure_skip_purpose: true\n")


def measured(belljar: Belljar, name: str) -> str:
    """Return the measurement of a manifest, in hexadecimal."""
    return belljar("measure", f"{name}.yaml").stdout.strip().removeprefix("sha256:")


@dataclass
class Enclave:
    """An enclave that runs, with a gateway.

    Attributes:
        belljar: runs it.
        name: of the manifest and of the run.
        process: its supervisor.
    """

    belljar: Belljar
    name: str
    process: subprocess.Popen[str]
    said: str = ""

    def ask(self, what: str) -> dict[str, Any]:
        """Ask its supervisor, without the cost of a command."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as desk:
            desk.connect(f"{self.belljar.environ()['BELLJAR_RUNTIME_DIR']}/{self.name}/control")
            desk.sendall(json.dumps({"do": what}).encode())
            found: dict[str, Any] = json.loads(desk.recv(1 << 17))
        return found

    def stats(self) -> dict[str, Any]:
        """Return what the gateway counts."""
        gateway: dict[str, Any] = self.ask("stats")["gateway"]
        return gateway

    def counted(self, name: str, count: int) -> int:
        """Return what the gateway counts of something, once that is so much: who is cut may know it first."""
        until = time.monotonic() + _PATIENCE_S
        while (found := int(self.stats()[name])) < count and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def ended(self) -> dict[str, Any]:
        """Return what the gateway counts, once no connection is open any more."""
        until = time.monotonic() + _PATIENCE_S
        while (found := self.stats())["open"] and time.monotonic() < until:
            time.sleep(0.02)
        assert not found["open"], found
        return found

    def policy(self) -> str:
        """Return a policy that takes this enclave and no other."""
        return policy_of(self.belljar, self.ask("status")["measurement"].removeprefix("sha256:"))

    def port(self, number: int = 0) -> int:
        """Return a port it listens at."""
        return int(self.stats()["listening"][number].rpartition(":")[2])

    def connect(self, policy: str | None = None, number: int = 0, **more: Any) -> Channel:
        """Return a channel to it; by default it must be this enclave."""
        terms = Terms(appraises=appraises_by(load_policy(policy or self.policy())), **more)
        return connect(("127.0.0.1", self.port(number)), terms=terms)

    def end(self) -> tuple[str, str]:
        """End it, and return what was printed and said."""
        self.process.terminate()
        printed, self.said = self.process.communicate(timeout=60)
        return printed, self.said


@dataclass
class Written:
    """A manifest that a test writes.

    Attributes:
        belljar: whose folder it is in.
        name: of the enclave.
        program: Python that runs in it.
        network: lines of YAML below `network`.
        more: lines of YAML at the top.
        arguments: of the program.
        programs: that come along.
        mounts: more of them, as YAML.
    """

    belljar: Belljar
    name: str
    program: str = ECHO
    network: str = ""
    more: str = ""
    arguments: list[str] = field(default_factory=list[str])
    programs: list[str] = field(default_factory=list[str])
    mounts: list[str] = field(default_factory=list[str])
    ending: ClassVar[str] = ".yaml"

    def write(self) -> Written:
        """Write manifest and program."""
        folder = self.belljar.folder / f"{self.name}-app"
        folder.mkdir(exist_ok=True)
        (folder / "run.py").write_text(textwrap.dedent(self.program))
        network = textwrap.indent(textwrap.dedent(self.network).strip(), "  ")
        mounts = "".join(f"  - {mount}\n" for mount in self.mounts)
        argv = json.dumps([PYTHON, "-S", "-E", "/app/run.py", *self.arguments])
        (self.belljar.folder / f"{self.name}.yaml").write_text(
            f"belljar: 1\nname: {self.name}\nextends: [minimal]\nprograms: {json.dumps([PYTHON, *self.programs])}\n"
            f"argv: {argv}\nmounts:\n  - {{type: hashed, path: /app, source: {self.name}-app}}\n{mounts}"
            f"{'network:' if network else ''}\n{network}\n{textwrap.dedent(self.more)}"
        )
        return self

    def run(self, *words: str, check: int | None = 0, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run it to the end."""
        return self.belljar("run", *words, f"{self.name}.yaml", check=check, timeout=timeout)

    @contextmanager
    def running(self, *words: str, name: str = "") -> Iterator[Enclave]:
        """Run it until the block ends, under its own name or another one."""
        process = self.belljar.start("run", *words, "--name", name or self.name, f"{self.name}{self.ending}")
        enclave = Enclave(self.belljar, name or self.name, process)
        try:
            _await_start(enclave)
            yield enclave
        finally:
            if process.poll() is None:
                process.terminate()
            if not enclave.said:
                _, enclave.said = process.communicate(timeout=60)


def _await_start(enclave: Enclave) -> None:
    """Wait until the program runs.

    Raises:
        RuntimeError: it ended instead; with what it said.
    """
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if enclave.process.poll() is not None:
            raise RuntimeError("\n".join(enclave.process.communicate()))
        try:
            if enclave.ask("status")["state"] == "running":
                return
        except OSError:  # not yet
            pass
        time.sleep(0.02)
    raise RuntimeError(f"{enclave.name} did not start")

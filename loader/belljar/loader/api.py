"""Door of this house to Python programs: create an enclave, measure it, invoke it, look after it, destroy it (5.1.3).

    with Enclave("app.yaml") as enclave:
        print(enclave.measurement.hex())
        result = enclave.invoke("--verbose", stdin=b"3 4")
        print(result.value, result.stdout)

The supervisor of every invocation is a process of its own, the same that `belljar run` is, because it must have one
thread and no memory but its own. Nothing that is started outlives the `with` block.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Self

from belljar.libos.lifecycle import statuses

from .commands.errors import loader_errors
from .errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["Enclave", "Invocation", "LoaderError", "Refused", "Result"]

_GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something a program asked for and did not get.

    Attributes:
        kind: "system-call"; "path": a file that the host has and the enclave has not; or of the network "name" that was
            looked up, "server" that TLS was to reach behind another name, "address" that is not of the public Internet.
        what: name of the system call, guest path, or name of a host.
        count: how often.
        program: name of the process that asked first, as far as it is known.
        host: path on the host; empty for all but paths.
    """

    kind: str
    what: str
    count: int
    program: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an invocation ended.

    Attributes:
        value: what the program returned: its exit code; 128 plus the number if a signal ended it.
        reason: "exit", "signal", "time-limit", "memory-limit", "integrity", "stopped", "killed" or "supervisor".
        stdout: what it wrote, if that was captured.
        stderr: what it and belljar wrote, if that was captured.
        notes: what a person should know.
        refused: what it asked for and did not get.
    """

    value: int
    reason: str
    stdout: bytes
    stderr: bytes
    notes: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


class Invocation:
    """A program that runs in an enclave.

    Attributes:
        name: what the run is called: for `belljar ps`, `logs`, `exec`; known when it has started.
        process: the supervisor; its streams are the program's.
    """

    def __init__(self, process: subprocess.Popen[bytes], result: IO[bytes]) -> None:
        self.process = process
        self._result = result

    def wait(self, stdin: bytes | None = None, timeout_s: float | None = None) -> Result:
        """Wait until the program has ended.

        Args:
            stdin: written to its standard input, if that is a pipe.
            timeout_s: after so many seconds it is ended by force.

        Raises:
            TimeoutError: it was ended by force.
            LoaderError: it never ran, and why.
        """
        try:
            stdout, stderr = self.process.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise TimeoutError(f"the program did not end within {timeout_s:g} s, and was ended") from None
        self._result.seek(0)
        told = self._result.read()
        self._result.close()
        if not told:
            said = (stderr or b"").decode(errors="replace").strip()
            raise LoaderError(said.removeprefix("belljar: error: ") or f"exit code {self.process.returncode}")
        fields: dict[str, Any] = json.loads(told)
        return Result(
            value=fields["exit_code"],
            reason=fields["reason"],
            stdout=stdout or b"",
            stderr=stderr or b"",
            notes=tuple(fields["notes"]),
            refused=tuple(Refused(**row) for row in fields["refused"]),
        )

    def stop(self) -> None:
        """Ask the program to end (SIGTERM)."""
        if self.process.poll() is None:
            self.process.terminate()

    def destroy(self) -> None:
        """End the enclave by force, and everything it holds: its memory, scratch files and processes are gone."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr, self._result):
            if stream is not None:
                stream.close()


@dataclass
class Enclave:
    """An enclave that programs of this process can be invoked in. Not safe for several threads.

    Args:
        manifest: path of a manifest or bundle; or else
        command: program and arguments, for which a manifest is derived.
        folder: working directory: what paths are relative to, and what a command brings in.

    Raises:
        LoaderError: neither or both were given.
    """

    manifest: str | os.PathLike[str] | None = None
    command: Sequence[str] = ()
    folder: str | os.PathLike[str] | None = None
    _running: list[Invocation] = field(default_factory=list[Invocation], init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.manifest is None) == (not self.command):
            raise LoaderError("an enclave is made from a manifest or from a command: expected one of them")

    @property
    def measurement(self) -> bytes:
        """The identity of the enclave, 32 bytes. Looks at every file, as `belljar measure` does.

        Raises:
            LoaderError: it cannot be measured.
        """
        command = [*self._belljar("measure"), *self._target()]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)  # noqa: S603 - as below
        if done.returncode:
            raise LoaderError(done.stderr.decode(errors="replace").strip().removeprefix("belljar: error: "))
        return bytes.fromhex(done.stdout.decode().strip().removeprefix("sha256:"))

    def start(self, *arguments: str, name: str | None = None, capture: bool = True) -> Invocation:
        """Start the program, and return while it runs.

        Args:
            arguments: added to those of the manifest, as far as it allows.
            name: what the run is called, unique among running enclaves.
            capture: whether its streams are pipes, or those of this process.
        """
        stream = subprocess.PIPE if capture else None
        result = os.memfd_create("belljar-result", os.MFD_CLOEXEC)  # not a pipe: it could fill before anybody reads
        named = ["--name", name] if name is not None else []
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
                [*self._belljar("run"), *named, "--result", str(result), *self._target(), *arguments],
                cwd=self.folder,
                stdin=stream,
                stdout=stream,
                stderr=stream,
                pass_fds=[result],
            )
        except BaseException:
            os.close(result)
            raise
        invocation = Invocation(process, os.fdopen(result, "rb"))
        self._running.append(invocation)
        return invocation

    def invoke(self, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> Result:
        """Run the program to its end, and return what it gave back.

        Raises:
            TimeoutError: it did not end in time, and was ended.
            LoaderError: it never ran, and why.
        """
        return self.start(*arguments).wait(stdin, timeout_s)

    def destroy(self) -> None:
        """End everything that was started and still runs."""
        for invocation in self._running:
            invocation.destroy()
        self._running = []

    def __enter__(self) -> Self:
        """Return the enclave."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started."""
        self.destroy()

    def _belljar(self, command: str) -> list[str]:
        return [sys.executable, "-P", "-m", "belljar.loader.cli", command]

    def _target(self) -> list[str]:
        return ["--", *self.command] if self.manifest is None else [os.fspath(self.manifest)]


def running() -> list[dict[str, object]]:
    """Return what `belljar ps --all --json` prints: every run of this user.

    Raises:
        LoaderError: it cannot be found out.
    """
    with loader_errors():
        return statuses()

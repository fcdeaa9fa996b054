"""Serve the guest's file systems: the hashed root and the generated files, each from threads of the supervisor.

In come the specification and the two /dev/fuse descriptors; out go replies. A host file that is not what was measured,
and a server that fails, become events; the supervisor decides what they mean.
"""

from __future__ import annotations

import os
from _thread import start_new_thread

from belljar.fs.serving import (
    Index,
    IntegrityViolation,
    Session,
    Source,
    Tree,
    generated_operations,
    tree_operations,
)
from belljar.libos.errors import SandboxUnavailable
from belljar.libos.plan.build import RESERVED_DIRECTORIES
from belljar.libos.synthetic.etc import etc_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.serving import Operations
    from belljar.libos.spec import EnclaveSpec

_ROOT_THREADS = 2  # one verifies while the other answers: hashing releases the interpreter's lock
_LINKS = {"/etc/mtab": "/proc/self/mounts"}


class GuestFiles:
    """The file servers of one enclave.

    Args:
        spec: what the guest shall see.
        generated: files made when they are opened, by path below the generated root.
        on_violation: told of a host file that is not what was measured.
        on_failure: told when a server fails; no request is answered after that.

    Raises:
        belljar.fs.serving.FsError: an index is not the measured one.
        SandboxUnavailable: a source cannot be opened.
    """

    def __init__(
        self,
        spec: EnclaveSpec,
        generated: dict[str, Callable[[], bytes]],
        *,
        on_violation: Callable[[IntegrityViolation], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._on_violation = on_violation
        self._on_failure = on_failure
        self._devices: list[int] = []
        self._sources: list[Source] = []
        try:
            for mount in spec.hashed:
                self._sources.append(_source(mount.index_path, mount.index_digest, mount.source, mount.path))
            self._tree = _tree(spec, self._sources)
        except BaseException:
            self.close()
            raise
        self._generated = generated

    def serve(self, root: int, generated: int) -> None:
        """Start answering on two mounted /dev/fuse descriptors, which belong to this object from here on."""
        self._devices = [root, generated]
        self._start(root, tree_operations(self._tree), _ROOT_THREADS)
        self._start(generated, generated_operations({**self._generated, "empty/.keep": bytes}), 1)

    def _start(self, device: int, operations: Operations, threads: int) -> None:
        session = Session(device, operations, on_violation=self._on_violation, on_failure=self._on_failure)

        def run() -> None:
            try:
                session.serve()
            except BaseException as failure:  # noqa: BLE001 - a silent end would leave the guest waiting for ever
                self._on_failure(failure)

        for _ in range(threads):
            start_new_thread(run, ())

    def close(self) -> None:
        """Abort both connections and release every descriptor; the guest must be gone, or gets errors."""
        for device in self._devices:
            os.close(device)
        self._devices = []
        for source in self._sources:
            source.close()
        self._sources = []


def _source(index_path: str, digest: bytes, host: str, guest: str) -> Source:
    try:
        index = Index(os.open(index_path, os.O_RDONLY | os.O_CLOEXEC), digest)
        return Source(index, os.fsencode(host), guest)
    except OSError as error:
        raise SandboxUnavailable(f"cannot open {os.fsdecode(error.filename or host)}: {error.strerror}") from error


def _tree(spec: EnclaveSpec, sources: list[Source]) -> Tree:
    files = etc_files(spec, resolv_conf=_resolv_conf() if spec.host_network else b"")
    directories = [*RESERVED_DIRECTORIES, spec.working_directory, spec.user.home]
    directories += [mount.path for mount in spec.scratch]
    for mount in spec.host:
        if os.path.isdir(mount.source):
            directories.append(mount.path)
        else:
            files[mount.path] = b""
    mounts = [(mount.path, source) for mount, source in zip(spec.hashed, sources, strict=True)]
    return Tree(mounts, directories=directories, files=files, links=_LINKS)


def _resolv_conf() -> bytes:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""

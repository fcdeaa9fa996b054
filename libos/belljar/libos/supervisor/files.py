"""Serve the guest's file systems: the hashed root and the generated files, each from threads of the supervisor.

In come the specification and the two /dev/fuse descriptors; out go replies. A host file that is not what was measured,
and a server that fails, become events; the supervisor decides what they mean.
"""

from __future__ import annotations

import os
from _thread import get_native_id, start_new_thread

from belljar.fs.serving import (
    FsError,
    Index,
    ReadAhead,
    Session,
    Source,
    Tree,
    Usage,
    generated_operations,
    tree_operations,
)
from belljar.libos.errors import SandboxUnavailable
from belljar.libos.plan.build import RESERVED_DIRECTORIES
from belljar.libos.synthetic.etc import etc_files

from .pagecache import tune_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.fs.pseudo import PseudoFolder
    from belljar.fs.serving import Operations, Warmup
    from belljar.libos.spec import EnclaveSpec, HashedMount

_LINKS = {"/etc/mtab": "/proc/self/mounts"}


class GuestFiles:
    """The file servers of one enclave.

    Args:
        spec: what the guest shall see.
        generated: files made when they are opened, by path below the generated root.
        warmup: what the last run used.
        on_violation: told of a host file that is not what was measured.
        on_failure: told when a server fails; no request is answered after that.
        evidence: the guest's files for evidence, if it has any.

    Raises:
        SandboxUnavailable: a source cannot be opened, an index is not the measured one, or mounts are in conflict.
    """

    def __init__(
        self,
        spec: EnclaveSpec,
        generated: dict[str, Callable[[], bytes]],
        warmup: Warmup,
        *,
        on_violation: Callable[[FsError], None],
        on_failure: Callable[[BaseException], None],
        evidence: PseudoFolder | None = None,
    ) -> None:
        self._spec = spec
        self._evidence = evidence
        self._evidence_device = -1
        self._others = [
            *RESERVED_DIRECTORIES,
            *(m.path for m in spec.scratch),
            *(m.path for m in spec.host),
            *(m.path for m in spec.volumes),
        ]
        self._on_violation = on_violation
        self._on_failure = on_failure
        self._devices: list[int] = []
        self._sources: list[Source] = []
        self._usage = Usage()
        self._pinned: list[int] = []
        self._root: Session | None = None
        self._ahead = ReadAhead([], (), self._usage)
        try:
            for mount in spec.hashed:
                self._sources.append(_source(mount.index_path, mount.index_digest, mount.source, mount.path))
            self._tree = _tree(spec, self._sources)
        except FsError as error:
            self.close()
            raise SandboxUnavailable(str(error), hint="run again with --fresh") from error
        except BaseException:
            self.close()
            raise
        self._generated = generated
        self._ahead = ReadAhead(self._sources, warmup[2], self._usage)

    def serve(self, root: int, generated: int, *, init: int, cpu: int) -> None:
        """Start answering on two mounted /dev/fuse descriptors, which belong to this object from here on.

        Args:
            root: of the hashed tree.
            generated: of the generated files.
            init: host pid of the enclave's init, which has mounted both.
            cpu: the CPU to share with the guest's side until `spread`.
        """
        self._devices = [root, generated]
        tune_cache(init, "fuse.belljar")
        self._ahead.pause()
        self._root = self._session(root, tree_operations(self._tree, self._usage))
        self._start(self._root, cpu)
        self._start(self._session(generated, generated_operations({**self._generated, "empty/.keep": bytes})), cpu)

    def take_attestation(self, device: int) -> None:
        """Own the /dev/fuse of the files for evidence."""
        self._evidence_device = device

    def serve_attestation(self) -> None:
        """Start answering for the files for evidence, which are mounted now; one thread, when somebody asks."""
        from belljar.fs.pseudo import FEATURES, MAX_READ, pseudo_operations

        if self._evidence is None:  # then the plan mounts none
            return
        operations = pseudo_operations(self._evidence, owner=(self._spec.user.uid, self._spec.user.gid))
        session = Session(
            self._evidence_device,
            operations,
            on_violation=self._on_violation,
            on_failure=self._on_failure,
            max_read=MAX_READ,
            writable=FEATURES,
        )
        self._start(session, None)

    def spread(self, *, everything: bool) -> None:
        """Store what was read ahead, and use every CPU: one thread verifies while another answers.

        Call when setup is over, and before a program runs: see `ReadAhead`.

        Args:
            everything: whether there is time to store all of it.
        """
        everywhere = os.sched_getaffinity(0)
        for thread in self._pinned:
            try:
                os.sched_setaffinity(thread, everywhere)
            except ProcessLookupError:  # its connection has ended; the guest's side will say why
                pass
        if self._root is not None:
            self._ahead.store(self._root.device, everything=everything)
            self._start(self._root, None)

    def warmup(self) -> Warmup:
        """Return what the guest used, for the next run."""
        return self._usage.warmup(self._tree)

    def missing(self) -> list[tuple[str, str]]:
        """Return (guest path, host path) of what was looked for, is not in the tree, and does exist on the host.

        That is where the mount around it would have it from; a place of generated files or scratch mounts is none.
        """
        found: list[tuple[str, str]] = []
        for path in self._usage.missing(self._tree):
            mount = max((m for m in self._spec.hashed if _lies_in(path, m.path)), key=_length_of_path, default=None)
            if mount is None or any(_lies_in(path, other) for other in self._others):
                continue
            below = path[len(mount.path) :].lstrip("/")
            host = os.path.join(mount.source, below) if below else mount.source
            if os.path.lexists(host):
                found.append((path, host))
        return found

    def opened(self) -> dict[str, tuple[int, int, int, int, int]]:
        """Return host path -> stamp of every file that was read."""
        return {path: stamp for source in self._sources for path, stamp in source.opened.items()}

    def _session(self, device: int, operations: Operations) -> Session:
        return Session(device, operations, on_violation=self._on_violation, on_failure=self._on_failure)

    def _start(self, session: Session, cpu: int | None) -> None:
        def run() -> None:
            try:
                if cpu is not None:
                    self._pinned.append(get_native_id())
                    os.sched_setaffinity(0, {cpu})
                session.serve()
            except BaseException as failure:  # noqa: BLE001 - a silent end would leave the guest waiting for ever
                self._on_failure(failure)

        start_new_thread(run, ())

    def close(self) -> None:
        """Abort both connections and release every descriptor; the guest must be gone, or gets errors."""
        self._ahead.close()
        for device in self._devices:
            os.close(device)
        self._devices = []
        if self._evidence_device >= 0:
            os.close(self._evidence_device)
            self._evidence_device = -1
        for source in self._sources:
            source.close()
        self._sources = []


def _lies_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _length_of_path(mount: HashedMount) -> int:
    return len(mount.path)


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
    directories += [mount.path for mount in spec.volumes]
    for mount in spec.host:
        if os.path.isdir(mount.source):
            directories.append(mount.path)
        else:
            files[mount.path] = b""
    for measured in spec.hashed:  # comes before what we would make
        files.pop(measured.path, None)
    mounts = [(mount.path, source) for mount, source in zip(spec.hashed, sources, strict=True)]
    return Tree(mounts, directories=directories, files=files, links=_LINKS)


def _resolv_conf() -> bytes:
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""

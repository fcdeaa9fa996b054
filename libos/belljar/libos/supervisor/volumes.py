"""Open the encrypted volumes of an enclave and serve them, until everything the guest wrote is durable.

In come the specification, what opens each volume, and /dev/fuse descriptors; out go replies. Keys exist here only,
after the guest's side was forked. The kernel holds written pages back until the mount ends, so `close` waits for that,
then commits; what could not be kept is told. IEEE 2952 5.2.1.2, 7.5 e.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread

from belljar.fs.mounting import (
    Anchored,
    Changes,
    FileContainer,
    FsError,
    VolumeCorrupt,
    VolumeRefused,
    WritableServer,
    format_volume,
    open_volume,
    unlock,
)
from belljar.libos.errors import SandboxUnavailable
from belljar.libos.identity.anchors import volume_anchor

from .pagecache import tune_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

    from belljar.fs.mounting import Anchor, Credential, Volume
    from belljar.libos.spec import EnclaveSpec, VolumeMount

    Keys = Callable[[VolumeMount], Credential]
    """What opens a volume: asked once for each that is not ephemeral, after the guest's side was forked."""

_EPHEMERAL = "ephemeral"
_THREADS = 2  # measured: one is slower, four are not faster
_TICK_S = 5.0  # written and not yet asked to be durable: as long as ext4 keeps it
_PATIENCE_S = 60.0  # for the last pages, after the last process has ended
_ROOT_INO = 1
_MAY_WRITE_BACK_PERCENT = 100  # of what the kernel keeps unwritten; 1 by default, for servers it does not trust


class _FleetingContainer(FileContainer):
    """The container of a volume that ends with its run, whatever its end: nothing is to be made durable."""

    def sync(self) -> None:
        """Nothing that a crash leaves could ever be opened."""


class _RunAnchor:
    """The anchor of a volume that nobody will ever open again."""

    def __init__(self) -> None:
        self._anchored: dict[bytes, Anchored] = {}

    def read(self, volume_id: bytes) -> Anchored | None:
        """Return the newest state."""
        return self._anchored.get(volume_id)

    def advance(self, volume_id: bytes, anchored: Anchored) -> None:
        """Remember the newest state."""
        self._anchored[volume_id] = anchored

    def settle(self, volume_id: bytes) -> None:
        """There is nothing to wait for."""


class _Served:
    """One volume, open."""

    def __init__(self, mount: VolumeMount, container: FileContainer, volume_id: bytes, volume: Volume) -> None:
        self.mount = mount
        self.volume_id = volume_id
        self.container = container
        self.volume = volume
        self.device = -1
        self.server: WritableServer | None = None
        self.threads: list[LockType] = []


class GuestVolumes:
    """The volumes of one enclave, open and locked from here to `close`.

    Args:
        spec: what the guest shall see.
        keys: what opens them.
        on_violation: told of stored bytes that are not what was written.
        on_failure: told when a server fails.

    Raises:
        SandboxUnavailable: one of them cannot be opened; the message says which, and why.
    """

    def __init__(
        self,
        spec: EnclaveSpec,
        keys: Keys,
        *,
        on_violation: Callable[[FsError], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._on_violation = on_violation
        self._on_failure = on_failure
        self._served: list[_Served] = []
        self._ended = _taken_lock()
        self._ticks = allocate_lock()  # held while the thread that commits now and then runs
        self._anchor = volume_anchor()
        try:
            for mount in spec.volumes:
                self._served.append(self._open_or_say(spec, mount, keys))
        except BaseException:
            self.close()
            raise
        self._ticks.acquire()
        start_new_thread(self._tick, ())

    def _open_or_say(self, spec: EnclaveSpec, mount: VolumeMount, keys: Keys) -> _Served:
        try:
            return self._open(spec, mount, keys)
        except FsError as error:
            raise SandboxUnavailable(f"volume at {mount.path}: {error}", hint=error.hint) from error
        except OSError as error:
            where = os.fsdecode(error.filename or mount.source)
            hint = _how_to_make(mount) if isinstance(error, FileNotFoundError) else None
            raise SandboxUnavailable(f"volume at {mount.path}: {where}: {error.strerror}", hint=hint) from error

    def _open(self, spec: EnclaveSpec, mount: VolumeMount, keys: Keys) -> _Served:
        if mount.key == _EPHEMERAL:
            return self._make_ephemeral(spec, mount)
        credential = keys(mount)
        container = FileContainer(mount.source, writable=True)
        try:
            with unlock(container, credential, writable=True) as unlocked:
                with unlocked.key.view() as view:
                    key = bytes(view)
                self._anchor.begin(unlocked.volume_id)  # a platform that refuses is told before the start
                return self._opened(mount, container, unlocked.volume_id, key, self._anchor)
        except BaseException:
            container.close()
            raise

    def _make_ephemeral(self, spec: EnclaveSpec, mount: VolumeMount) -> _Served:
        """Make a volume without a name and without a header: with this process its key is gone, and so is its room."""
        file = os.open(mount.source, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            container = _FleetingContainer(f"/proc/self/fd/{file}", writable=True)
        finally:
            os.close(file)
        try:
            volume_id, key, anchor = os.urandom(16), os.urandom(32), _RunAnchor()
            format_volume(container, volume_id=volume_id, key=key, anchor=anchor)
            served = self._opened(mount, container, volume_id, key, anchor)
            served.volume.tree.set_attributes(_ROOT_INO, Changes(uid=spec.user.uid, gid=spec.user.gid))
        except BaseException:
            container.close()
            raise
        return served

    @staticmethod
    def _opened(mount: VolumeMount, container: FileContainer, volume_id: bytes, key: bytes, anchor: Anchor) -> _Served:
        volume = open_volume(
            container, volume_id=volume_id, key=key, anchor=anchor, writable=True, quota_bytes=mount.size_bytes
        )
        return _Served(mount, container, volume_id, volume)

    def roots(self) -> list[tuple[str, bytes, int, bytes]]:
        """Return (path, id, generation, digest) of the last durable state of each volume that outlives the run."""
        kept = [served for served in self._served if served.mount.key != _EPHEMERAL]
        return [(s.mount.path, s.volume_id, s.volume.anchored.generation, s.volume.anchored.digest) for s in kept]

    def take(self, devices: list[int]) -> None:
        """Own the /dev/fuse of every volume, in the order of the specification."""
        for served, device in zip(self._served, devices, strict=True):
            served.device = device

    def serve(self, number: int, *, init: int) -> None:
        """Start answering for a volume that is mounted now.

        Args:
            number: of the volume.
            init: host pid of the enclave's init.
        """
        served = self._served[number]
        served.server = WritableServer(
            served.device, served.volume.tree, on_violation=self._on_violation, on_failure=self._on_failure
        )
        tune_cache(init, "fuse.volume", max_ratio=_MAY_WRITE_BACK_PERCENT)
        for _ in range(_THREADS):
            alive = _taken_lock()
            served.threads.append(alive)
            start_new_thread(self._run, (served.server, alive))

    def _run(self, server: WritableServer, alive: LockType) -> None:
        try:
            server.serve()
        except BaseException as failure:  # noqa: BLE001 - a silent end would leave the guest waiting for ever
            self._on_failure(failure)
        finally:
            alive.release()

    def _tick(self) -> None:
        """Commit now and then. What fails here fails again where somebody waits for it: at fsync, or in the end."""
        try:
            self._commit_now_and_then()
        finally:
            self._ticks.release()

    def _commit_now_and_then(self) -> None:
        while not self._ended.acquire(timeout=_TICK_S):
            for served in self._served:
                try:
                    served.volume.tick()
                except VolumeCorrupt as violation:
                    self._on_violation(violation)
                except OSError:
                    continue
                except BaseException as failure:  # noqa: BLE001 - a defect of ours must not end silently
                    self._on_failure(failure)

    def close(self) -> list[str]:
        """Wait until the guest's last pages have come, commit, release everything; return what was lost.

        The guest must be gone.
        """
        self._ended.release()
        self._ticks.acquire()  # it may be at a commit, which needs the descriptors
        problems: list[str] = []
        for served in self._served:
            try:
                _finish(served)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others must be finished, too
                problems.append(f"volume at {served.mount.path}: {_lost(error)}")
            finally:
                served.container.close()
                if served.device >= 0:
                    os.close(served.device)
        self._served = []
        try:
            self._anchor.close()
        except VolumeRefused as error:
            problems.append(f"volumes: {error}")
        return problems


def _how_to_make(mount: VolumeMount) -> str:
    how, _, policy = mount.key.partition(":")
    sealed = f"--sealed {policy} --for APP.bell " if how == "sealed" else ""
    return f"belljar volume create {sealed}{os.fsdecode(mount.source)}"


def _taken_lock() -> LockType:
    lock = allocate_lock()
    lock.acquire()
    return lock


def _lost(error: Exception) -> str:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"what was written since its last commit is lost: {why.lower()}"


def _finish(served: _Served) -> None:
    for alive in served.threads:
        if not alive.acquire(timeout=_PATIENCE_S):
            raise OSError(0, "its mount did not end")
    if served.server is not None:
        served.server.close()
    served.volume.close()

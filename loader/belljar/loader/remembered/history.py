"""What earlier runs used: kept per measurement, and what all runs of one record had in common. Hot.

In comes what a run used; out comes what the next one asks for first. A hint, tied to the digests of the indexes: entry
numbers of another index would mean other files.
"""

from __future__ import annotations

import os
from binascii import crc32

from . import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from belljar.fs.serving import Warmup
    from belljar.libos.enclave import EnclaveSpec

_VERSION = 2
_NOTHING: Warmup = ((), (), ())


class History:
    """What earlier runs of one enclave used.

    Args:
        folder: the cache folder.
        key: key of the launch record.
        spec: the enclave.
    """

    def __init__(self, folder: str, key: tuple[object, ...], spec: EnclaveSpec) -> None:
        self._digests = tuple(mount.index_digest for mount in spec.hashed)
        self._own = _path(folder, spec.measurement)
        self._common = _path(folder, repr(key).encode(errors="surrogateescape"))
        self._loaded = _NOTHING

    def load(self) -> Warmup:
        """Return what the last run of this measurement used, or else what all runs of the record had in common."""
        self._loaded = _read(self._own, self._digests) or _read(self._common, self._digests) or _NOTHING
        return self._loaded

    def save(self, used: Warmup) -> None:
        """Keep what this run used. Failing to is no failure of the run."""
        try:
            if any(set(new) != set(old) for new, old in zip(used, self._loaded, strict=True)):
                _write(self._own, self._digests, used)
            if self._loaded == _NOTHING:  # nothing was asked for ahead, so all of this was really used
                before = _read(self._common, self._digests)
                _write(self._common, self._digests, used if before is None else _shared(before, used))
        except OSError:
            pass


def _shared(one: Warmup, other: Warmup) -> Warmup:
    paths, folders, files = map(set, other)
    return (
        tuple(path for path in one[0] if path in paths),
        tuple(folder for folder in one[1] if folder in folders),
        tuple(file for file in one[2] if file in files),
    )


def _path(folder: str, key: bytes) -> str:
    return os.path.join(folder, f"used-{crc32(key):08x}{crc32(key[::-1]):08x}")


def _read(path: str, digests: tuple[bytes, ...]) -> Warmup | None:
    known = cache.fetch(path)
    if known is None or known[:2] != (_VERSION, digests):
        return None
    used: Warmup = known[2]
    return used


def _write(path: str, digests: tuple[bytes, ...], used: Warmup) -> None:
    cache.store(path, (_VERSION, digests, used))

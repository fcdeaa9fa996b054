"""Where belljar keeps what it can make again: launch records, indexes, filters, digests.

One folder that belongs to the user alone. Everything in it is a convenience: a missing or damaged part is made again.
Hot: no import that costs.
"""

from __future__ import annotations

import marshal
import os
from binascii import crc32

from belljar.libos.folders import private_folder
from belljar.loader.errors import LoaderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAMS = "programs-"  # what is remembered of programs: see programs.py
_NAME = "belljar"
_CHECKSUM_BYTES = 4
_KEPT_S = 30 * 24 * 3600
_VERSION = "1"  # of the layout of this folder


def cache_folder() -> str:
    """Return the cache folder, made if it does not exist, with access for its owner only.

    Raises:
        LoaderError: there is no place where it could be.
    """
    wanted = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    fallback = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"{_NAME}-{os.geteuid()}")  # noqa: S108 - checked below
    folder = private_folder([os.path.join(wanted, _NAME, _VERSION), os.path.join(fallback, _VERSION)])
    if folder is None:
        raise LoaderError(
            f"no folder for the cache: neither {wanted} nor {fallback} can be written", hint="set XDG_CACHE_HOME"
        )
    return folder


def record_path(folder: str, key: tuple[object, ...]) -> str:
    """Return where the launch record of `key` is; the record repeats its key, since short names can collide."""
    encoded = repr(key).encode(errors="surrogateescape")
    return os.path.join(folder, f"record-{crc32(encoded):08x}{crc32(encoded[::-1]):08x}")


def folders_path(folder: str, key: tuple[object, ...]) -> str:
    """Return where the stamps of all folders are that the record of `key` was made from."""
    return record_path(folder, key).replace("record-", "folders-")


def index_path(folder: str, digest: bytes) -> str:
    """Return where the index with this digest is."""
    return os.path.join(folder, f"index-{digest.hex()}")


def digests_path(folder: str) -> str:
    """Return the database of file digests."""
    return os.path.join(folder, "digests.sqlite")


def store(path: str, value: Any) -> None:
    """Keep a plain value in a file.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, dumps(value))


def fetch(path: str) -> Any:
    """Return the plain value that `store` kept, or None if there is none or it is damaged."""
    try:
        with open(path, "rb") as file:
            return loads(file.read())
    except OSError:
        return None


def dumps(value: Any) -> bytes:
    """Return the bytes of a plain value, with a checksum in front."""
    body = marshal.dumps(value)
    return crc32(body).to_bytes(_CHECKSUM_BYTES, "little") + body


def loads(content: bytes) -> Any:
    """Return the plain value in `content`, or None if it is damaged: marshal must not see damaged bytes."""
    body = content[_CHECKSUM_BYTES:]
    if not body or crc32(body) != int.from_bytes(content[:_CHECKSUM_BYTES], "little"):
        return None
    try:
        return marshal.loads(body)  # noqa: S302 - made by us, in a folder only we can write
    except (ValueError, TypeError, EOFError):  # made by another Python
        return None


def prune(folder: str, now: float) -> None:
    """Remove what nobody made or used anew for a month, also what a killed process left half written.

    Args:
        folder: the cache folder.
        now: seconds since the epoch, as time.time().
    """
    for entry in os.scandir(folder):
        try:
            if entry.path != digests_path(folder) and now - entry.stat().st_mtime > _KEPT_S:
                os.unlink(entry.path)
        except OSError:  # somebody else did
            pass


def write_whole(path: str, content: bytes) -> None:
    """Put a file in place at once: readers see the old one or the new one, never a part.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f"{path}.{os.getpid()}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    os.rename(temporary, path)

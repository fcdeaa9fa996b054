"""A repository at any place that fsspec knows: object stores, SSH, memory… Needs `pip install belljar[remote]`.

Such places promise less than folders: there is no lock (use one writer at a time), and blocks are written under their
final name, so an interrupted one may be cut short; its length tells, and the next backup writes it again.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from belljar.fs.errors import BackupRefused

if TYPE_CHECKING:
    from collections.abc import Iterator


class _FileSystem(Protocol):
    """What is used of fsspec.AbstractFileSystem."""

    def cat_file(self, path: str) -> bytes: ...
    def pipe_file(self, path: str, value: bytes) -> object: ...
    def size(self, path: str) -> int: ...
    def find(self, path: str) -> list[str]: ...
    def rm_file(self, path: str) -> object: ...
    def mv(self, path1: str, path2: str) -> object: ...
    def makedirs(self, path: str, *, exist_ok: bool) -> object: ...
    def invalidate_cache(self) -> object: ...


class RemoteStore:
    """A repository at a URL.

    Raises:
        BackupRefused: fsspec is not installed, or does not know the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            core = importlib.import_module("fsspec.core")
        except ImportError:
            hint = "pip install 'belljar[remote]', and what fsspec needs for this kind of URL"
            raise BackupRefused(f"{url}: repositories at URLs need fsspec, which is not installed", hint=hint) from None
        try:
            found, root = cast("tuple[_FileSystem, str]", core.url_to_fs(url))
        except (ValueError, ImportError) as error:
            raise BackupRefused(f"{url}: fsspec cannot open it: {error}") from error
        self._files = found
        self._root = root.rstrip("/")
        self._files.invalidate_cache()

    def close(self) -> None:
        """Nothing is held."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes:
        """Return the content."""
        return self._files.cat_file(self._path(name))

    def size(self, name: str) -> int | None:
        """Return the length, or None."""
        try:
            return self._files.size(self._path(name))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write under the final name."""
        path = self._path(name)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, content)

    def publish(self, name: str, content: bytes) -> None:
        """Write under another name, then move: what has this name is whole."""
        temporary = f"{name}.tmp"
        self.write(temporary, content)
        self._files.mv(self._path(temporary), self._path(name))

    def names(self) -> Iterator[str]:
        """Yield every name but those of interrupted publications."""
        try:
            paths = self._files.find(self._root)
        except FileNotFoundError:
            return
        plain = self._root.lstrip("/")
        for path in sorted(paths):
            name = path.lstrip("/").removeprefix(plain).lstrip("/")
            if not name.endswith(".tmp"):
                yield name

    def remove(self, name: str) -> None:
        """Remove a name."""
        self._files.rm_file(self._path(name))

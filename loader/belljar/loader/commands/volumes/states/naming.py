"""What is wrong with the name of a snapshot."""

from __future__ import annotations

import errno

from belljar.loader.errors import LoaderError


def snapshot_error(name: str, error: OSError) -> LoaderError:
    """Return what is wrong with the name of a snapshot, or with the volume."""
    said = {
        errno.EEXIST: "there is a snapshot of that name",
        errno.ENOENT: "there is no snapshot of that name",
        errno.EINVAL: "not a name for a snapshot",
    }
    return LoaderError(f"{name}: {said.get(error.errno or 0, error.strerror or str(error))}")

"""Open files below a folder, one component at a time and never through a link.

Whoever can write there may swap a folder for a link at any moment, and have us, who may read more, look elsewhere.
"""

from __future__ import annotations

import os

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # names a file without any effect on it, whatever it turned into


def open_beneath(root: int, path: bytes, flags: int) -> int:
    """Open `path` below the directory `root`; an empty path is the directory itself.

    Args:
        root: descriptor of a directory.
        path: relative, of plain names.
        flags: of the last component; the ones above are only passed through.

    Raises:
        OSError: it is not there, or a component is a link (ENOTDIR; ELOOP for the last one, unless it is only named).
    """
    *folders, name = path.split(b"/")
    at = root
    try:
        for folder in folders:
            below = os.open(folder, NAME | os.O_DIRECTORY, dir_fd=at)
            if at != root:
                os.close(at)
            at = below
        return os.open(name or b".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    finally:
        if at != root:
            os.close(at)

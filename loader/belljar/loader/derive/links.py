"""Follow symbolic links by hand, and keep every one that was passed.

In comes a path of the host; out come all links on the way and the file or directory at the end, each by a path without
links in its folders. A guest that has them all resolves the path as the host does; files that are reached as `/lib/x`
and as `/usr/lib/x` are one.
"""

from __future__ import annotations

import os

from belljar.loader.errors import ProgramNotFound

MAX_LINKS = 40  # as the kernel: MAXSYMLINKS


def trail(path: str) -> tuple[list[str], str]:
    """Return (links that were passed, where the path ends), both absolute and without links in their folders.

    Raises:
        ProgramNotFound: something on the way does not exist, or the links go round in circles.
    """
    links: list[str] = []
    todo = [part for part in os.path.abspath(path).split("/") if part][::-1]
    here = "/"
    while todo:
        part = todo.pop()
        if part == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        try:
            target = os.readlink(step)
        except OSError as error:
            if not os.path.lexists(step):
                raise ProgramNotFound(f"{path}: no such file or directory: {step}") from error
            here = step
            continue
        links.append(step)
        if len(links) > MAX_LINKS:
            raise ProgramNotFound(f"{path}: more than {MAX_LINKS} symbolic links")
        if target.startswith("/"):
            here = "/"
        todo += [part for part in target.split("/") if part not in ("", ".")][::-1]
    return list(dict.fromkeys(links)), here

"""Find the program of a manifest inside the enclave, before it runs: through links, along PATH, executable.

In come the measured trees; out comes the guest path. Looks at indexes only: what it says is what the guest will find.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from belljar.fs.serving import Index, Source, Tree

from .derive.elf import is_elf, linker_of
from .derive.needs import interpreters
from .errors import LoaderError, ProgramNotExecutable, ProgramNotFound

if TYPE_CHECKING:
    from .resolve import Resolved
    from .trees import Tree as MeasuredTree

_MAX_LINKS = 40
_EXECUTABLE = 0o111


def find_program(resolved: Resolved, trees: tuple[MeasuredTree, ...]) -> str:
    """Return the path to execute for `argv`: found along PATH, or as it is written if it has a slash (execvp(3)).

    Raises:
        ProgramNotFound: it is in no hashed tree.
        ProgramNotExecutable: it is there, but not an executable file.
    """
    name = (resolved.manifest.argv or [""])[0]
    if name in resolved.needs.programs:
        candidates = [resolved.needs.programs[name]]
    elif "/" in name:
        candidates = [posixpath.normpath(posixpath.join(resolved.working_directory, name))]
    else:
        candidates = [posixpath.join(folder, name) for folder in resolved.environment.get("PATH", "").split(":")]
    guest = _open(resolved, trees)
    try:
        found = _first_executable(guest, resolved, candidates, name)
        return name if "/" in name and name not in resolved.needs.programs else found
    finally:
        for source in guest.sources:
            source.close()


def _first_executable(guest: Tree, resolved: Resolved, candidates: list[str], name: str) -> str:
    refused = False
    for path in candidates:
        if any(_lies_in(path, mount.path) for mount in resolved.host if mount.insecure_executable):
            return path  # nobody knows what the host will have there
        mode = _mode(guest, path)
        if mode is not None and mode & _EXECUTABLE:
            return path
        refused = refused or mode is not None
    if refused:
        raise ProgramNotExecutable(f"{name}: is not executable in the enclave")
    hint = f"add it to the programs, for example: programs: [{name}]"
    raise ProgramNotFound(f"{name}: no such program in the enclave", hint=hint)


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _open(resolved: Resolved, trees: tuple[MeasuredTree, ...]) -> Tree:
    directories = [mount.path for mount in resolved.scratch]
    directories += [mount.path for mount in resolved.host if os.path.isdir(mount.source)]
    directories += [resolved.working_directory, resolved.manifest.user.home]
    sources: list[tuple[str, Source]] = []
    for tree in trees:
        index = Index(os.open(tree.index_path, os.O_RDONLY | os.O_CLOEXEC), tree.measured.index.digest)
        sources.append((tree.where.path, Source(index, os.fsencode(tree.where.source), tree.where.path)))
    return Tree(sources, directories=directories, files={}, links={})


def unmeasured(resolved: Resolved, trees: tuple[MeasuredTree, ...], executable: str) -> str | None:
    """Say what of the program is in no hashed tree: itself, the interpreter of its script, or its dynamic linker."""
    if any(_lies_in(executable, mount.path) for mount in resolved.host):
        return f"{executable} lies in a host mount: whatever the host puts there is run, and nobody measures it"
    guest = _open(resolved, trees)
    try:
        node = _node(guest, posixpath.join(resolved.working_directory, executable))
        if node is None:
            return None
        source, number, _ = guest.record(node)
        host = source.host_file(number)
        linker = linker_of(host)
        for interpreter in [linker] if linker else [] if is_elf(host) else interpreters(host):
            if _mode(guest, interpreter) is None:
                hint = f"add {executable} to the programs, which brings in what it needs"
                return f"{executable} is interpreted by {interpreter}, which is in no hashed tree: {hint}"
    except (OSError, LoaderError) as error:
        return f"{executable}: {error}"
    else:
        return None
    finally:
        for source in guest.sources:
            source.close()


def _mode(guest: Tree, path: str) -> int | None:
    """Return the mode of the file at a guest path, links followed; None if there is no file."""
    node = _node(guest, path)
    mode = 0 if node is None else guest.attributes(node)[1]
    return mode if mode & 0o170000 == 0o100000 else None


def _node(guest: Tree, path: str) -> int | None:
    """Return the node at a guest path, links followed; None if there is none."""
    todo = [part for part in path.split("/") if part][::-1]
    nodes = [1]
    links = 0
    while todo:
        part = todo.pop()
        if part in (".", ".."):
            nodes = nodes[:-1] or [1] if part == ".." else nodes
            continue
        node = guest.child(nodes[-1], os.fsencode(part))
        if node is None:
            return None
        target = guest.target(node)
        if target is None:
            nodes.append(node)
            continue
        links += 1
        if links > _MAX_LINKS:
            return None
        if target.startswith(b"/"):
            nodes = [1]
        todo += [os.fsdecode(step) for step in target.split(b"/") if step][::-1]
    return nodes[-1]

"""From a parsed manifest to what is measured: programs become files, defaults become values, mounts are put in order.

In comes a `ParsedManifest`; out comes a `Resolved`, in which nothing depends any more on who asks. Looks at the host
(where programs and their libraries are), reads no content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.fs.measuring import Selection

from .derive.needs import Needs, find_needs
from .errors import ManifestError, Problem
from .manifest.model import FROM_HOST, EncryptedMount, HashedMount, HostMount, Manifest, TmpfsMount
from .networks.consistency import check_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .manifest.parse import ParsedManifest
    from .remembered.programs import Remembered

_STANDARD_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSource:
    """A hashed mount that is to be measured.

    Attributes:
        path: where in the guest.
        source: folder or file on the host.
        selection: which part of it.
        of_programs: whether it is exactly what the programs bring, and nothing of the manifest's.
    """

    path: str
    source: str
    selection: Selection
    of_programs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A manifest with everything decided but the digests.

    Attributes:
        parsed: the manifest it comes from.
        trees: hashed mounts, the programs' own first.
        host: mounts of the host.
        scratch: tmpfs mounts.
        environment: set variables, PATH added if the manifest has none.
        working_directory: guest path.
        needs: what the programs need.
    """

    parsed: ParsedManifest
    trees: tuple[TreeSource, ...]
    host: tuple[HostMount, ...]
    scratch: tuple[TmpfsMount, ...]
    environment: dict[str, str]
    working_directory: str
    needs: Needs

    @property
    def manifest(self) -> Manifest:
        """The manifest with what it extends."""
        return self.parsed.manifest


def resolve(parsed: ParsedManifest, remembered: Remembered | None = None) -> Resolved:
    """Decide everything that can be decided without reading content.

    Args:
        parsed: the manifest.
        remembered: what is known of its programs.

    Raises:
        ManifestError: mounts are in conflict.
        ProgramNotFound, ProgramNotExecutable: a program.
    """
    manifest = parsed.manifest
    _check_mounts(parsed)
    check_network(parsed)
    needs = find_needs(manifest.programs) if remembered is None else remembered.needs
    hashed = [mount for mount in manifest.mounts if isinstance(mount, HashedMount)]
    trees = [*_program_trees(parsed, needs, {mount.path for mount in hashed}), *map(_tree, hashed)]
    return Resolved(
        parsed=parsed,
        trees=tuple(_without_hidden(tree, trees) for tree in trees),
        host=tuple(mount for mount in manifest.mounts if isinstance(mount, HostMount)),
        scratch=tuple(mount for mount in manifest.mounts if isinstance(mount, TmpfsMount)),
        environment=_environment(manifest, needs),
        working_directory=manifest.working_directory or next((m.path for m in hashed if os.path.isdir(m.source)), "/"),
        needs=needs,
    )


def _check_mounts(parsed: ParsedManifest) -> None:
    seen: set[str] = set()
    for mount in parsed.manifest.mounts:
        if mount.path in seen:
            place = parsed.place_of_mount(mount.path, "path")
            raise ManifestError([Problem(place, f"two mounts at {mount.path}")])
        seen.add(mount.path)
        if isinstance(mount, FROM_HOST) and not (_is_made_later(mount) or os.path.exists(mount.source)):
            place = parsed.place_of_mount(mount.path, "source")
            hint = f"belljar volume create {mount.source}" if isinstance(mount, EncryptedMount) else None
            raise ManifestError([Problem(place, f"{mount.source}: no such file or directory")], hint=hint)


def _is_made_later(mount: HostMount | EncryptedMount) -> bool:
    """Say whether a mount may be missing: a volume sealed for an enclave can only be made when that can be measured."""
    return isinstance(mount, EncryptedMount) and mount.key.startswith("sealed:")


def _program_trees(parsed: ParsedManifest, needs: Needs, taken: set[str]) -> list[TreeSource]:
    if not needs.files:
        return []
    if "/" in taken:
        raise ManifestError(
            [Problem(parsed.place_of_mount("/"), "a mount at / and programs: expected one of them")],
            hint="bring the programs in with the tree, or mount the tree elsewhere",
        )
    exact = tuple(os.fsencode(path[1:]) for path in sorted(needs.files) if not needs.covers(path))
    trees = [TreeSource(path="/", source="/", selection=Selection(exact=exact), of_programs=True)]
    # A folder that the manifest mounts itself is the manifest's to decide about.
    folders = [folder for folder in sorted(needs.folders) if folder not in taken]
    trees += [
        TreeSource(path=folder, source=folder, selection=_all_but(folder, needs.left_out), of_programs=True)
        for folder in folders
    ]
    return trees + _below_scratch(parsed.manifest, needs, taken)


def _below_scratch(manifest: Manifest, needs: Needs, taken: set[str]) -> list[TreeSource]:
    """Return trees of the files that scratch space would cover: their folders, with nothing else in them.

    The tree at / keeps them, too: what it holds must follow from the programs alone (`remembered/programs.py`).
    """
    scratch = [mount.path for mount in manifest.mounts if isinstance(mount, TmpfsMount)]
    names: dict[str, list[bytes]] = {}
    for path in sorted(needs.files):
        folder, name = os.path.split(path)
        if _is_below(folder, scratch) and not _is_below(path, taken) and not needs.covers(path):
            names.setdefault(folder, []).append(os.fsencode(name))
    return [
        TreeSource(path=folder, source=folder, selection=Selection(exact=tuple(found)), of_programs=True)
        for folder, found in names.items()
    ]


def _is_below(path: str, mounts: Iterable[str]) -> bool:
    return any(path.startswith(f"{mount}/") for mount in mounts)


def _all_but(folder: str, left_out: set[str]) -> Selection:
    above = f"{folder}/"
    names = sorted(path.removeprefix(above) for path in left_out if path.startswith(above))
    return Selection(exclude=tuple(f"/{_escaped(name)}/" for name in names))


def _tree(mount: HashedMount) -> TreeSource:
    include = None if mount.include is None else tuple(mount.include)
    selection = Selection(include=include, exclude=tuple(mount.exclude))
    return TreeSource(path=mount.path, source=mount.source, selection=selection)


def _without_hidden(tree: TreeSource, trees: list[TreeSource]) -> TreeSource:
    """Leave out of a tree what other trees cover in the guest: nobody could read it."""
    if tree.selection.exact is not None:
        return tree
    above = tree.path.rstrip("/") + "/"
    hidden = tuple(f"/{_escaped(other.path.removeprefix(above))}" for other in trees if other.path.startswith(above))
    if not hidden:
        return tree
    selection = Selection(include=tree.selection.include, exclude=(*tree.selection.exclude, *hidden))
    return TreeSource(path=tree.path, source=tree.source, selection=selection)


def _escaped(path: str) -> str:
    """Return a path as a .gitignore pattern that matches nothing else."""
    return "".join(f"\\{c}" if c in "*?[]!#\\ " else c for c in path)


def _environment(manifest: Manifest, needs: Needs) -> dict[str, str]:
    variables = dict(manifest.environment.set)
    if "PATH" not in variables and "PATH" not in manifest.environment.pass_:
        own = [os.path.dirname(path) for path in needs.programs.values()]
        variables["PATH"] = ":".join(dict.fromkeys((*own, *_STANDARD_PATH)))
    return variables

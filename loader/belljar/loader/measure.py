"""Measure a resolved manifest: hash its trees, write their indexes, make the canonical manifest and its digest.

In comes a `Resolved` and the cache folder; out comes a `Measured`. Clauses: IEEE 2952 5.1.2 b, 7.2.3 a b c f.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.measurement import Measurement, NotCanonical, measure
from belljar.fs.measuring import DigestCache, Progress, measure_tree
from belljar.libos.policy import SyscallPolicy, UnknownSyscall, check_names, make_policy

from .canonical import Decided, Pinned, canonical_members, policy_digest
from .errors import LoaderError, ManifestError, Problem
from .find import find_program
from .remembered import cache
from .trees import Tree

if TYPE_CHECKING:
    from .remembered.programs import Remembered
    from .resolve import Resolved, TreeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An enclave that could run: what it is made of, and its identity.

    Attributes:
        resolved: what was decided.
        trees: hashed mounts with their indexes, in the order of their paths.
        decided: what is measured.
        policy: which system calls it may make.
        canonical: the bytes that are measured.
        measurement: their digest.
    """

    resolved: Resolved
    trees: tuple[Tree, ...]
    decided: Decided
    policy: SyscallPolicy
    canonical: bytes
    measurement: Measurement


def measure_manifest(
    resolved: Resolved, folder: str, progress: Progress | None = None, remembered: Remembered | None = None
) -> Measured:
    """Measure an enclave.

    Args:
        resolved: what was decided.
        folder: the cache folder.
        progress: told how far hashing is.
        remembered: trees of programs that need not be walked again.

    Raises:
        belljar.fs.measuring.SourceError: something cannot be read.
        ManifestError: a system call is unknown, or a text has no canonical form.
        ProgramNotFound, ProgramNotExecutable: the program is not in the enclave.
    """
    policy = _policy(resolved)
    with DigestCache(cache.digests_path(folder)) as digests:
        trees = tuple(
            _known(tree, folder, remembered) or _measure(tree, digests, folder, progress)
            for tree in sorted(resolved.trees, key=_by_path)
        )
    decided = _decided(resolved, trees, policy)
    try:
        canonical, measurement = measure(canonical_members(decided))
    except NotCanonical as error:
        raise ManifestError([Problem(resolved.parsed.place(), f"cannot be measured: {error}")]) from error
    return Measured(
        resolved=resolved,
        trees=trees,
        decided=decided,
        policy=policy,
        canonical=canonical,
        measurement=measurement,
    )


def _decided(resolved: Resolved, trees: tuple[Tree, ...], policy: SyscallPolicy) -> Decided:
    return Decided(
        manifest=resolved.manifest,
        pinned=tuple(
            Pinned(
                path=tree.where.path,
                source=tree.where.source,
                digest=tree.measured.index.digest,
                index_path=tree.index_path,
            )
            for tree in trees
        ),
        environment=resolved.environment,
        working_directory=resolved.working_directory,
        executable=find_program(resolved, trees),
        policy=policy_digest(policy),
    )


def _by_path(tree: TreeSource) -> str:
    return tree.path


def _known(tree: TreeSource, folder: str, remembered: Remembered | None) -> Tree | None:
    measured = remembered.trees.get(tree.path) if remembered is not None and tree.of_programs else None
    if measured is None:
        return None
    return Tree(where=tree, measured=measured, index_path=cache.index_path(folder, measured.index.digest))


def _measure(tree: TreeSource, digests: DigestCache, folder: str, progress: Progress | None) -> Tree:
    measured = measure_tree(os.fsencode(tree.source), tree.selection, digests, progress)
    path = cache.index_path(folder, measured.index.digest)
    try:
        cache.write_whole(path, measured.index.content)
    except OSError as error:
        raise LoaderError(f"{path}: cannot write an index: {error.strerror}", hint="set XDG_CACHE_HOME") from error
    return Tree(where=tree, measured=measured, index_path=path)


def _policy(resolved: Resolved) -> SyscallPolicy:
    calls = resolved.manifest.system_calls
    for key, names in (("insecure_allow", calls.insecure_allow), ("deny", calls.deny)):
        for name in names:
            try:
                check_names((name,))
            except UnknownSyscall as error:
                place = resolved.parsed.place_in(("system_calls", key), name)
                raise ManifestError([Problem(place, str(error))]) from error
    return make_policy(allow=tuple(calls.insecure_allow), deny=tuple(calls.deny))

"""Make a bundle ready to be run here: verify it, put its indexes into the cache, look whether its sources exist.

In come a path and who must have signed it; out comes what `prepare.py` makes a launch record of. The files the bundle
measures are not read: each is verified when it is served, as for a manifest.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from belljar.fs.measuring import stamp
from belljar.libos.policy import make_policy
from belljar.loader.canonical import policy_digest
from belljar.loader.derive.links import trail
from belljar.loader.errors import BundleRefused, LoaderError
from belljar.loader.manifest.model import FROM_HOST, EncryptedMount
from belljar.loader.remembered import cache
from belljar.loader.version import VERSION

from .read import open_bundle, read_open_bundle
from .signers import check_signer

if TYPE_CHECKING:
    from belljar.attestation.measurement import Measurement
    from belljar.fs.measuring import Stamp
    from belljar.libos.policy import SyscallPolicy
    from belljar.loader.canonical import Decided, Pinned

    from .read import Bundle


_COPY = "copy the files with the bundle, to the same place beside it; belljar inspect shows where"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A bundle that can be run here.

    Attributes:
        decided: the enclave; its index files are in the cache.
        canonical: the canonical manifest.
        measurement: its digest.
        signer: "sha256:…", or empty.
        policy: which system calls the program may make.
        inputs: (host path, stamp) of the bundle, of links to it, and of the key file it was compared with.
    """

    decided: Decided
    canonical: bytes
    measurement: Measurement
    signer: str
    policy: SyscallPolicy
    inputs: tuple[tuple[str, Stamp], ...]


def open_for_launch(path: str, signer: str, folder: str) -> Launch:
    """Verify a bundle and make it ready.

    Args:
        path: absolute, of the bundle.
        signer: who must have signed it, as --signer has it; empty for anybody or nobody.
        folder: the cache folder.

    Raises:
        BundleRefused: it does not hold, has another signer, or was built by a belljar with another policy.
        LoaderError: it cannot be read, or a source is not on this machine.
    """
    descriptor = open_bundle(path)
    try:
        inputs = _stamps(path)  # before anything is read: what changes meanwhile makes the record stale
        if not inputs or stamp(os.fstat(descriptor)) != inputs[-1][1]:
            raise LoaderError(f"{path}: is being replaced by another bundle", hint="try again")
        bundle = read_open_bundle(descriptor, path)
    finally:
        os.close(descriptor)
    if signer:
        if not signer.startswith("sha256:"):
            inputs += _stamps(signer)
        check_signer(bundle, signer)
    policy = check_policy(bundle)
    _check_sources(bundle)
    return Launch(
        decided=replace(bundle.decided, pinned=tuple(_cached(bundle, folder))),
        canonical=bundle.canonical,
        measurement=bundle.measurement,
        signer=bundle.signer,
        policy=policy,
        inputs=inputs,
    )


def _stamps(path: str) -> tuple[tuple[str, Stamp], ...]:
    if not os.path.exists(path):  # whoever reads it says so
        return ()
    links, end = trail(path)
    return tuple((name, stamp(os.lstat(name))) for name in (*links, end))


def check_policy(bundle: Bundle) -> SyscallPolicy:
    """Return the system call policy of a bundle, as this belljar has it.

    Raises:
        BundleRefused: it had another one when the bundle was built, so this would be another enclave.
    """
    calls = bundle.decided.manifest.system_calls
    policy = make_policy(allow=tuple(calls.insecure_allow), deny=tuple(calls.deny))
    if policy_digest(policy) != bundle.decided.policy:
        raise BundleRefused(
            f"{bundle.path}: built by belljar {bundle.belljar}, whose system call policy is not that of this one "
            f"({VERSION})",
            hint="build it again with this version, which makes it another enclave",
        )
    return policy


def _check_sources(bundle: Bundle) -> None:
    sources = [(tree.path, tree.source, _COPY) for tree in bundle.decided.pinned]
    for mount in bundle.decided.manifest.mounts:
        if isinstance(mount, FROM_HOST):
            how, _, policy = mount.key.partition(":") if isinstance(mount, EncryptedMount) else ("", "", "")
            seal = f"belljar volume create --sealed {policy} --for {bundle.path} {mount.source}"
            sources.append((mount.path, mount.source, seal if how == "sealed" else _COPY))
    for path, source, hint in sources:
        if not os.path.exists(source):
            raise LoaderError(
                f"{bundle.path}: what is mounted at {path} is not here: {source}: no such file or directory", hint=hint
            )


def _cached(bundle: Bundle, folder: str) -> list[Pinned]:
    """Put the indexes into the cache, each under the digest of the whole file: its times are the bundle's own."""
    pinned: list[Pinned] = []
    for tree, content in zip(bundle.decided.pinned, bundle.indexes, strict=True):
        path = cache.index_path(folder, hashlib.sha256(content).digest())
        try:
            cache.write_whole(path, content)
        except OSError as error:
            raise LoaderError(f"{path}: cannot write an index: {error.strerror}", hint="set XDG_CACHE_HOME") from error
        pinned.append(replace(tree, index_path=path))
    return pinned

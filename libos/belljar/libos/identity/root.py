"""Open the root of trust of a manifest, and say of an enclave what identity is made from. Cold.

In come the manifest's choice and a specification; out come attestation's values. Used by the supervisor for evidence,
and by those who seal volumes for an enclave: both must mean the same enclave.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from belljar.attestation.attesting import Enclave, Task
from belljar.attestation.platforms import DEFAULT_TPM, Birth, Places, choose, make_soft
from belljar.libos.folders import platform_folder

from .presence import AUTO, NONE, SOFT

if TYPE_CHECKING:
    from belljar.attestation.platforms import RootOfTrust
    from belljar.libos.spec import EnclaveSpec


class NoIdentity(Exception):
    """The manifest wants no attestation; the text is for the person who asked for it."""


def open_root(platform: str, *, now: int) -> RootOfTrust:
    """Return the root of trust that a manifest names; a soft one is made if there is none.

    Args:
        platform: as the manifest has it.
        now: seconds since 1970, for the certificates of one that is made.

    Raises:
        NoIdentity: the manifest says none.
        belljar.attestation.errors.PlatformRefused: there is none, or it cannot be used.
    """
    if platform == NONE:
        raise NoIdentity("its manifest says attestation: {platform: none}")
    folder = platform_folder()
    if platform == SOFT:
        return make_soft(folder, Birth(random=os.urandom, now=now))
    tpm = os.environ.get("BELLJAR_TPM", DEFAULT_TPM)
    return choose(None if platform == AUTO else platform, Places(state=folder, random=os.urandom, tpm=tpm))


def enclave_of(spec: EnclaveSpec) -> Enclave:
    """Return who an enclave is; whoever may start other programs in it can look inside: that is debug."""
    return Enclave(
        measurement=spec.measurement,
        signer=spec.identity.signer or None,
        product_id=spec.identity.product_id,
        svn=spec.identity.security_version,
        debug=spec.enterable,
    )


def task_of(spec: EnclaveSpec) -> Task:
    """Return the digests of what a program was started with: its strings as execve(2) has them, each ended by NUL."""
    variables = [f"{name}={value}" for name, value in sorted(dict(spec.environment).items())]
    return Task(argv=_digest(spec.argv), environment=_digest(variables))


def _digest(strings: tuple[str, ...] | list[str]) -> bytes:
    return hashlib.sha256(b"".join(os.fsencode(text) + b"\0" for text in strings)).digest()


def commitment(roots: list[tuple[str, bytes, int, bytes]]) -> bytes | None:
    """Return what commits to the state of volumes; None where there are none.

    Args:
        roots: (guest path, id, generation, digest of the root record) of each.
    """
    if not roots:
        return None
    digest = hashlib.sha256(b"belljar.volumes/1\x00")
    for path, volume_id, generation, root in sorted(roots):
        name = os.fsencode(path)
        digest.update(len(name).to_bytes(2, "big") + name + volume_id + generation.to_bytes(8, "big") + root)
    return digest.digest()

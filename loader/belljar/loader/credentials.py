"""What opens the encrypted volumes of a manifest, from whoever runs it: never from arguments. Cold.

A passphrase comes from the file that BELLJAR_PASSPHRASE_FILE names, or from the terminal; a key file is SOURCE.key;
a sealed key comes from the root of trust, for the enclave that is about to run.
Asked by the supervisor after the guest's side was forked, so that nothing of it is ever in a guest's memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.fs.keeping import MAX_FILE_BYTES, KeyFile, Passphrase

from .commands.volumes.keys.credentials import asked_passphrase

if TYPE_CHECKING:
    from belljar.fs.keeping import Credential
    from belljar.libos.enclave import EnclaveSpec, VolumeMount

_SUFFIX = ".key"


def credential_of(spec: EnclaveSpec, mount: VolumeMount) -> Credential:
    """Return what opens a volume.

    Args:
        spec: the enclave that is about to run.
        mount: the volume in it.

    Raises:
        LoaderError: no passphrase was given, and there is nobody to ask.
        OSError: a file cannot be read.
    """
    if mount.key.startswith("sealed:"):
        from belljar.libos.identity.root import enclave_of

        from .commands.volumes.keys.sealing import PREFIX, sealed_by

        return sealed_by(enclave_of(spec), spec.identity.platform, mount.key.removeprefix(PREFIX))
    if mount.key == "file":
        with open(mount.source + _SUFFIX, "rb") as file:
            return KeyFile(content=file.read(MAX_FILE_BYTES + 1))
    return Passphrase(secret=asked_passphrase(f"passphrase of {mount.source}"))

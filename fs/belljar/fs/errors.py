"""What can go wrong in this house, cut by what a caller does about it.

`IndexRefused`: the index is not the one that was measured; nothing of it is used.
`SourceError`: the host's files cannot be measured; the person must change something.
`IntegrityViolation`: a host file is no longer what its index says; the guest gets EIO, the supervisor an event.
`VolumeRefused`: an encrypted volume cannot be opened; nothing of it is used. `CredentialRefused`: another key may.
`VolumeCorrupt`: stored bytes of an open volume do not verify; the guest gets EIO, the supervisor an event.
`BackupRefused`: a backup repository is not what was written; nothing of it is used.
"""

from __future__ import annotations


class FsError(Exception):
    """Root of the errors of this house.

    Args:
        message: lower-case fragment that names the thing, what was found and what was expected.
        hint: what the person can do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class IndexRefused(FsError):
    """The bytes of an index are malformed, or do not have the digest that was measured."""


class SourceError(FsError):
    """A host directory or file that should be measured cannot be."""


class IntegrityViolation(FsError):
    """A host file does not hold what its index says (IEEE 2952 7.1 a, Annex B b).

    Args:
        guest_path: the path as the guest sees it.
        host_path: the file on the host.
        reason: what was found, and what was expected.
    """

    def __init__(self, guest_path: str, host_path: str, reason: str) -> None:
        host = "" if host_path == guest_path else f" (host file {host_path})"
        super().__init__(f"{guest_path}: {reason}{host}")
        self.guest_path = guest_path
        self.host_path = host_path
        self.reason = reason


class VolumeRefused(FsError):
    """A volume cannot be opened: wrong key, rolled back, locked by another mount, not a volume, unknown version."""


class VolumeCorrupt(FsError):
    """Stored bytes of an open volume are not what was written (IEEE 2952 5.2.1.2 a); the guest sees EIO.

    Args:
        where: the path, or the region of the container, that does not verify.
        reason: what was found, and what was expected.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}", hint="restore the volume from a backup, or save what is intact")
        self.where = where
        self.reason = reason


class CredentialRefused(VolumeRefused):
    """No key slot opens with what was given; another passphrase or key may."""


class BackupRefused(FsError):
    """A backup repository is damaged, foreign or incomplete; nothing of it is used."""

"""Where volumes are anchored on this machine: state files of the house fs, held by a root of trust of attestation.

Which root that is does not depend on a manifest: a volume outlives those. It is what the platform's folder holds, `tpm`
before `soft`; nothing is made here, and a processor (`tsm`) has no counter. The root is open only while the ledger is
read or written, since a software TPM serves one client at a time. Warm: attestation is imported when a root is opened.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from belljar.fs.anchoring import PlatformAnchor, anchors_folder
from belljar.fs.errors import VolumeRefused
from belljar.libos.folders import platform_folder

from .presence import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from belljar.attestation.platforms import RootOfTrust

INFO = b"belljar.volume-anchors/1"
_PREFERRED = ("tpm", "soft")


class RootCounting:
    """A root of trust as the ledger asks for it: what it derives for anchors, and its counter."""

    def __init__(self, root: RootOfTrust) -> None:
        from belljar.attestation.platforms import SoftRoot

        generations = [item.platform for item in root.generations] if isinstance(root, SoftRoot) else [root.platform]
        self.keys = tuple(root.derive(b"", INFO, platform=platform) for platform in generations)
        self._root = root

    def count(self) -> int:
        """Return the counter."""
        return self._root.count()

    def count_up(self) -> int:
        """Add one."""
        return self._root.count_up()


def volume_anchor(named: str | None = None) -> PlatformAnchor:
    """Return what anchors volumes for whoever runs this.

    Args:
        named: another folder than the usual one, which no platform holds; None for the usual.
    """
    usual = anchors_folder(os.environ, os.geteuid() if hasattr(os, "geteuid") else -1)
    if named is not None and os.path.abspath(named) != os.path.abspath(usual):
        return PlatformAnchor(named)
    return PlatformAnchor(usual, platform=_platform_here())


def _platform_here() -> Callable[[], AbstractContextManager[RootCounting]] | None:
    """Return what opens the root of trust of this machine, or None if there is none that counts."""
    if os.name != "posix" or not hasattr(os, "geteuid"):
        return None
    folder = platform_folder()
    for kind in _PREFERRED:
        if any(name.startswith(kind) and os.path.lexists(os.path.join(folder, name)) for name in FILES):
            return partial(_opened, kind, folder)
    return None


@contextmanager
def _opened(kind: str, folder: str) -> Generator[RootCounting]:
    """Open a root of trust; what it refuses, the anchor refuses."""
    from belljar.attestation.errors import AttestationError
    from belljar.attestation.platforms import DEFAULT_TPM, Places, choose

    places = Places(state=folder, random=os.urandom, tpm=os.environ.get("BELLJAR_TPM", DEFAULT_TPM))
    try:
        with choose(kind, places) as root:
            yield RootCounting(root)
    except AttestationError as error:
        raise VolumeRefused(
            f"the platform that anchors volumes cannot be used: {error}",
            hint=error.hint or f"put {folder} right, or make another platform in its place: belljar platform init",
        ) from error

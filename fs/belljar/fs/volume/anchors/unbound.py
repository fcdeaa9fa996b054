"""The ledger of a machine without a platform: there is none, nothing is counted and no key authenticates anything.

It only refuses where there was a platform before: its ledger is still there, and must not be passed over because
somebody removed the platform's files.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from belljar.fs.errors import VolumeRefused

from .ledger_layout import NAME
from .reading import REMEDY

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from belljar.fs.volume.anchor import Anchored

    from .layout import State


class Unbound:
    """Does what `Ledger` does, and what its `Session` does, without a platform.

    Args:
        folder: of the state files.
    """

    keys: tuple[bytes, ...] = ()
    key = None

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, NAME)

    @contextmanager
    def session(self, *, anew: bool = False, creates: bool = False) -> Generator[Unbound]:
        """Return itself, if there never was a platform.

        Raises:
            VolumeRefused: there was one.
        """
        del anew, creates
        if os.path.lexists(self._path):
            raise VolumeRefused(
                f"{self._path}: volumes were anchored by a platform that is not here now",
                hint=f"put the platform back; if it is gone for good, move that file away, and {REMEDY}",
            )
        yield self

    def verify(self, volume_id: bytes, state: State | None) -> None:
        """Return: nothing is known."""

    def begin(self, volume_id: bytes, anchored: Anchored, *, adopts: bool = False) -> int:  # noqa: ARG002 -- as Session
        """Return epoch 0."""
        return 0

    def end(self, ended: Mapping[bytes, Anchored]) -> None:
        """Note nothing."""

    def forget(self, volume_id: bytes) -> None:
        """Note nothing."""

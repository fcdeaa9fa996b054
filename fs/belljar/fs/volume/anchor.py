"""The seam of freshness: what remembers the newest root of a volume outside of its container.

A container alone cannot show that it is the newest one: whoever holds it can put back a copy of yesterday. An anchor
holds (generation, digest of the root record) of the last commit, and the volume compares it at every mount. How strong
that is, only a back end can say (`anchors/`, docs/formats/volume.md "Freshness"). IEEE 2952 5.2.1.2 a, 7.5 e.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Anchored:
    """The newest root of a volume: its generation (1 or more) and the SHA-256 of its root record."""

    generation: int
    digest: bytes


class Anchor(Protocol):
    """Remembers one `Anchored` per volume."""

    def read(self, volume_id: bytes) -> Anchored | None:
        """Return what was anchored last, or None for a volume this anchor has never seen."""
        ...

    def advance(self, volume_id: bytes, anchored: Anchored) -> None:
        """Remember: at once for every other process, and soon durably.

        Raises:
            OSError: that failed; then the volume tries again before its next commit.
        """
        ...

    def settle(self, volume_id: bytes) -> None:
        """Wait until what was remembered is durable. A volume asks before it writes its next root. Raises OSError."""
        ...

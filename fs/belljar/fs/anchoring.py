"""Door of this house to those who have the newest state of volumes remembered, by a platform if there is one. Warm."""

from __future__ import annotations

from .volume.anchors.platform import PlatformAnchor, anchors_folder

__all__ = ["PlatformAnchor", "anchors_folder"]

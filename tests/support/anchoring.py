"""A platform for anchors in memory: its keys and counter can be looked at, set back, and made to fail."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

from belljar.fs.errors import VolumeRefused
from belljar.fs.volume.anchor import Anchored

KEY = b"p" * 32


class CountingPlatform:
    """What opens itself, as the ledger asks of a platform.

    Args:
        keys: what it derives, the newest first.
        value: where its counter stands.
        first: the value that it counts to at first; a TPM's is above all it ever had.
    """

    def __init__(self, *keys: bytes, value: int = 0, first: int = 1) -> None:
        self.keys = keys or (KEY,)
        self.value = value
        self.first = first
        self.opened = 0
        self.available = True

    @contextmanager
    def __call__(self) -> Generator[CountingPlatform]:
        if not self.available:
            raise VolumeRefused("the platform does not answer", hint="is it plugged in?")
        self.opened += 1
        yield self

    def count(self) -> int:
        return self.value

    def count_up(self) -> int:
        self.value = self.value + 1 if self.value else self.first
        return self.value


def root(generation: int) -> Anchored:
    """Return the root of a generation."""
    return Anchored(generation, hashlib.sha256(generation.to_bytes(8, "little")).digest())

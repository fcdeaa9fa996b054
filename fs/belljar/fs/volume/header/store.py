"""Read and write the two copies in a container, so that a crash at any byte leaves one of them valid.

In comes a `Region`: the first 128 KiB of a container. A change is written to the copy that is not the newest whole one,
made durable, then to the other, made durable. A reader takes the newest whole copy. No key is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from belljar.fs.errors import VolumeRefused

from . import layout
from .parse import DamagedCopy, parse_copy

if TYPE_CHECKING:
    from .model import Header


class Region(Protocol):
    """What the header needs of a container; every container of a volume is one."""

    def pread(self, length: int, offset: int, /) -> bytes:
        """Return up to `length` bytes from `offset`, fewer only at the end."""
        ...

    def pwrite(self, content: bytes, offset: int, /) -> object:
        """Write all of `content` at `offset`."""
        ...

    def sync(self) -> None:
        """Return when everything written is durable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A whole copy: where it stands, its bytes, what they say."""

    number: int
    raw: bytes
    header: Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What was found of both.

    Attributes:
        whole: the whole ones, newest first.
        damaged: of each that is not whole, its number and why.
    """

    whole: tuple[Copy, ...]
    damaged: tuple[tuple[int, str], ...]


def read_copies(region: Region) -> Copies:
    """Return the copies of a container that are whole; at least one.

    Raises:
        VolumeRefused: neither is, or one was written by another version.
    """
    whole: list[Copy] = []
    damaged: list[tuple[int, str]] = []
    for number in range(layout.COPIES):
        raw = region.pread(layout.COPY_BYTES, number * layout.COPY_BYTES)
        try:
            whole.append(Copy(number=number, raw=raw, header=parse_copy(raw)))
        except DamagedCopy as error:
            damaged.append((number, str(error)))
    if not whole:
        raise VolumeRefused(
            "not a volume, or its header is destroyed: " + "; ".join(f"copy {n}: {why}" for n, why in damaged),
            hint="restore it from a backup: belljar volume restore",
        )
    whole.sort(key=lambda copy: -copy.header.generation)
    return Copies(whole=tuple(whole), damaged=tuple(damaged))


def write_copies(region: Region, raw: bytes, *, newest: int) -> None:
    """Write a copy to both places, the one that is not `newest` first; durable on return."""
    for number in (1 - newest, newest):
        region.pwrite(raw, number * layout.COPY_BYTES)
        region.sync()


def heal(region: Region, chosen: Copy) -> None:
    """Make the other place hold the chosen copy; durable on return."""
    region.pwrite(chosen.raw, (1 - chosen.number) * layout.COPY_BYTES)
    region.sync()


def unverified_header(region: Region) -> Header:
    """Return what the newest whole copy says. Nobody has checked who wrote it: for listings, never for trust.

    Raises:
        VolumeRefused: no copy is whole.
    """
    return read_copies(region).whole[0].header

"""What a bundle says in its payload: the canonical manifest, where its content lies, and what the indexes are.

In come values; out comes canonical JSON, and back. Places below the folder of the bundle are written relative to it, so
that a folder can be copied with its bundle; all others are absolute. Pure.
"""

from __future__ import annotations

import json
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from belljar.attestation.measurement import canonical_bytes
from belljar.loader.errors import BundleRefused

from . import layout

if TYPE_CHECKING:
    from belljar.attestation.measurement import Json

_MEMBERS = {"belljar", "format", "hashed", "host", "manifest"}
_HASHED = {"index", "path", "source"}
_HOST = {"path", "source"}
_NETWORK = {"place", "value"}
_INDEX = {"sha256", "size"}
_HEX_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """An index in a bundle: the mount it pins, and the whole file, times included."""

    path: str
    source: str
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a bundle holds beside its indexes.

    Attributes:
        belljar: version of the belljar that built it.
        manifest: members of the canonical manifest.
        hashed: the indexes, in the order they stand in the file.
        host: guest path -> source of every host mount.
        network: what the network says and is not measured, by its place: addresses outside, files of secrets.
    """

    belljar: str
    manifest: dict[str, Json]
    hashed: tuple[IndexFile, ...]
    host: dict[str, str]
    network: dict[str, str]


def encode_payload(payload: Payload) -> bytes:
    """Return the canonical JSON of a payload.

    Raises:
        NotCanonical: a source is not Unicode.
    """
    hashed: list[Json] = [
        {"index": {"sha256": part.sha256.hex(), "size": part.size}, "path": part.path, "source": part.source}
        for part in payload.hashed
    ]
    host: list[Json] = [{"path": path, "source": source} for path, source in sorted(payload.host.items())]
    network: list[Json] = [{"place": place, "value": value} for place, value in sorted(payload.network.items())]
    return canonical_bytes(
        {
            **({"network": network} if network else {}),
            "belljar": payload.belljar,
            "format": layout.FORMAT,
            "hashed": hashed,
            "host": host,
            "manifest": payload.manifest,
        }
    )


def decode_payload(content: bytes) -> Payload:
    """Return what a payload says. Whether the manifest in it is one is not asked here.

    Raises:
        BundleRefused: it is not the canonical JSON of a payload.
    """
    try:
        payload = _payload(json.loads(content))
        again = encode_payload(payload)
    except BundleRefused:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleRefused(f"the payload cannot be read: {type(error).__name__}: {error}") from error
    if again != content:
        raise BundleRefused("the payload is not in the one canonical form of its content")
    return payload


def _payload(members: object) -> Payload:
    known = cast("dict[str, Any]", members) if isinstance(members, dict) else {}
    if known.get("format") != layout.FORMAT:
        raise BundleRefused(f"the payload is of format {str(known.get('format'))[:80]!r}, expected {layout.FORMAT!r}")
    if (
        set(known) - {"network"} != _MEMBERS
        or not isinstance(known["manifest"], dict)
        or not isinstance(known["belljar"], str)
    ):
        raise BundleRefused(f"the payload has the members {', '.join(sorted(known))[:200]}, expected others")
    if len(known["hashed"]) > layout.MAX_INDEXES:
        raise BundleRefused(f"the payload names {len(known['hashed'])} indexes, expected at most {layout.MAX_INDEXES}")
    hashed = tuple(_index_file(row) for row in known["hashed"])
    paths = [part.path for part in hashed]
    if paths != sorted(set(paths)):
        raise BundleRefused("the indexes are not in the order of their mounts")
    host = {_text(row["path"]): _source(row["source"]) for row in known["host"] if set(row) == _HOST}
    manifest = cast("dict[str, Json]", known["manifest"])
    network = {_text(row["place"]): _text(row["value"]) for row in known.get("network", []) if set(row) == _NETWORK}
    for place, value in network.items():
        if not is_address(place):
            _source(value)
    return Payload(belljar=known["belljar"], manifest=manifest, hashed=hashed, host=host, network=network)


def _index_file(row: dict[str, Any]) -> IndexFile:
    index: dict[str, Any] = row["index"]
    size, digest = index["size"], index["sha256"]
    if set(row) != _HASHED or set(index) != _INDEX or len(digest) != _HEX_DIGITS:
        raise BundleRefused("an index is not described by its mount, source, size and digest")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= layout.MAX_INDEX_BYTES:
        raise BundleRefused(f"an index has {size} bytes, expected 1 to {layout.MAX_INDEX_BYTES}")
    return IndexFile(path=_text(row["path"]), source=_source(row["source"]), sha256=bytes.fromhex(digest), size=size)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BundleRefused(f"a path is a {type(value).__name__}, expected a text")
    return value


def _source(value: object) -> str:
    text = _text(value)
    parts = text.split("/")
    if not text or "\0" in text or text != posixpath.normpath(text) or ".." in parts:
        raise BundleRefused(f"the source {text!r} is not a plain path")
    return text


def is_address(place: str) -> bool:
    """Say whether what stands at a place of the network is an address, and no file."""
    return place.endswith(".outside")


def relative_to(folder: str, source: str) -> str:
    """Return how a source is written in a bundle that lies in `folder`: relative if it lies below, else as it is."""
    source = os.path.normpath(source)
    for base in dict.fromkeys((os.path.normpath(folder), os.path.realpath(folder))):
        if base != "/" and (source == base or source.startswith(f"{base}/")):
            return os.path.relpath(source, base)
    return source


def absolute_in(folder: str, source: str) -> str:
    """Return where a source of a bundle in `folder` is."""
    return os.path.normpath(os.path.join(folder, source))

"""Read a bundle, and believe nothing of it before it has been checked (docs/formats/bundle.md).

In comes an open file; out comes a `Bundle`, or a `BundleRefused` with the reason. The order: header, digest of the
payload, signature, canonical form, manifest, every index: its digest, that it is the one the manifest measures, its
structure. A length is only believed once the file has it. Whether the signer is the right one: `signers.py`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.measurement import Measurement, canonical_bytes
from belljar.fs.measuring import Entry, IndexRefused, list_entries
from belljar.fs.serving import Index
from belljar.loader.errors import BundleRefused, LoaderError

from . import layout
from .payload import Payload, absolute_in, decode_payload, is_address
from .restore import restore

if TYPE_CHECKING:
    from belljar.attestation.keys import PublicKey
    from belljar.loader.canonical import Decided

_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that holds.

    Attributes:
        path: of the file.
        belljar: version that built it.
        key: who signed it; None if nobody did.
        decided: the enclave; sources are absolute.
        members: of the canonical manifest.
        canonical: its bytes.
        measurement: their digest.
        indexes: the index files, in the order of `decided.pinned`.
        entries: what each index names.
    """

    path: str
    belljar: str
    key: PublicKey | None
    decided: Decided
    members: dict[str, object]
    canonical: bytes
    measurement: Measurement
    indexes: tuple[bytes, ...]
    entries: tuple[tuple[Entry, ...], ...]

    @property
    def signer(self) -> str:
        """The signer id as people write it; empty if nobody signed."""
        return "" if self.key is None else f"sha256:{self.key.signer.hex()}"


def read_bundle(path: str) -> Bundle:
    """Read the bundle at a path.

    Raises:
        BundleRefused: it does not hold, for the reason given.
        LoaderError: there is no such file, or it cannot be read.
    """
    descriptor = open_bundle(path)
    try:
        return read_open_bundle(descriptor, path)
    finally:
        os.close(descriptor)


def open_bundle(path: str) -> int:
    """Open a bundle for reading.

    Raises:
        LoaderError: there is no such file, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise LoaderError(f"{path}: cannot read the bundle: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleRefused(f"{path}: not a regular file, expected a bundle")
    return descriptor


def read_open_bundle(descriptor: int, path: str) -> Bundle:
    """Read a bundle from the start of an open file; `path` is what it is called, and what sources are relative to.

    Raises:
        BundleRefused: it does not hold, for the reason given.
    """
    try:
        body, signed = _body(descriptor)
        key, content = _verified(body) if signed else (None, body)
        payload = decode_payload(content)
        folder = os.path.dirname(os.path.abspath(path))
        decided = restore(
            payload.manifest,
            {part.path: absolute_in(folder, part.source) for part in payload.hashed},
            {mount: absolute_in(folder, source) for mount, source in payload.host.items()},
            {
                place: found if is_address(place) else absolute_in(folder, found)
                for place, found in payload.network.items()
            },
        )
        indexes = tuple(_indexes(descriptor, layout.HEADER.size + len(body), payload))
        entries = tuple(
            _entries(index, tree.digest, tree.path) for index, tree in zip(indexes, decided.pinned, strict=True)
        )
    except BundleRefused as error:
        raise BundleRefused(f"{path}: {error}", hint=error.hint) from error
    canonical = canonical_bytes(payload.manifest)
    return Bundle(
        path=path,
        belljar=payload.belljar,
        key=key,
        decided=decided,
        members={**payload.manifest},
        canonical=canonical,
        measurement=Measurement(hashlib.sha256(canonical).digest()),
        indexes=indexes,
        entries=entries,
    )


def _body(descriptor: int) -> tuple[bytes, bool]:
    """Return the payload as it stands in the file, and whether it is signed."""
    header = os.pread(descriptor, layout.HEADER.size, 0)
    if not header.startswith(layout.MAGIC):
        raise BundleRefused("not a bundle: it does not begin with BELLJBDL", hint="belljar build makes one")
    found = os.fstat(descriptor).st_size
    if len(header) != layout.HEADER.size:
        raise BundleRefused(f"the bundle is truncated: {found} bytes, expected at least {layout.HEADER.size}")
    _, version, flags, length, expected, zero, digest = layout.HEADER.unpack(header)
    if version != layout.VERSION:
        raise BundleRefused(f"bundle of version {version}, expected {layout.VERSION}: built by another belljar")
    if flags & ~layout.FLAG_SIGNED or zero != layout.ZERO:
        raise BundleRefused(f"the header is damaged: flags {flags:#x}, reserved bytes {zero.hex()}")
    if found != expected:
        kind = "truncated" if found < expected else "followed by something else"
        raise BundleRefused(f"the bundle is {kind}: {found} bytes, expected {expected}")
    if not 0 < length <= min(layout.MAX_PAYLOAD_BYTES, found - layout.HEADER.size):
        raise BundleRefused(f"the header is damaged: a payload of {length} bytes in a file of {found}")
    body = os.pread(descriptor, length, layout.HEADER.size)
    if hashlib.sha256(body).digest() != digest:  # nothing secret is compared, so no constant time is owed
        raise BundleRefused("the payload is damaged: it does not have the digest that the header holds")
    return body, bool(flags & layout.FLAG_SIGNED)


def _verified(body: bytes) -> tuple[PublicKey, bytes]:
    """Return who signed the payload, and what was signed."""
    from belljar.attestation.cose import SignatureRefused, verify

    try:
        signed = verify(body, layout.CONTENT_TYPE)
    except SignatureRefused as error:
        raise BundleRefused(str(error), hint=error.hint) from error
    return signed.key, signed.payload


def _indexes(descriptor: int, at: int, payload: Payload) -> list[bytes]:
    """Return the index files, each with the digest that the payload holds."""
    found, expected = os.fstat(descriptor).st_size, at + sum(part.size for part in payload.hashed)
    if found != expected:
        raise BundleRefused(f"the bundle has {found} bytes, but its payload speaks of {expected}")
    indexes: list[bytes] = []
    for part in payload.hashed:
        content = _read(descriptor, at, part.size)
        if hashlib.sha256(content).digest() != part.sha256:
            raise BundleRefused(f"the index of {part.path} is damaged: it does not have the digest of the payload")
        indexes.append(content)
        at += part.size
    return indexes


def _read(descriptor: int, at: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := os.pread(descriptor, min(size, _AT_ONCE), at)):
        parts.append(part)
        at, size = at + len(part), size - len(part)
    return b"".join(parts)


def _entries(content: bytes, digest: bytes, path: str) -> tuple[Entry, ...]:
    try:
        return entries_of(content, digest)
    except IndexRefused as error:
        raise BundleRefused(f"the index of {path} cannot be used: {error}") from error


def entries_of(content: bytes, digest: bytes) -> tuple[Entry, ...]:
    """Return what an index names.

    Raises:
        IndexRefused: it does not have this digest, or is malformed.
    """
    descriptor = os.memfd_create("belljar-index", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    index = Index(descriptor, digest)
    try:
        return tuple(list_entries(index))
    finally:
        index.close()

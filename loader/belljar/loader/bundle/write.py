"""Make the bytes of a bundle from what was measured (IEEE 2952 5.1.2 b, 7.2.3 b).

In come a `Measured`, the folder the bundle will lie in, and perhaps a key; out come the bytes of the file. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

from belljar.attestation.measurement import FORMAT, NotCanonical
from belljar.loader.canonical import canonical_members
from belljar.loader.errors import LoaderError
from belljar.loader.manifest.model import FROM_HOST
from belljar.loader.networks.forms import not_measured
from belljar.loader.version import VERSION

from . import layout
from .payload import IndexFile, Payload, encode_payload, is_address, relative_to

if TYPE_CHECKING:
    from belljar.attestation.keys import SigningKey
    from belljar.attestation.measurement import Json
    from belljar.loader.measure import Measured


def bundle_bytes(measured: Measured, folder: str, key: SigningKey | None) -> bytes:
    """Return a bundle.

    Args:
        measured: the enclave.
        folder: where the bundle will lie: sources below it are written relative to it.
        key: signs it; None makes an unsigned one.

    Raises:
        LoaderError: it is larger than a bundle can be, or a source has no name that could be written.
    """
    indexes = [tree.measured.index.content for tree in measured.trees]
    try:
        body = encode_payload(_payload(measured, folder, indexes))
    except NotCanonical as error:
        raise LoaderError(f"a source cannot be written into a bundle: {error}", hint="rename it: use UTF-8") from error
    if max(map(len, indexes), default=0) > layout.MAX_INDEX_BYTES or len(indexes) > layout.MAX_INDEXES:
        raise LoaderError(
            f"an index is larger than a bundle can hold: expected at most {layout.MAX_INDEX_BYTES} bytes each, "
            f"and {layout.MAX_INDEXES} of them",
            hint="exclude what the program does not read",
        )
    if key is not None:
        from belljar.attestation.cose import sign

        body = sign(body, key, layout.CONTENT_TYPE)
    if len(body) > layout.MAX_PAYLOAD_BYTES:
        raise LoaderError(f"the manifest makes {len(body)} bytes, expected at most {layout.MAX_PAYLOAD_BYTES}")
    header = layout.HEADER.pack(
        layout.MAGIC,
        layout.VERSION,
        layout.FLAG_SIGNED if key is not None else 0,
        len(body),
        layout.HEADER.size + len(body) + sum(map(len, indexes)),
        layout.ZERO,
        hashlib.sha256(body).digest(),
    )
    return b"".join((header, body, *indexes))


def _payload(measured: Measured, folder: str, indexes: list[bytes]) -> Payload:
    members: dict[str, Json] = {**canonical_members(measured.decided), "format": FORMAT}
    return Payload(
        belljar=VERSION,
        manifest=members,
        hashed=tuple(
            IndexFile(
                path=tree.where.path,
                # What programs bring stands at the same path inside: it moves with the machine, not with the folder.
                source=tree.where.source if tree.where.of_programs else relative_to(folder, tree.where.source),
                sha256=hashlib.sha256(content).digest(),
                size=len(content),
            )
            for tree, content in zip(measured.trees, indexes, strict=True)
        ),
        host={
            mount.path: relative_to(folder, mount.source)
            for mount in cast("list[object]", measured.decided.manifest.mounts)
            if isinstance(mount, FROM_HOST)
        },
        network={
            place: found if is_address(place) else relative_to(folder, found)
            for place, found in not_measured(measured.decided.manifest.network).items()
        },
    )

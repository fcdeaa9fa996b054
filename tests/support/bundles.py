"""Make small bundles: one script, one program, and what tests do to them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from belljar.attestation.cose import sign
from belljar.attestation.keys import SigningKey
from belljar.attestation.measurement import canonical_bytes
from belljar.loader.bundle import layout

from .running import Belljar

MANIFEST = """\
belljar: 1
name: app
extends: [minimal]
programs: [/bin/sh, /bin/cat]
argv: [/bin/sh, /app/run.sh]
arguments: any
environment: {set: {GREETING: hello}}
limits: {memory: 256MiB}
mounts:
  - {type: hashed, path: /app, source: app}
  - {type: host, path: /data, source: data}
"""
SCRIPT = 'echo "$GREETING $*"; cat /app/note /data/name\n'


def make_project(folder: Path) -> Path:
    """Make a folder with a manifest, a script, a file and a folder of the host."""
    (folder / "app").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "app/run.sh").write_text(SCRIPT)
    (folder / "app/note").write_text("a note\n")
    (folder / "data/name").write_text("a name\n")
    (folder / "app.yaml").write_text(MANIFEST)
    return folder


def build(belljar: Belljar, *options: str) -> Path:
    """Build the manifest in the folder of `belljar` into app.bell."""
    belljar("build", "app.yaml", "-o", "app.bell", *options)
    return belljar.folder / "app.bell"


def split(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return header, payload and indexes of a bundle."""
    length = int.from_bytes(content[12:16], "little")
    return content[:64], content[64 : 64 + length], content[64 + length :]


def join(body: bytes, indexes: bytes, *, signed: bool) -> bytes:
    """Return a bundle with a header that fits."""
    size = 64 + len(body) + len(indexes)
    header = struct.pack(
        "<8sHHIQ8s32s", b"BELLJBDL", 1, signed, len(body), size, bytes(8), hashlib.sha256(body).digest()
    )
    return header + body + indexes


def altered(content: bytes, change: Callable[[dict[str, Any]], None], key: SigningKey | None = None) -> bytes:
    """Return an unsigned bundle with another payload, well formed again, and signed if there is a key."""
    _, body, indexes = split(content)
    members = json.loads(body)
    change(members)
    body = canonical_bytes(members)
    if key is not None:
        body = sign(body, key, layout.CONTENT_TYPE)
    return join(body, indexes, signed=key is not None)

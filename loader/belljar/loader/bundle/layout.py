"""The bytes of a bundle, shared by its reader and its writer; documented in docs/formats/bundle.md.

    header    64 bytes
    payload   canonical JSON (RFC 8785), or a COSE_Sign1 whose payload is that JSON
    indexes   whole index files, in the order of the payload

Every byte counts: the header holds the digest of the payload and the length of the file, the payload the size and the
digest of every index. Everything is little endian.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"BELLJBDL"
VERSION = 1
FLAG_SIGNED = 1
SUFFIX = ".bell"

HEADER = Struct("<8sHHIQ8s32s")  # magic version flags payload_bytes file_bytes zero payload_sha256
ZERO = bytes(8)

FORMAT = "belljar.bundle/1"
CONTENT_TYPE = "application/vnd.belljar.bundle+json"  # what the signature is over

MAX_PAYLOAD_BYTES = 4 << 20  # a manifest file has at most 256 KiB; small, for what a stranger can have us decode
MAX_INDEX_BYTES = 256 << 20  # some two million files
MAX_INDEXES = 1024

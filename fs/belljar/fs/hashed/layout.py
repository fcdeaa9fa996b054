"""The bytes of an index, shared by its reader and its writer; documented in docs/formats/index.md.

    header   48 bytes   ┐ SHA-256 over these two is the digest of the index,
    table    32 × blocks┘ and the table holds a SHA-256 per 16 KiB block of the body
    body     entries (24 bytes each), names, chunk digests (32 bytes each)
    times    16 bytes per entry, outside of the digest

Entry 0 is the root. The children of a directory are neighbours, sorted by the bytes of their names, and stand behind
their directory. Everything is little endian.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"BELLJIDX"
VERSION = 1
SHA256 = 1  # hash algorithm numbers; a new algorithm gets a new number, never this one's
DIGEST_BYTES = {SHA256: 32}
BLOCK_BYTES = 16 * 1024
CHUNK_BYTES = 64 * 1024  # unit of verification: measured in docs/decisions/0004-index.md

HEADER = Struct("<8sHHIIIQQ8x")  # magic version algorithm block_bytes chunk_bytes entries names_bytes chunks
ENTRY = Struct("<IHBBQII")  # name_offset name_length kind flags size first parent
TIME = Struct("<qII")  # mtime_ns inode nlink

KIND_FILE = 1  # size: bytes; first: number of its first chunk digest
KIND_DIRECTORY = 2  # size: number of children; first: its first child
KIND_SYMLINK = 3  # size: bytes of the target; first: offset of the target in names
FLAG_EXECUTABLE = 1

MAX_ENTRIES = (1 << 32) - 1  # entry numbers are 32 bits
MAX_NAME_BYTES = 255  # NAME_MAX of Linux
MAX_TARGET_BYTES = 4095  # PATH_MAX of Linux, less its NUL

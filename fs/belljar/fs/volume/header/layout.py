"""The bytes of a volume's header, shared by its reader and its writer; documented in docs/formats/volume-header.md.

    container   0 copy 0    65536 copy 1    131072 what the tree owns

    copy        prelude     256 bytes
                slots       32 × 1536 bytes; an empty one is all zero
                zero        up to 65472
                MAC          32 bytes: HMAC-SHA-256 over all before it, under a key derived from the volume key
                checksum     32 bytes: SHA-256 over all before it

The checksum tells a torn copy from a whole one without a key; the MAC tells whether somebody with the volume key wrote
it. In every version, magic, version and checksum stay where they are. Everything is little endian.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"BELLJVOL"
VERSION = 1
AES_256_GCM = 1  # algorithm numbers; a new algorithm gets a new number, never this one's
HKDF_HMAC_SHA256 = 1

COPY_BYTES = 64 * 1024
COPIES = 2
HEADER_BYTES = COPIES * COPY_BYTES

PRELUDE = Struct("<8sHHHHIIQ16sQ200x")
"""magic version cipher derivation zero slots slot_bytes generation volume_id created_s"""
SLOTS = 32
SLOT = Struct("<HHHH8x64s60s4x")
"""kind label_bytes parameter_bytes zero label wrapped"""
SLOT_BYTES = 1536  # fits ML-KEM-768 with X25519 (1208 bytes of parameters)
MAX_PARAMETER_BYTES = SLOT_BYTES - SLOT.size
MAX_LABEL_BYTES = 64
WRAPPED_BYTES = 60  # nonce 12, wrapped key 32, tag 16
MAC_AT = COPY_BYTES - 64
CHECKSUM_AT = COPY_BYTES - 32

VOLUME_ID_BYTES = 16
KEY_BYTES = 32
MAX_GENERATION = (1 << 63) - 1
MAC_INFO = b"belljar volume header mac 1"

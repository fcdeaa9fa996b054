"""What is sealed, byte by byte (docs/formats/sealed.md); everything is authenticated, only the plaintext is hidden.

       0    8  magic "BJSEALED"
       8    1  version 1
       9    1  policy: 1 measurement, 2 signer
      10    1  algorithm: 1 HKDF-SHA-512 and AES-256-GCM
      11    1  zero
      12    2  security version of who sealed, big endian
      14    1  mode: 1 normal, 2 debug, as DICE counts
      15    1  zero
      16   20  platform that sealed
      36    4  product id, big endian
      40   32  who may open it: the measurement, or the signer id
      72   32  salt, random: with it the key is one of its own
     104    n  ciphertext
   104+n   16  tag

Key and nonce come from the rung's key and the whole header, so no pair of them is ever used twice. In come bytes from
anybody; a header that is not exactly so is refused. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from belljar.attestation.dice.inputs import Mode
from belljar.attestation.errors import SealRefused
from belljar.attestation.roots.root import PLATFORM_ID_BYTES, PlatformId

MAGIC = b"BJSEALED"
VERSION = 1
AES_256_GCM = 1
SALT_BYTES = 32
TAG_BYTES = 16
MAX_PLAINTEXT_BYTES = 1 << 20  # keys and small secrets; volumes are for data
MAX_ASSOCIATED_BYTES = 1 << 20
_HEADER = struct.Struct(f">8sBBBxHBx{PLATFORM_ID_BYTES}sI32s{SALT_BYTES}s")
HEADER_BYTES = _HEADER.size

SealedBlob = NewType("SealedBlob", bytes)


class Policy(IntEnum):
    """Who can unseal."""

    MEASUREMENT = 1
    """The same enclave, byte for byte."""
    SIGNER = 2
    """The same product of the same signer, of this security version or a newer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What anybody can see of something sealed.

    Attributes:
        policy: who can unseal.
        svn: security version of who sealed.
        mode: normal or debug.
        platform: which sealed.
        product_id: of the enclave that sealed.
        owner: the measurement or signer id, 32 bytes, as the policy says.
        salt: 32 random bytes.
    """

    policy: Policy
    svn: int
    mode: Mode
    platform: PlatformId
    product_id: int
    owner: bytes
    salt: bytes

    def pack(self) -> bytes:
        """Return the header's 104 bytes."""
        return _HEADER.pack(
            MAGIC, VERSION, self.policy, AES_256_GCM, self.svn, self.mode, self.platform, self.product_id, self.owner,
            self.salt,
        )  # fmt: skip


def unpack(blob: bytes) -> tuple[Header, bytes]:
    """Return the header of something sealed, and its ciphertext with the tag.

    Raises:
        SealRefused: it is nothing sealed, of another version, or cut.
    """
    if not blob.startswith(MAGIC):
        raise SealRefused("not something sealed by belljar")
    if not HEADER_BYTES + TAG_BYTES <= len(blob) <= HEADER_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES:
        raise SealRefused(f"{len(blob)} bytes sealed: cut, or longer than what can be sealed")
    _, version, policy, algorithm, svn, mode, platform, product, owner, salt = _HEADER.unpack_from(blob)
    if version != VERSION:
        raise SealRefused(f"sealed in format {version}, expected {VERSION}", hint="unseal it with a newer belljar")
    if algorithm != AES_256_GCM or policy not in tuple(Policy) or mode not in (Mode.NORMAL, Mode.DEBUG):
        raise SealRefused(f"sealed with policy {policy}, algorithm {algorithm}, mode {mode}: unknown here")
    header = Header(
        policy=Policy(policy), svn=svn, mode=Mode(mode), platform=PlatformId(platform), product_id=product, owner=owner,
        salt=salt,
    )  # fmt: skip
    if header.pack() != blob[:HEADER_BYTES]:
        raise SealRefused("bytes in the header where zeros belong")
    return header, blob[HEADER_BYTES:]


def associated(header: bytes, given: bytes) -> bytes:
    """Return the associated data of the encryption: header (104) ‖ length of what was given (8) ‖ what was given."""
    if len(given) > MAX_ASSOCIATED_BYTES:
        raise SealRefused(f"{len(given)} bytes of associated data, expected at most {MAX_ASSOCIATED_BYTES}")
    return header + len(given).to_bytes(8, "big") + given

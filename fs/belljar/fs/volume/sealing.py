"""The cryptography of a volume: which key, which nonce and which associated data belong to which bytes.

Keys come from the volume key by HKDF-SHA-256 (RFC 5869, expand only: the volume key is uniform). Every mount that
writes draws a random epoch, and every key depends on its epoch; the nonce is a counter that never repeats within an
epoch. So nothing written before a crash shares key and nonce with anything written after it. IEEE 2952 7.6.1 a, 7.6.2
a.

Associated data, byte by byte (docs/formats/volume.md):

    volume id (16) | purpose "N" | level (1) | generation (8)                            node
    volume id (16) | purpose "C" | generation (8) | inode (8) | chunk number (8)         chunk
    volume id (16) | purpose "R" | first 64 bytes of the record, slot number among them   root record
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from belljar.fs.volume import layout

NODES = 0  # in place of an inode number: there is no inode 0
ROOTS = (1 << 64) - 1  # nor this one
_MAX_CIPHERS = 1024  # of about 1 KB each
_NODE = Struct(">16scBQ")
_CHUNK = Struct(">16scQQQ")
_SCOPE = Struct(">16sQ")

Random = Callable[[int], bytes]

__all__ = ["NODES", "ROOTS", "InvalidTag", "Random", "Sealer"]


class Sealer:
    """Encrypts and decrypts for one volume. `epoch` and `counter` are drawn when something is first sealed."""

    def __init__(self, volume_id: bytes, key: bytes, random: Random) -> None:
        self.volume_id = volume_id
        self._key = key
        self._random = random
        self._epoch = b""
        self._uses = layout.MAX_USES
        self._ciphers: dict[tuple[bytes, int], AESGCM] = {}
        self._names = hashlib.blake2b(key=self._expand(b"names"), digest_size=8)

    def node_context(self, level: int, generation: int) -> bytes:
        """Return the associated data of a node."""
        return _NODE.pack(self.volume_id, b"N", level, generation)

    def chunk_context(self, ino: int, chunk: int, generation: int) -> bytes:
        """Return the associated data of a chunk."""
        return _CHUNK.pack(self.volume_id, b"C", generation, ino, chunk)

    def root_context(self, head: bytes) -> bytes:
        """Return the associated data of a root record."""
        return self.volume_id + b"R" + head

    def name_hash(self, name: bytes) -> int:
        """Return 64 bits that only who knows the key can foresee: nobody can make names collide."""
        state = self._names.copy()
        state.update(name)
        return int.from_bytes(state.digest(), "big")

    def next_nonce(self) -> tuple[bytes, int]:
        """Return (epoch, counter), used by nobody before."""
        if self._uses >= layout.MAX_USES:
            self._epoch, self._uses = self._random(layout.EPOCH_BYTES), 0
        self._uses += 1
        return self._epoch, self._uses - 1

    def seal(
        self, content: bytes | bytearray | memoryview, scope: int, nonce: tuple[bytes, int], context: bytes
    ) -> bytes:
        """Return ciphertext and, as its last 16 bytes, the tag. `scope` is an inode number, NODES or ROOTS."""
        return self._cipher(nonce[0], scope).encrypt(nonce[1].to_bytes(12, "big"), content, context)

    def seal_into(
        self, content: memoryview, scope: int, nonce: tuple[bytes, int], context: bytes, room: memoryview
    ) -> None:
        """Put ciphertext and tag into `room`, which is 16 bytes longer than the content."""
        self._cipher(nonce[0], scope).encrypt_into(nonce[1].to_bytes(12, "big"), content, context, room)

    def open_into(self, sealed: bytes, scope: int, nonce: tuple[bytes, int], context: bytes, room: memoryview) -> None:
        """Put the content into `room`, which is as long. Raises InvalidTag; then nobody may look at what is there."""
        self._cipher(nonce[0], scope).decrypt_into(nonce[1].to_bytes(12, "big"), sealed, context, room)

    def open(self, sealed: bytes, scope: int, nonce: tuple[bytes, int], context: bytes) -> bytes:
        """Return the content. Raises InvalidTag."""
        return self._cipher(nonce[0], scope).decrypt(nonce[1].to_bytes(12, "big"), sealed, context)

    def _cipher(self, epoch: bytes, scope: int) -> AESGCM:
        found = self._ciphers.get((epoch, scope))
        if found is None:
            if len(self._ciphers) >= _MAX_CIPHERS:
                self._ciphers.clear()
            found = AESGCM(self._expand(b"seal" + _SCOPE.pack(epoch, scope)))
            self._ciphers[epoch, scope] = found
        return found

    def _expand(self, purpose: bytes) -> bytes:
        """Return a key for a purpose: HKDF-Expand(volume key, "belljar volume 1 " | purpose, 32)."""
        return HKDFExpand(SHA256(), layout.KEY_BYTES, b"belljar volume 1 " + purpose).derive(self._key)

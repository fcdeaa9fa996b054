"""The file of a soft platform, byte by byte (docs/formats/platform.md), and what a generation of it is.

       0    8  magic "BJSOFT01"
       8    2  number of generations n, 1 to 16, big endian
      10    6  zeros
      16  512  secrets: 16 places of 32 bytes, the newest first, unused ones zero
     528    4  length p of the public part, big endian
     532    p  public part: deterministic CBOR [[algorithm, platform certificate, CA certificate], ...], newest first
   532+p   32  SHA-256 of everything before

The digest finds damage, not malice: whoever writes this file knows the secrets. Secrets are read into memory of their
own (memory.py) and looked at nowhere else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from belljar.attestation.algorithms import ALGORITHMS, algorithm_of
from belljar.attestation.cbor import decode, encode
from belljar.attestation.crypto.compare import same
from belljar.attestation.dice.keypair import key_id
from belljar.attestation.errors import CborRefused, KeyRefused, PlatformRefused
from belljar.attestation.keys import PublicKey

from .root import PlatformId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from belljar.attestation.cbor import Cbor

MAGIC = b"BJSOFT01"
SECRET_BYTES = 32
MAX_GENERATIONS = 16
SECRETS = 16  # where they begin
HEAD_BYTES = SECRETS + MAX_GENERATIONS * SECRET_BYTES + 4
MAX_PUBLIC_BYTES = 256 * 1024  # 16 generations of two certificates with ML-DSA-65
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One secret's public side.

    Attributes:
        algorithm: of the platform's key and of everything below it.
        certificate: of the platform's key, DER.
        ca: of who certified it, DER.
        platform: names it.
    """

    algorithm: str
    certificate: bytes
    ca: bytes
    platform: PlatformId


def pack(secrets: memoryview, generations: Sequence[Generation]) -> list[bytes | memoryview]:
    """Return the file in parts.

    Args:
        secrets: the 512 bytes of their places.
        generations: newest first.
    """
    public = encode([[item.algorithm, item.certificate, item.ca] for item in generations])
    start = MAGIC + len(generations).to_bytes(2, "big") + bytes(6)
    length = len(public).to_bytes(4, "big")
    digest = hashlib.sha256(start)
    for part in (secrets, length, public):
        digest.update(part)
    return [start, secrets, length, public, digest.digest()]


def unpack(head: memoryview, rest: bytes, name: str) -> tuple[Generation, ...]:
    """Return the generations in a file; their secrets stay where they are in `head`.

    Args:
        head: the first 532 bytes.
        rest: what follows.
        name: what errors call the file.

    Raises:
        PlatformRefused: the file is not one of ours, of another version, or damaged.
    """
    hint = "put the file back from a backup, or begin anew with belljar platform init in an empty folder"
    if bytes(head[:8]) != MAGIC:
        raise PlatformRefused(f"{name}: not a platform of format {MAGIC.decode()}", hint=hint)
    count = int.from_bytes(head[8:10], "big")
    length = int.from_bytes(head[HEAD_BYTES - 4 :], "big")
    if len(rest) != length + _DIGEST_BYTES or not 1 <= count <= MAX_GENERATIONS:
        raise PlatformRefused(f"{name}: damaged: sizes do not agree", hint=hint)
    digest = hashlib.sha256(head)
    digest.update(rest[:-_DIGEST_BYTES])
    if not same(digest.digest(), rest[-_DIGEST_BYTES:]):
        raise PlatformRefused(f"{name}: damaged: the digest does not match", hint=hint)
    unused = head[SECRETS + count * SECRET_BYTES : HEAD_BYTES - 4]
    if bytes(head[10:16]) != bytes(6) or any(unused):
        raise PlatformRefused(f"{name}: damaged: bytes where none belong", hint=hint)
    return _generations(rest[:-_DIGEST_BYTES], count, name)


def _generations(public: bytes, count: int, name: str) -> tuple[Generation, ...]:
    try:
        items = decode(public)
    except CborRefused as error:
        raise PlatformRefused(f"{name}: {error}") from error
    if not isinstance(items, list) or len(items) != count:
        raise PlatformRefused(f"{name}: damaged: expected {count} generations")
    return tuple(_generation(item, name) for item in items)


def _generation(item: Cbor, name: str) -> Generation:
    if isinstance(item, list) and len(item) == 3:
        algorithm, certificate, ca = item
        if isinstance(algorithm, str) and isinstance(certificate, bytes) and isinstance(ca, bytes):
            if algorithm not in ALGORITHMS:
                raise PlatformRefused(f"{name}: algorithm {algorithm}, expected one of {', '.join(ALGORITHMS)}")
            return generation(algorithm, certificate, ca, name)
    raise PlatformRefused(f"{name}: damaged: a generation is an algorithm and two certificates")


def generation(algorithm: str, certificate: bytes, ca: bytes, name: str) -> Generation:
    """Return a generation, named after the key in its certificate.

    Raises:
        PlatformRefused: the certificate cannot be read, or its key is of another algorithm.
    """
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
        found = algorithm_of(public)
        x509.load_der_x509_certificate(ca)
    except (ValueError, KeyRefused) as error:
        raise PlatformRefused(f"{name}: a certificate cannot be read: {error}") from error
    if found.name != algorithm:
        raise PlatformRefused(f"{name}: a key of {found.name}, expected {algorithm}")
    identifier = key_id(PublicKey(algorithm=found, key=public))
    return Generation(algorithm=algorithm, certificate=certificate, ca=ca, platform=PlatformId(identifier))

"""MakeCredential in software: a secret that only one TPM can open, and only for one attestation key (part 1, 24).

In come the public area of an endorsement key, the name of an attestation key and a secret; out come the two blobs that
TPM2_ActivateCredential takes. Who gets the secret back has both keys in one TPM.

    seed       RSA: OAEP with SHA-256, label "IDENTITY" 00     ECC: ConcatKDF(x of a fresh key's ECDH, as KDFe has it)
    AES key    KDFa(seed, "STORAGE", name)                     HMAC key  KDFa(seed, "INTEGRITY")
    blob       size ‖ HMAC-SHA-256(encrypted ‖ name) ‖ encrypted = AES-CFB(size ‖ secret)
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from belljar.attestation.errors import PlatformRefused

from .objects import parse_public
from .wire import sized

if TYPE_CHECKING:
    from collections.abc import Callable

    from .objects import ParsedPublic

_LABEL = b"IDENTITY\x00"
MAX_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What TPM2_ActivateCredential takes: a TPM2B_ID_OBJECT and a TPM2B_ENCRYPTED_SECRET, without their sizes."""

    blob: bytes
    secret: bytes


def make_credential(
    endorsement: bytes, name: bytes, secret: bytes, *, random: Callable[[int], bytes] = os.urandom
) -> Credential:
    """Return a credential.

    Args:
        endorsement: public area of the endorsement key.
        name: of the attestation key.
        secret: at most 32 bytes.
        random: gives unpredictable bytes.

    Raises:
        PlatformRefused: the endorsement key is of a kind that cannot be used.
    """
    if len(secret) > MAX_SECRET_BYTES:
        raise PlatformRefused(f"a credential of {len(secret)} bytes, expected at most {MAX_SECRET_BYTES}")
    parsed = parse_public(endorsement)
    if parsed.symmetric_bits == 0:
        raise PlatformRefused("the endorsement key protects nothing: it is no storage key")
    seed, encrypted_seed = _seed(parsed, random)
    encryptor = Cipher(AES(_kdfa(seed, b"STORAGE", name, parsed.symmetric_bits)), CFB(bytes(16))).encryptor()
    encrypted = encryptor.update(sized(secret)) + encryptor.finalize()
    tag = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), encrypted + name, hashlib.sha256)
    return Credential(blob=sized(tag) + encrypted, secret=encrypted_seed)


def _kdfa(seed: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa (part 1, 11.4.10.2): SP 800-108 in counter mode with HMAC-SHA-256."""
    return KBKDFHMAC(
        algorithm=SHA256(), mode=Mode.CounterMode, length=bits // 8, rlen=4, llen=4,
        location=CounterLocation.BeforeFixed, label=label, context=context, fixed=None,
    ).derive(seed)  # fmt: skip


def _seed(endorsement: ParsedPublic, random: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """Return a seed, and how the endorsement key's owner gets it."""
    key = endorsement.key
    if isinstance(key, rsa.RSAPublicKey):
        seed = random(32)
        return seed, key.encrypt(seed, padding.OAEP(padding.MGF1(SHA256()), SHA256(), _LABEL))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise PlatformRefused("an endorsement key that is neither RSA nor ECC")
    once = ec.generate_private_key(key.curve)
    mine, theirs = once.public_key().public_numbers(), key.public_numbers()
    parties = _LABEL + mine.x.to_bytes(32, "big") + theirs.x.to_bytes(32, "big")
    seed = ConcatKDFHash(SHA256(), 32, otherinfo=parties).derive(once.exchange(ec.ECDH(), key))
    return seed, sized(mine.x.to_bytes(32, "big")) + sized(mine.y.to_bytes(32, "big"))

"""Report data: 64 bytes that say what evidence is for, so that evidence for one use is none for another.

    report data = SHA-512( "belljar.report-data/1" 00
                           length of purpose (1) ‖ purpose, ASCII
                           length of body (8, big endian) ‖ body )

    platform data = SHA-512( "belljar.platform-data/1" 00
                             SHA-256 of the evidence key's SubjectPublicKeyInfo (32)
                             length of nonce (1) ‖ nonce )

The first goes into a token; the second into the quote of hardware that vouches for the token's key. A program's own
bytes are a body under the purpose `guest-data`, whatever they are: no body makes one purpose look like another.
64 bytes is what every carrier takes (SGX, TDX, SEV-SNP, TPM, configfs-tsm). Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from belljar.attestation.claims import Purpose

REPORT_DATA_BYTES = 64
_REPORT = b"belljar.report-data/1\x00"
_PLATFORM = b"belljar.platform-data/1\x00"


def report_data(purpose: Purpose, body: bytes) -> bytes:
    """Return the report data of evidence for one purpose.

    Args:
        purpose: what it is for.
        body: what it binds: a channel's binder, a request, a program's own bytes.
    """
    name = purpose.value.encode("ascii")
    return hashlib.sha512(_REPORT + len(name).to_bytes(1, "big") + name + len(body).to_bytes(8, "big") + body).digest()


def platform_data(evidence_key: bytes, nonce: bytes) -> bytes:
    """Return what hardware is asked to vouch for.

    Args:
        evidence_key: SHA-256 of the SubjectPublicKeyInfo of the key that signs the token, 32 bytes.
        nonce: the verifier's, at most 64 bytes.
    """
    return hashlib.sha512(_PLATFORM + evidence_key + len(nonce).to_bytes(1, "big") + nonce).digest()

"""Policies computed without a TPM: what a sealed object will ask for (part 1, 19.7; part 3, 23.7).

In come PCR values, present or future; out comes the digest under which a TPM will unseal, so that a secret can be
sealed for a measurement that no machine has reached yet. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError

from .codes import Command
from .wire import DIGEST_BYTES, selection, u32

if TYPE_CHECKING:
    from collections.abc import Mapping


def pcr_digest(values: Mapping[int, bytes]) -> bytes:
    """Return the digest of PCR values, lowest number first, as quotes and policies have it."""
    for number, value in values.items():
        if len(value) != DIGEST_BYTES:
            raise AttestationError(f"PCR {number} of {len(value)} bytes, expected {DIGEST_BYTES}")
    return hashlib.sha256(b"".join(values[number] for number in sorted(values))).digest()


def pcr_policy(values: Mapping[int, bytes]) -> bytes:
    """Return the policy that holds while PCRs of the SHA-256 bank have these values; at least one is named."""
    if not values:
        raise AttestationError("a policy without PCRs would hold always")
    step = u32(Command.POLICY_PCR) + selection(values) + pcr_digest(values)
    return hashlib.sha256(bytes(DIGEST_BYTES) + step).digest()


def extended(value: bytes, digest: bytes) -> bytes:
    """Return what a PCR will hold once a digest was extended into it."""
    return hashlib.sha256(value + digest).digest()

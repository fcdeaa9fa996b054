"""Door of this house for those who measure: the measurement of an enclave (IEEE 2952 5.1.2 b, 7.2.3 a c f).

The measurement is the SHA-256 of the canonical resolved manifest, and nothing else: `sha256sum` of the bytes that
`belljar measure --canonical` prints is the identity of the enclave. The resolved manifest holds the digest of every
index, so every byte of every hashed file is in it. Documented with golden vectors in docs/formats/measurement.md.
"""

from __future__ import annotations

import hashlib
from typing import NewType

from .canonical import Json, NotCanonical, canonical_bytes

FORMAT = "belljar.manifest/1"
"""First member of meaning in every canonical manifest: a digest over it can be mistaken for nothing else."""

Measurement = NewType("Measurement", bytes)

__all__ = ["FORMAT", "Json", "Measurement", "NotCanonical", "canonical_bytes", "measure"]


def measure(resolved: dict[str, Json]) -> tuple[bytes, Measurement]:
    """Return the canonical bytes of a resolved manifest and their digest.

    Args:
        resolved: members of the resolved manifest; "format" is added here.

    Raises:
        NotCanonical: a member has no canonical form.
    """
    encoded = canonical_bytes({**resolved, "format": FORMAT})
    return encoded, Measurement(hashlib.sha256(encoded).digest())

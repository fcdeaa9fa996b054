"""Which algorithms this house uses, what for, and when somebody last looked at each (IEEE 2952 7.6.2 b).

Values only, for `belljar doctor` to print. Formats carry numbers of algorithms; to replace one, add its successor
beside it, move the default, and refuse the old one when nothing sealed or signed with it is needed any more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """One algorithm.

    Attributes:
        name: what people call it.
        use: what for, here.
        source: where it is defined.
        withstands_quantum: whether a large quantum computer is not known to break it.
        reviewed: day of the last review, ISO 8601.
        review_by: day by which the next one is due.
    """

    name: str
    use: str
    source: str
    withstands_quantum: bool
    reviewed: str = "2026-11-23"
    review_by: str = "2027-11-23"


ALGORITHMS = (
    Reviewed(name="Ed25519", use="signatures, default", source="RFC 8032", withstands_quantum=False),
    Reviewed(name="ECDSA P-256, SHA-256", use="signatures, TPM keys, quotes", source="FIPS 186-5",
             withstands_quantum=False),
    Reviewed(name="ECDSA P-384, SHA-384", use="signatures", source="FIPS 186-5", withstands_quantum=False),
    Reviewed(name="ML-DSA-65", use="signatures", source="FIPS 204", withstands_quantum=True),
    Reviewed(name="SHA-256", use="measurements, identifiers, PCRs", source="FIPS 180-4", withstands_quantum=True),
    Reviewed(name="SHA-512", use="DICE inputs, report data", source="FIPS 180-4", withstands_quantum=True),
    Reviewed(name="HKDF-SHA-512", use="DICE and sealing keys", source="RFC 5869", withstands_quantum=True),
    Reviewed(name="HMAC-SHA-256", use="ladder of versions, counter", source="FIPS 198-1", withstands_quantum=True),
    Reviewed(name="AES-256-GCM", use="sealing", source="SP 800-38D", withstands_quantum=True),
    Reviewed(name="AES-128-CMAC", use="local reports, as SGX has them", source="SP 800-38B", withstands_quantum=False),
    Reviewed(name="X25519", use="key slots, suite 1", source="RFC 7748", withstands_quantum=False),
    Reviewed(name="ML-KEM-768 with X25519", use="key slots, suite 2, default", source="FIPS 203, X-Wing",
             withstands_quantum=True),
)  # fmt: skip

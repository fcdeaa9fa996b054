"""The table of certificates that a host hands to a guest beside its report (GHCB specification, SNP_EXT_GUEST_REQUEST).

    entries of 24 bytes: GUID [16], offset, length (little endian, 4 each), the last all zero; then the certificates

Linux gives it as configfs-tsm's `auxblob`. The host wrote it, so nothing in it is trusted: it only saves a download.
In come bytes; out come DER certificates and revocation lists for `Endorsements`. Pure.
"""

from __future__ import annotations

from uuid import UUID

from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.parsing.fields import Fields

MAX_TABLE_BYTES = 64 * 1024
MAX_ENTRIES = 16
_CERTIFICATES = frozenset(
    {
        UUID("63da758d-e664-4564-adc5-f4b93be8accd"),  # VCEK
        UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),  # VLEK
        UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),  # ASK
        UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),  # ARK
    }
)
_CRL = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")


def parse_table(content: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the certificates and the revocation lists of a table, as they are; entries of other kinds are left out.

    Raises:
        EvidenceRefused: an entry points outside, or there are too many.
    """
    if len(content) > MAX_TABLE_BYTES:
        raise EvidenceRefused(f"SNP certificate table: got {len(content)} bytes, expected at most {MAX_TABLE_BYTES}")
    fields = Fields(content, "SNP certificate table", "little")
    certificates: list[bytes] = []
    crls: list[bytes] = []
    for _ in range(MAX_ENTRIES):
        guid, offset, length = fields.take(16, "GUID"), fields.number(4, "offset"), fields.number(4, "length")
        if not any(guid):
            return tuple(certificates), tuple(crls)
        if offset + length > len(content):
            raise EvidenceRefused(f"SNP certificate table: an entry ends at {offset + length}, beyond {len(content)}")
        names = {UUID(bytes=guid), UUID(bytes_le=guid)}  # hosts write both orders
        if names & _CERTIFICATES:
            certificates.append(content[offset : offset + length])
        elif _CRL in names:
            crls.append(content[offset : offset + length])
    raise EvidenceRefused(f"SNP certificate table: got more than {MAX_ENTRIES} entries")

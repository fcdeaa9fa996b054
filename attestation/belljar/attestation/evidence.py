"""The seam between the verifier and each kind of evidence: what a kind gets, what it must do, what it gives back.

A kind says whether bytes are of it, and verifies them: authenticity only, against pinned roots, at a given time.
Whether what it says is acceptable is the appraisal policy's business. Pure: no kind reads files or clocks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from .claims import Claims
    from .dice.reading import Reading
    from .steps import Trail

MAX_EVIDENCE_BYTES = 1 << 20  # a TDX quote has 5 KiB, a TPM quote with its PCRs 3 KiB, an EAT 10 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """What Intel's service says about a family of processors, as it sends it.

    Attributes:
        tcb_info: the `tcbInfo` object, byte for byte as it is signed.
        tcb_info_signature: 64 bytes, r and s.
        qe_identity: the `enclaveIdentity` object, byte for byte as it is signed.
        qe_identity_signature: 64 bytes, r and s.
        tcb_chain: DER certificates of who signs both, leaf first, root last.
        pck_chain: DER certificates of who issues PCK certificates, if the quote does not bring them.
    """

    tcb_info: bytes
    tcb_info_signature: bytes
    qe_identity: bytes
    qe_identity_signature: bytes
    tcb_chain: tuple[bytes, ...]
    pck_chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsements:
    """What others say about the attester, gathered by the caller; nothing in it is trusted before it is verified.

    Attributes:
        certificates: DER, in any order: VCEK or VLEK, ASK, ARK; certificates of an attestation key; platform chains.
        crls: DER revocation lists, in any order.
        collateral: for SGX and TDX.
    """

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    collateral: Collateral | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a verification rests on.

    Attributes:
        roots: SHA-256 of the SubjectPublicKeyInfo (DER) of every key that may end a chain.
        now: the time to judge by, in seconds since 1970.
        require_crls: whether a chain of which some part was not looked up in a revocation list is refused.
        reading: remembers certificates that were read before; None reads each anew.
    """

    roots: frozenset[bytes]
    now: int
    require_crls: bool = True
    reading: Reading | None = field(default=None, repr=False, compare=False)


class EvidenceFormat(Protocol):
    """One kind of evidence."""

    @property
    def name(self) -> str:
        """What explanations call it."""
        ...

    @property
    def media_types(self) -> frozenset[str]:
        """The media types it comes under, lower case, without parameters."""
        ...

    def recognises(self, evidence: bytes) -> bool:
        """Say whether bytes are meant to be of this kind, by their first bytes or shape; never raises."""
        ...

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        """Return what the evidence says once every check of its kind has held.

        Raises:
            EvidenceRefused: it is malformed, or a check failed: nothing it says may be believed.
        """
        ...


def key_digest(public: PublicKeyTypes) -> bytes:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo in DER: how roots are pinned."""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()

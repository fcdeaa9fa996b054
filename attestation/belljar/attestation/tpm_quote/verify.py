"""A TPM's quote verified in numbered steps, from the PCR values up to a pinned key or certificate.

1. the attestation key is pinned itself, or has a certificate whose chain is; 2. it signed the quote; 3. magic and type
(attest.py); 4. the values that were given are of the PCRs that were quoted, and their digest is the quoted one.
A key is pinned by who activated its credential (TPM2_ActivateCredential): that it lives in a TPM, restricted to what
the TPM itself says, no quote can show. Nor does a quote show whether the TPM is a chip or software.

`TpmFormat` reads the JSON that Confidential Containers' Trustee takes for TEE `tpm`. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from belljar.attestation.claims import Claims, ClaimValue, Tee
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import key_digest
from belljar.attestation.parsing.objects import Object
from belljar.attestation.x509.certificate import parse_crl
from belljar.attestation.x509.chain import Material, parsed, verify_chain

from .attest import Attest, parse_attest
from .signature import verify_signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from belljar.attestation.evidence import Endorsements, Trust
    from belljar.attestation.steps import Trail

MAX_TEXT_BYTES = 64 * 1024
MAX_KEY_BYTES = 2048
_DIGEST_BYTES = {"sha256": 32, "sha384": 48, "sha512": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmQuote:
    """A quote and what it speaks of.

    Attributes:
        key: SubjectPublicKeyInfo of the attestation key, DER.
        attest: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        pcrs: the values of the quoted PCRs, bank after bank as in the quote, lowest number first.
    """

    key: bytes
    attest: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]


class TpmFormat:
    """Quotes in the JSON of Trustee: `ak_public`, `tpm_quote` with `message`, `signature` and `pcrs`."""

    name = "tpm-quote"
    media_types = frozenset({"application/vnd.belljar.tpm-quote+json"})

    def recognises(self, evidence: bytes) -> bool:
        """Say whether the bytes begin like an object and name a quote."""
        return evidence[:1] == b"{" and b'"tpm_quote"' in evidence

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        """Return what a quote says, once all steps held.

        Raises:
            EvidenceRefused: a step failed.
        """
        return verify_quote(parse_quote(evidence), endorsements=endorsements, trust=trust, trail=trail)


def parse_quote(content: bytes) -> TpmQuote:
    """Return the quote in Trustee's JSON.

    Raises:
        EvidenceRefused: it is malformed, or a value has another spelling than the one we write.
    """
    outer = Object.parse(content, "TPM evidence", limit=MAX_TEXT_BYTES)
    outer.exactly("ak_public", "tpm_quote")
    inner = outer.member("tpm_quote")
    inner.exactly("message", "pcrs", "signature")
    pcrs = tuple(_hexadecimal(text, f"PCR value {index}") for index, text in enumerate(inner.texts("pcrs")))
    return TpmQuote(
        key=_base64(outer.text("ak_public"), "ak_public"),
        attest=_base64(inner.text("message"), "message"),
        signature=_base64(inner.text("signature"), "signature"),
        pcrs=pcrs,
    )


def _base64(text: str, what: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvidenceRefused(f"TPM evidence: {what} is not base64: {error}") from error
    if base64.b64encode(found).decode() != text:
        raise EvidenceRefused(f"TPM evidence: {what} is not base64 in its only form")
    return found


def _hexadecimal(text: str, what: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if not found or found.hex() != text:
        raise EvidenceRefused(f"TPM evidence: {what}: got {text[:80]!r}, expected lower-case hexadecimal")
    return found


def verify_quote(quote: TpmQuote, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
    """Return what a quote says, once all steps held.

    Raises:
        EvidenceRefused: a step failed.
    """
    key = _key(quote.key)
    root = _root(key, endorsements, trust, trail)
    hash_name = verify_signature(key, quote.signature, quote.attest)
    trail.note("TPM quote: signature", "holds", "holds", passed=True)
    attest = parse_attest(quote.attest)
    trail.note("TPM quote: layout", "a quote", "a quote", passed=True)
    values = _pcr_values(attest, quote.pcrs, trail)
    digest = hashlib.new(hash_name, b"".join(quote.pcrs)).digest()
    trail.equal("TPM quote: PCR digest", digest, attest.pcr_digest)
    return _claims(attest, key_digest(key), root, values)


def _key(der: bytes) -> PublicKeyTypes:
    if len(der) > MAX_KEY_BYTES:
        raise EvidenceRefused(f"TPM attestation key: got {len(der)} bytes, expected at most {MAX_KEY_BYTES}")
    try:
        key = load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EvidenceRefused(f"TPM attestation key: not a public key: {error}") from error
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise EvidenceRefused("TPM attestation key: not in DER's only form")
    return key


def _root(key: PublicKeyTypes, endorsements: Endorsements, trust: Trust, trail: Trail) -> bytes:
    """Return what the key rests on: itself if it is pinned, or the root of its certificate."""
    digest = key_digest(key)
    if digest in trust.roots:
        trail.note("TPM attestation key", digest, "pinned", passed=True)
        return digest
    certificates = parsed(endorsements.certificates, "endorsements")
    leaves = [one for one in certificates if key_digest(one.public_key()) == digest]
    trail.check("TPM attestation key", digest, "pinned, or a certificate for it", passed=bool(leaves))
    crls = tuple(parse_crl(der) for der in endorsements.crls)
    material = Material(what="AK chain", certificates=certificates, crls=crls)
    return verify_chain(leaves[0], material, trust, trail).root


def _pcr_values(attest: Attest, pcrs: tuple[bytes, ...], trail: Trail) -> dict[str, ClaimValue]:
    """Return the values by bank and number: `sha256:8`."""
    slots = [(bank.hash, number) for bank in attest.banks for number in bank.pcrs]
    trail.check("TPM quote: PCR values", len(pcrs), f"{len(slots)}, as quoted", passed=len(pcrs) == len(slots))
    found: dict[str, ClaimValue] = {}
    for (name, number), value in zip(slots, pcrs, strict=True):
        size = _DIGEST_BYTES[name]
        trail.check(f"TPM quote: PCR {name}:{number}", len(value), f"{size} bytes", passed=len(value) == size)
        found[f"{name}:{number}"] = value
    return found


def _claims(attest: Attest, provider: bytes, root: bytes, values: dict[str, ClaimValue]) -> Claims:
    return Claims(
        tee=Tee.TPM,
        format="tpm-quote",
        measurement=attest.pcr_digest,
        debug=False,
        simulated=False,
        root=root,
        provider=provider,
        report_data=attest.extra_data,
        platform=values
        | {
            "clock": attest.clock,
            "reset_count": attest.reset_count,
            "restart_count": attest.restart_count,
            "safe": attest.safe,
            "firmware": attest.firmware,
        },
    )

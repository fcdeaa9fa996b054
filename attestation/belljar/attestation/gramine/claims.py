"""What one of our own quotes says, as claims: for RA-TLS certificates, which have no other place for our evidence.

In comes a quote in DCAP's shape; out come `Claims`, once it has held against a pinned platform. It has no nonce, no
purpose, no instance and no quote of a TPM: a policy that asks for one of them refuses it. Report data is what the
program gave, so whoever has a program quote for him has its certificate, too. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.claims import Claims, Tee
from belljar.attestation.dice.enclave import shown_enclave

from .quote import VENDOR, verify_quote

if TYPE_CHECKING:
    from belljar.attestation.evidence import Trust
    from belljar.attestation.steps import Trail

_TEES = {"soft": Tee.SOFT, "swtpm": Tee.TPM, "tpm": Tee.TPM}
_VENDOR_AT = 12


def is_own_quote(quote: bytes) -> bool:
    """Say whether a quote names us as its vendor, and not Intel."""
    return quote[_VENDOR_AT : _VENDOR_AT + len(VENDOR)] == VENDOR


def quote_claims(quote: bytes, trust: Trust, trail: Trail) -> Claims:
    """Return what one of our quotes says, once all its steps held.

    Raises:
        EvidenceRefused: it is malformed, not rooted in a pinned platform, or not of the enclave it names.
    """
    found = verify_quote(quote, trust, trail)
    enclave, chain = shown_enclave(found.chain.layer), found.chain
    simulated = chain.kind != "tpm"
    return Claims(
        tee=_TEES[chain.kind],
        format="belljar-quote-v3",
        measurement=enclave.measurement,
        signer=enclave.signer,
        product_id=enclave.product_id,
        svn=enclave.svn,
        debug=enclave.debug or simulated,
        simulated=simulated,
        provider=chain.platform,
        root=chain.root,
        report_data=found.body.report_data,
        platform={
            "kind": chain.kind,
            "platform-key": chain.platform_key,
            "debug-enclave": enclave.debug,
            "revocation-lists": False,  # our platforms have none: a policy must say that it takes that
        },
    )

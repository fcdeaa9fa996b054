"""Policies that take the evidence of our own making, to be changed by a test."""

from __future__ import annotations

from belljar.attestation.appraisal.loading import policy_from
from belljar.attestation.appraisal.policy import Policy
from belljar.attestation.claims import Claims, Tee

from .evidence import PCRS, TCBS, Case

SKIPPED = {f"insecure_skip_{claim}": True for claim in ("purpose", "provider", "data_consistency", "task")}


def plain(case: Case, claims: Claims, **changes: object) -> dict[str, object]:
    """Return the values of a policy that takes this evidence; None leaves a key out."""
    found: dict[str, object] = {
        "version": 1, "id": "test", "tees": [claims.tee.value],
        "roots": {claims.tee.value: [f"sha256:{pin.hex()}" for pin in case.roots]},
        "code": [{"measurement": claims.measurement.hex()}], "nonce": "required", "revocation": "required", **SKIPPED,
    }  # fmt: skip
    if claims.tee is not Tee.SOFT:
        found[claims.tee.value] = section(claims)
    return {key: value for key, value in (found | changes).items() if value is not None}


def section(claims: Claims) -> dict[str, object]:
    """Return the section about the kind of hardware."""
    if claims.tee is Tee.SEV_SNP:
        tcbs = {product.partition("-")[0]: tcb for product, tcb in TCBS.items()}
        return {"max_vmpl": 0, "min_tcb": tcbs, "allow_smt": True}
    if claims.tee is Tee.TPM:
        return {"pcrs": {f"sha256:{number}": [value.hex()] for number, value in PCRS.items()}}
    rtmrs = {"rtmrs": {index: [_hex(claims, f"rtmr{index}")] for index in range(4)}} if claims.tee is Tee.TDX else {}
    return {"min_tcb_status": "UpToDate", **rtmrs}


def _hex(claims: Claims, name: str) -> str:
    value = claims.platform[name]
    assert isinstance(value, bytes)
    return value.hex()


def policy(case: Case, claims: Claims, **changes: object) -> Policy:
    """Return a policy that takes this evidence."""
    return policy_from(plain(case, claims, **changes))

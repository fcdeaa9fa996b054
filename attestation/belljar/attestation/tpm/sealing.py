"""Sealing under what PCRs hold, now or some day: a TPM unseals only while they do (part 1, 19.7.7).

In come a TPM, a secret and a policy (policy.py); out comes a blob of the TPM's own, and back. Sealing needs the TPM,
not the measurement: the policy is computed without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.errors import SealRefused

from .codes import OWNER
from .objects import SRK_TEMPLATE, sealed_template
from .wire import TpmError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .client import Tpm

MAX_SECRET_BYTES = 128  # MAX_SYM_DATA (part 2, A.4)
_POLICY_FAIL, _INTEGRITY = 0x1D, 0x1F


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedObject:
    """Sealed data as a TPM gives it: TPMT_PUBLIC and TPM2B_PRIVATE's content."""

    public: bytes
    private: bytes


def seal(tpm: Tpm, secret: bytes, policy: bytes) -> SealedObject:
    """Return a secret sealed under a policy.

    Raises:
        SealRefused: it is too long.
        PlatformRefused: the TPM refused.
    """
    if not 0 < len(secret) <= MAX_SECRET_BYTES:
        raise SealRefused(f"{len(secret)} bytes to seal in a TPM, expected 1 to {MAX_SECRET_BYTES}")
    with tpm.primary(OWNER, SRK_TEMPLATE) as parent:
        public, private = tpm.create(parent.handle, sealed_template(policy), secret)
    return SealedObject(public=public, private=private)


def unseal(tpm: Tpm, sealed: SealedObject, pcrs: Iterable[int]) -> bytes:
    """Return a secret that was sealed under what these PCRs hold now.

    Raises:
        SealRefused: they hold something else, or it was sealed by another TPM.
        PlatformRefused: the TPM refused.
    """
    numbers = tuple(pcrs)
    try:
        with (
            tpm.primary(OWNER, SRK_TEMPLATE) as parent,
            tpm.loaded(parent.handle, sealed.public, sealed.private) as handle,
            tpm.policy_session() as session,
        ):
            tpm.policy_pcr(session, numbers)
            return tpm.unseal(handle, session)
    except TpmError as error:
        if error.code & 0xBF == 0x80 | _POLICY_FAIL:
            raise SealRefused(f"sealed for another state of PCRs {', '.join(map(str, numbers))}") from error
        if error.code & 0xBF == 0x80 | _INTEGRITY:
            raise SealRefused("sealed by another TPM, or changed") from error
        raise

"""The keys behind Gramine's `keys/_sgx_mrenclave` and `keys/_sgx_mrsigner`: 16 bytes, always the same for one enclave.

The first is of the measurement and ends with it. The second is of signer and product, from the lowest rung of the
ladder of security versions: every version has it, so it survives upgrades, and an older version has it as well. Who
needs "newer only" seals instead (sealing/). A key here has no salt: Gramine's readers use it for AES-GCM with nonces
of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice.inputs import ATTEST_INFO, SEAL_INFO
from belljar.attestation.errors import SealRefused
from belljar.attestation.sealing.ladder import stand
from belljar.attestation.sealing.layout import Policy

if TYPE_CHECKING:
    from belljar.attestation.dice.enclave import Enclave
    from belljar.attestation.roots.root import RootOfTrust

KEY_BYTES = 16
_INFO = b"belljar.gramine-key/1"


def special_key(root: RootOfTrust, enclave: Enclave, policy: Policy) -> bytes:
    """Return the key of a policy.

    Raises:
        SealRefused: it is the signer's, and nobody signed this enclave.
        RootCannot: this kind of root derives no keys.
    """
    if policy is Policy.MEASUREMENT:
        secret = root.derive(enclave.inputs.attest_salt, ATTEST_INFO)
    elif enclave.signer is None:
        raise SealRefused("keys/_sgx_mrsigner, but nobody signed this enclave", hint="sign it with belljar build --key")
    else:
        secret = stand(root.derive(enclave.inputs.seal_salt, SEAL_INFO), enclave.svn).key(0)
    return derive(KEY_BYTES, secret, policy.to_bytes(1, "big"), _INFO)

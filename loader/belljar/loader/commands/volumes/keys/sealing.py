"""Key slots that only an enclave opens: attestation's sealing behind the seam of volumes (IEEE 2952 5.1.2 e, 7.5 e).

In comes who the enclave is, and a policy: `signer`, for this product of a signer from this security version on, or
`measurement`, for this very enclave. The root of trust is open only while something is sealed or unsealed. Cold.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.attesting import Enclave, Policy, Sealer
from belljar.attestation.errors import AttestationError
from belljar.fs.keeping import CredentialRefused, SealedBy
from belljar.libos.identity.root import NoIdentity, open_root
from belljar.loader.bundle.read import read_bundle
from belljar.loader.errors import LoaderError
from belljar.loader.prepare import measure_target
from belljar.loader.target import parse_words

if TYPE_CHECKING:
    from belljar.loader.manifest.model import Manifest

POLICIES = {"signer": Policy.SIGNER, "measurement": Policy.MEASUREMENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveSealer:
    """Seals for one enclave under one policy; what `belljar.fs.keeping.Sealer` asks for.

    Attributes:
        enclave: who seals and unseals.
        platform: root of trust, as manifests name it.
        policy: `signer` or `measurement`.
    """

    enclave: Enclave
    platform: str
    policy: str

    @property
    def name(self) -> str:
        """What the slot shows: under which policy it was sealed."""
        return self.policy

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """Return a secret sealed.

        Raises:
            LoaderError: there is no root of trust, or nobody signed the enclave.
        """
        try:
            with open_root(self.platform, now=int(time.time())) as root:
                sealer = Sealer(root=root, enclave=self.enclave, random=os.urandom)
                return bytes(sealer.seal(secret, POLICIES[self.policy], purpose))
        except (AttestationError, NoIdentity) as error:
            raise LoaderError(f"cannot seal: {error}", hint=getattr(error, "hint", None)) from error

    def unseal(self, sealed: bytes, purpose: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            CredentialRefused: it was sealed for somebody else, elsewhere, or by a newer version.
        """
        try:
            with open_root(self.platform, now=int(time.time())) as root:
                return Sealer(root=root, enclave=self.enclave, random=os.urandom).unseal(sealed, purpose)
        except (AttestationError, NoIdentity) as error:
            raise CredentialRefused(str(error), hint=getattr(error, "hint", None)) from error


def sealed_by(enclave: Enclave, platform: str, policy: str) -> SealedBy:
    """Return what makes and opens slots sealed for an enclave."""
    return SealedBy(sealer=EnclaveSealer(enclave=enclave, platform=platform, policy=policy))


def sealed_for(path: str, policy: str) -> SealedBy:
    """Return what makes slots sealed for the enclave of a bundle or manifest, which need not run.

    Raises:
        LoaderError: it cannot be read or measured.
    """
    target = parse_words([path])
    if target.manifest is None:
        raise LoaderError(f"{path}: not a manifest or bundle", hint="--for app.bell")
    if target.is_bundle:
        bundle = read_bundle(path)
        signer = None if bundle.key is None else bytes(bundle.key.signer)
        return _for(bundle.decided.manifest, bytes(bundle.measurement), signer, policy)
    measured = measure_target(target)
    return _for(measured.decided.manifest, bytes(measured.measurement), None, policy)


def _for(manifest: Manifest, measurement: bytes, signer: bytes | None, policy: str) -> SealedBy:
    enclave = Enclave(
        measurement=measurement,
        signer=signer,
        product_id=manifest.product_id,
        svn=manifest.security_version,
        debug=manifest.insecure_exec,
    )
    return sealed_by(enclave, manifest.attestation.platform, policy)

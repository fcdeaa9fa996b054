"""Evidence, quotes, reports and keys of one run of an enclave, once somebody has asked for the first. Cold.

In come a specification and a root of trust, which belongs to this object from here on; out come bytes. Everything that
is bound to a program's bytes is bound under the purpose `guest-data`, so nothing a program chooses is a channel.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from belljar.attestation.attesting import (
    CWT_TYPE,
    Policy,
    Purpose,
    ReportRequest,
    Request,
    Run,
    Sealer,
    attest,
    identity_certificate,
    identity_key,
    make_report,
    media_type,
    quoter,
    special_key,
    target_info,
    unpack_target_info,
    verify_report,
)

from .root import commitment, enclave_of, task_of

if TYPE_CHECKING:
    from belljar.attestation.attesting import IdentityFiles, Quoter
    from belljar.attestation.platforms import RootOfTrust
    from belljar.libos.spec import EnclaveSpec

MEDIA_TYPE = media_type(CWT_TYPE)
_INSTANCE_BYTES = 16
_QUOTER_S = 6 * 24 * 3600  # its certificate holds for seven days
_POLICIES = {"_sgx_mrenclave": Policy.MEASUREMENT, "_sgx_mrsigner": Policy.SIGNER}
_SEALED_BY_GUEST = b"belljar.guest-data/1"  # associated: nothing else that is sealed can be unsealed by asking for this


class Evidence:
    """What can be asked of one run.

    Args:
        spec: what runs.
        root: of trust.
    """

    def __init__(self, spec: EnclaveSpec, root: RootOfTrust) -> None:
        self._root = root
        self._enclave = enclave_of(spec)
        system = os.uname()
        self._attester = attest(
            root,
            Run(
                enclave=self._enclave,
                instance=os.urandom(_INSTANCE_BYTES),
                runtime="belljar",
                runtime_version=spec.identity.runtime_version,
                kernel=f"{system.sysname} {system.release}",
                task=task_of(spec),
            ),
        )
        self._quoter: tuple[int, Quoter] | None = None
        self._name = spec.name
        self._tls_key = identity_key()
        self._identity: tuple[int, IdentityFiles] | None = None

    @property
    def certifies(self) -> bool:
        """Whether quotes in DCAP's shape can be made."""
        return bool(self._root.chain)

    def token(self, purpose: Purpose, nonce: bytes, body: bytes, *, now: int, volumes: list[VolumeRoot]) -> bytes:
        """Return evidence as a CWT.

        Args:
            purpose: what it is for.
            nonce: the verifier's, 8 to 64 bytes.
            body: what it binds.
            now: seconds since 1970.
            volumes: the present roots of the enclave's volumes.
        """
        self._attester.run = replace(self._attester.run, data_consistency=commitment(volumes))
        return self._attester.cwt(Request(nonce=nonce, purpose=purpose, body=body, now=now))

    def quote(self, report_data: bytes, *, now: int) -> bytes:
        """Return a quote in DCAP's shape over 64 bytes."""
        if self._quoter is None or now > self._quoter[0]:
            self._quoter = now + _QUOTER_S, quoter(self._root, self._enclave, now)
        return self._quoter[1].quote(report_data)

    def report(self, report_data: bytes, target: bytes) -> bytes:
        """Return a report of 432 bytes for a target; zeros stand for this enclave itself, as in Gramine."""
        wanted = unpack_target_info(target) if any(target) else target_info(self._enclave)
        request = ReportRequest(
            maker=self._enclave, target=wanted, report_data=report_data, key_id=os.urandom(_INSTANCE_BYTES * 2)
        )
        return make_report(self._root, request)

    def check_report(self, report: bytes) -> None:
        """Return if another enclave of this platform made a report for this one; else EvidenceRefused."""
        verify_report(self._root, report, self._enclave)

    def target(self) -> bytes:
        """Return what others need to make a report for this enclave, 512 bytes."""
        return target_info(self._enclave).pack()

    def identity(self, *, now: int) -> tuple[bytes, bytes, bytes]:
        """Return a TLS key for the program, its certificate, and that with those below it, as PEM.

        The key is made once for the run; the certificate holds for seven days, and is made anew when it is asked for
        after six.
        """
        if self._identity is None or now > self._identity[0]:
            names = (self._name, "localhost")
            made = identity_certificate(self._attester, self._tls_key, names, now=now)
            self._identity = now + _QUOTER_S, made
        made = self._identity[1]
        return made.key, made.certificate, made.chain

    def key(self, name: str) -> bytes:
        """Return one of Gramine's two keys, 16 bytes."""
        return special_key(self._root, self._enclave, _POLICIES[name])

    def seal(self, secret: bytes, policy: str) -> bytes:
        """Return what a program wants sealed, under `measurement` or `signer`."""
        return self._sealer().seal(secret, Policy[policy.upper()], _SEALED_BY_GUEST)

    def unseal(self, sealed: bytes) -> bytes:
        """Return what a program has had sealed."""
        return self._sealer().unseal(sealed, _SEALED_BY_GUEST)

    def _sealer(self) -> Sealer:
        return Sealer(root=self._root, enclave=self._enclave, random=os.urandom)

    def close(self) -> None:
        """Let go of the root of trust."""
        self._root.close()


if TYPE_CHECKING:
    VolumeRoot = tuple[str, bytes, int, bytes]

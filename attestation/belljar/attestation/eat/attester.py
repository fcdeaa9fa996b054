"""Making evidence: one attester for one run of an enclave (RFC 9334 3).

In come a root of trust, what is known of the run, a nonce and a purpose; out comes a token. The key that signs is made
for this run and certified by the enclave's layer, which the root certifies: who knows the key of one run can be no
other run. Where the root has hardware, its quote over this key and the nonce is part of the token.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.claims import Purpose, Task, Tee
from belljar.attestation.dice.certificate import Validity, evidence_certificate
from belljar.attestation.dice.inputs import ATTEST_INFO
from belljar.attestation.dice.keypair import key_pair
from belljar.attestation.errors import EvidenceRefused, RootCannot
from belljar.attestation.evidence import key_digest
from belljar.attestation.keys import SigningKey, generate

from .cmw import Wrapped, wrap, wrap_json
from .report_data import platform_data, report_data
from .statement import PROFILE, Statement, to_cbor, to_json
from .token import CWT_TYPE, JWT_TYPE, sign_cwt, sign_jwt

if TYPE_CHECKING:
    from collections.abc import Callable

    from belljar.attestation.dice.enclave import Enclave
    from belljar.attestation.roots.root import RootOfTrust

VALIDITY_S = 7 * 24 * 3600  # of the certificate of one run; renewed when evidence is asked for after it
_SKEW_S = 300
_USES = {Purpose.CHANNEL: 5, Purpose.KEY_RELEASE: 3, Purpose.CSR: 4}  # RFC 9711 4.3.3; generic for the others
_MODELS = {Tee.SOFT: b"sim", Tee.TPM: b"tpm2"}
_UEID_RANDOM = b"\x01"  # RFC 9711 4.2.1.1: the type whose bytes are as good as random


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of one run of an enclave.

    Attributes:
        enclave: who it is.
        instance: 16 to 32 random bytes of this run alone.
        runtime: name of what runs it, such as `belljar`.
        runtime_version: its version.
        kernel: name and release of the operating system.
        data_consistency: 32 bytes that commit to its volumes; None where it has none.
        task: what it was started with; None where that is not told.
    """

    enclave: Enclave
    instance: bytes
    runtime: str
    runtime_version: str
    kernel: str
    data_consistency: bytes | None = None
    task: Task | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a verifier asks for.

    Attributes:
        nonce: its challenge, 8 to 64 bytes.
        purpose: what the evidence is for.
        body: what it binds; see report_data.py.
        now: seconds since 1970.
    """

    nonce: bytes
    purpose: Purpose
    body: bytes
    now: int


class Attester:
    """Makes evidence of one run. Keeps the run's key, and the layer's to renew its certificate."""

    def __init__(self, root: RootOfTrust, run: Run, layer: SigningKey | None, chain: tuple[bytes, ...]) -> None:
        self._root = root
        self.run = run
        self._layer = layer
        self._chain = chain
        self._key = generate(root.algorithm)
        self._certificate = b""
        self._until = 0

    def cwt(self, request: Request) -> bytes:
        """Return evidence as a CWT.

        Raises:
            EvidenceRefused: the nonce has not 8 to 64 bytes.
            PlatformRefused: the root does not answer as it should.
        """
        return sign_cwt(to_cbor(self._statement(request)), self._key, self._certificates(request.now))

    def jwt(self, request: Request) -> bytes:
        """Return evidence as a JWT.

        Raises:
            EvidenceRefused: the nonce has not 8 to 64 bytes.
            PlatformRefused: the root does not answer as it should.
            RootCannot: nobody certifies keys on this kind of root.
        """
        certificates = self._certificates(request.now)
        if not certificates:
            raise RootCannot(f"{self._root.kind} certifies no keys, and a JWT needs a chain", hint="ask for a CWT")
        return sign_jwt(to_json(self._statement(request)), self._key, certificates)

    def certified(self, make: Callable[[SigningKey | None], bytes]) -> tuple[bytes, ...]:
        """Return a certificate that the enclave's layer signs, and the chain it rests on, without the run's own key.

        Args:
            make: given the layer's key, or None where this kind of root certifies no keys, returns the certificate.
        """
        return (make(self._layer), *self._chain)

    def _certificates(self, now: int) -> tuple[bytes, ...]:
        if self._layer is None:
            return ()
        if now > self._until - _SKEW_S:
            self._until = now + VALIDITY_S
            validity = Validity(start=now - _SKEW_S, end=self._until)
            self._certificate = evidence_certificate(self._layer, self._key.public, validity)
        return (self._certificate, *self._chain)

    def _statement(self, request: Request) -> Statement:
        if not 8 <= len(request.nonce) <= 64:
            raise EvidenceRefused(f"a nonce of {len(request.nonce)} bytes, expected 8 to 64")
        root, run, enclave = self._root, self.run, self.run.enclave
        digest = key_digest(self._key.public.key)
        quote = root.quote(platform_data(digest, request.nonce))
        return Statement(
            profile=PROFILE,
            nonce=request.nonce,
            issued_at=request.now,
            ueid=ueid(root.platform),
            hardware=_MODELS.get(root.tee, root.tee.value.encode()),
            debug=0 if enclave.debug or root.simulated else 1,
            intended_use=_USES.get(request.purpose, 1),
            runtime=run.runtime,
            runtime_version=run.runtime_version,
            tee=root.tee.value,
            simulated=root.simulated,
            measurement=enclave.measurement,
            signer=enclave.signer,
            product_id=enclave.product_id,
            svn=enclave.svn,
            provider=root.platform,
            report_data=report_data(request.purpose, request.body),
            purpose=request.purpose.value,
            data_consistency=run.data_consistency,
            argv=run.task.argv if run.task else None,
            environment=run.task.environment if run.task else None,
            kernel=run.kernel,
            instance=run.instance,
            quote_type=quote.media_type if quote else None,
            quote=quote.content if quote else None,
            quote_extra=quote.auxiliary or None if quote else None,
        )


def ueid(platform: bytes) -> bytes:
    """Return the universal entity id of a platform: type 0x01 and 32 bytes."""
    return _UEID_RANDOM + hashlib.sha256(b"belljar.ueid/1" + platform).digest()


def attest(root: RootOfTrust, run: Run) -> Attester:
    """Return what makes evidence of a run: its layer's key is derived and certified here.

    Raises:
        PlatformRefused: the root does not answer as it should.
    """
    if not root.chain:
        return Attester(root, run, None, ())
    inputs = run.enclave.inputs
    layer = key_pair(root.algorithm, root.derive(inputs.attest_salt, ATTEST_INFO))
    return Attester(root, run, layer, (root.certify(inputs, layer.public), *root.chain))


def make_evidence(root: RootOfTrust, run: Run, request: Request) -> bytes:
    """Return evidence of a run as a CWT in a CMW record, with a key of its own."""
    return wrapped_cwt(attest(root, run).cwt(request))


def wrapped_cwt(token: bytes) -> bytes:
    """Return a CWT in a CMW record (CBOR)."""
    return wrap(Wrapped(media_type=media_type(CWT_TYPE), content=token))


def wrapped_jwt(token: bytes) -> bytes:
    """Return a JWT in a CMW record (JSON)."""
    return wrap_json(Wrapped(media_type=media_type(JWT_TYPE), content=token))


def media_type(kind: str) -> str:
    """Return a media type with the profile (RFC 9782 2)."""
    return f'{kind}; eat_profile="{PROFILE}"'

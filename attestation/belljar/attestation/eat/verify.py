"""Verifying our own evidence in numbered steps, from bytes to `Claims`; nothing here reads files or clocks.

1. the envelope, and the signature under the key it brings (token.py); 2. the chain from that key to a pinned root
(dice/chain.py), or, where nobody certified the key, the quote of hardware; 3. the claims, each of its type; 4. what
certificates and token say must agree: the platform's word is the certificates', the token only repeats it; 5. the quote
of hardware, where the platform's certificate names the key that makes them, over this very key and nonce.
Whether the claims are good enough is the appraisal policy's business. So are nonce and purpose: `verify_evidence`
compares them for those who have no policy.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from belljar.attestation.cbor import decode
from belljar.attestation.claims import Claims, ClaimValue, Purpose, Task, Tee
from belljar.attestation.crypto.compare import same
from belljar.attestation.dice.chain import VerifiedChain, verify_chain
from belljar.attestation.dice.enclave import Enclave, shown_enclave
from belljar.attestation.errors import CborRefused, EvidenceRefused
from belljar.attestation.evidence import Endorsements, EvidenceFormat, Trust, key_digest
from belljar.attestation.steps import Trail

from .attester import ueid
from .cmw import strict_json, unwrap
from .report_data import REPORT_DATA_BYTES, platform_data, report_data
from .statement import PROFILE, Statement, from_cbor, from_json
from .token import CWT_TYPE, JWT_TYPE, UnverifiedToken, open_token

if TYPE_CHECKING:
    from collections.abc import Mapping

SKEW_S = 300  # how far ahead the attester's clock may be
_TEES = {"soft": Tee.SOFT, "swtpm": Tee.TPM, "tpm": Tee.TPM}
_SIMULATED = {"soft": True, "swtpm": True, "tpm": False}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EatFormat:
    """Our own evidence, as one kind among those the verifier knows.

    Attributes:
        platforms: the kinds of hardware quotes that may be inside, by media type.
    """

    platforms: Mapping[str, EvidenceFormat] = dataclasses.field(default_factory=dict[str, EvidenceFormat])
    name: str = "Belljar evidence (EAT)"
    media_types: frozenset[str] = frozenset({CWT_TYPE, JWT_TYPE})

    def recognises(self, evidence: bytes) -> bool:
        """Say whether bytes begin as a CWT (tags 61 and 18), a JWT, or a CMW record of either."""
        return evidence.startswith((b"\xd8\x3d\xd2", b"ey")) or any(
            kind.encode() in evidence[:64] for kind in (CWT_TYPE, JWT_TYPE)
        )

    def verify(self, evidence: bytes, *, endorsements: Endorsements, trust: Trust, trail: Trail) -> Claims:
        """Return what evidence says once every step has held.

        Raises:
            EvidenceRefused: it is malformed, or a step failed.
        """
        token = open_token(_bare(evidence))
        trail.note("token", "JWT" if token.jwt else "CWT", "a signature that holds", passed=True)
        statement = _statement(token)
        _check_times(statement, trust, trail)
        if not token.chain:
            return self._vouched(token, statement, endorsements, trust, trail)
        chain = verify_chain(token.chain, trust, trail)
        enclave = shown_enclave(chain.layer)
        _check_agreement(statement, chain, enclave, trail)
        claims = _claims(token, statement, chain, enclave)
        if chain.attestation_key is None:
            trail.check("key for quotes of the platform", "none certified", f"as {chain.kind} has it",
                        passed=chain.kind == "soft" and statement.quote is None)  # fmt: skip
            return claims
        inner_trust = dataclasses.replace(trust, roots=frozenset({chain.attestation_key}), require_crls=False)
        inner = self._quote(token, statement, endorsements, inner_trust, trail)
        return dataclasses.replace(claims, platform={**claims.platform, **_prefixed(inner)})

    def _vouched(
        self, token: UnverifiedToken, statement: Statement, endorsements: Endorsements, trust: Trust, trail: Trail
    ) -> Claims:
        """Return the claims of a token whose key only hardware vouches for."""
        inner = self._quote(token, statement, endorsements, trust, trail)
        trail.check("environment", statement.tee, inner.tee.value, passed=statement.tee == inner.tee.value)
        trail.check("simulated", statement.simulated, inner.simulated, passed=statement.simulated is inner.simulated)
        claims = _own_claims(token, statement)
        return dataclasses.replace(
            claims,
            tee=inner.tee,
            debug=claims.debug or inner.debug,
            root=inner.root,
            provider=inner.provider,
            tcb_status=inner.tcb_status,
            advisories=inner.advisories,
            platform={**claims.platform, **_prefixed(inner)},
        )

    def _quote(
        self, token: UnverifiedToken, statement: Statement, endorsements: Endorsements, trust: Trust, trail: Trail
    ) -> Claims:
        """Return what the hardware's quote says, once it is over this token's key and nonce."""
        kind = statement.quote_type or "none"
        platform = self.platforms.get(kind)
        if platform is None or statement.quote is None:
            trail.check("quote of the hardware", kind, f"one of {', '.join(sorted(self.platforms)) or 'none'}",
                        passed=False)  # fmt: skip
            raise EvidenceRefused("no quote of the hardware", steps=tuple(trail.steps))
        extra = (statement.quote_extra,) if statement.quote_extra else ()
        known = dataclasses.replace(endorsements, certificates=(*endorsements.certificates, *extra))
        inner = platform.verify(statement.quote, endorsements=known, trust=trust, trail=trail)
        expected = platform_data(key_digest(token.key.key), statement.nonce)
        found = inner.report_data if inner.report_data is not None else inner.nonce
        trail.equal("key and nonce in the quote", (found or b"").ljust(REPORT_DATA_BYTES, b"\0"), expected)
        return inner


def check_profile(media_type: str | None) -> None:
    """Hold that a media type which names a profile names ours; nobody signed it, but a reader may go by it.

    Raises:
        EvidenceRefused: it has another parameter.
    """
    parameter = (media_type or "").partition(";")[2].strip()
    if parameter not in ("", f'eat_profile="{PROFILE}"'):
        raise EvidenceRefused(f"evidence: got media type parameter {parameter[:80]!r}, expected eat_profile {PROFILE}")


def brought_root(evidence: bytes) -> frozenset[bytes]:
    """Return the digest of the root that a token brings, empty if it brings none: to look at, never to trust.

    Raises:
        EvidenceRefused: it is no token.
    """
    chain = open_token(_bare(evidence)).chain
    try:
        return frozenset({key_digest(x509.load_der_x509_certificate(chain[-1]).public_key())}) if chain else frozenset()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceRefused("the token's root is not a certificate") from error


def _bare(evidence: bytes) -> bytes:
    """Return the token in a wrapper, or the token as it is."""
    if not evidence.startswith((b"[", b"\x83")):
        return evidence
    wrapped = unwrap(evidence)
    kind = wrapped.media_type.partition(";")[0].strip().lower()
    if kind not in (CWT_TYPE, JWT_TYPE):
        raise EvidenceRefused(f"a wrapper of {kind!r}, expected {CWT_TYPE} or {JWT_TYPE}")
    if (kind == JWT_TYPE) is not wrapped.content.startswith(b"ey"):
        raise EvidenceRefused(f"a wrapper that says {kind} around something else")
    return wrapped.content


def _statement(token: UnverifiedToken) -> Statement:
    if token.jwt:
        return from_json(strict_json(token.payload, "the token's payload"))
    try:
        return from_cbor(decode(token.payload))
    except CborRefused as error:
        raise EvidenceRefused(f"the token's payload cannot be read: {error}") from error


def _check_times(statement: Statement, trust: Trust, trail: Trail) -> None:
    limit = trust.now + SKEW_S
    trail.check("time of the token", statement.issued_at, f"at most {limit}", passed=statement.issued_at <= limit)


def _check_agreement(statement: Statement, chain: VerifiedChain, enclave: Enclave, trail: Trail) -> None:
    """Check that the token repeats what the certificates say."""
    simulated = _SIMULATED[chain.kind]
    debug = 0 if enclave.debug or simulated else 1
    pairs: tuple[tuple[str, object, object], ...] = (
        ("measurement", statement.measurement, enclave.measurement),
        ("signer", statement.signer, enclave.signer),
        ("product id", statement.product_id, enclave.product_id),
        ("security version", statement.svn, enclave.svn),
        ("platform", statement.provider, chain.platform),
        ("ueid", statement.ueid, ueid(chain.platform)),
        ("environment", statement.tee, _TEES[chain.kind].value),
        ("simulated", statement.simulated, simulated),
        ("debug status", statement.debug, debug),
    )
    for name, found, expected in pairs:
        trail.check(f"{name} in token and certificates", found, expected, passed=found == expected)
    issued = statement.issued_at
    trail.check("time of the token within its certificate", issued, f"at most {chain.not_after}",
                passed=issued <= chain.not_after)  # fmt: skip


def _claims(token: UnverifiedToken, statement: Statement, chain: VerifiedChain, enclave: Enclave) -> Claims:
    return dataclasses.replace(
        _own_claims(token, statement),
        tee=_TEES[chain.kind],
        measurement=enclave.measurement,
        signer=enclave.signer,
        product_id=enclave.product_id,
        svn=enclave.svn,
        debug=enclave.debug or _SIMULATED[chain.kind],
        simulated=_SIMULATED[chain.kind],
        provider=chain.platform,
        root=chain.root,
        platform={
            "kind": chain.kind,
            "platform-key": chain.platform_key,
            "algorithm": token.key.algorithm.name,
            "debug-enclave": enclave.debug,
            "revocation-lists": False,  # our platforms have none: a policy must say that it takes that
        },
    )


def _own_claims(token: UnverifiedToken, statement: Statement) -> Claims:
    """Return what the token itself says: believed only as far as its key is."""
    try:
        purpose, tee = Purpose(statement.purpose), Tee(statement.tee)
    except ValueError as error:
        raise EvidenceRefused(f"the token's {error}") from error
    both = statement.argv is not None and statement.environment is not None
    if not both and (statement.argv, statement.environment) != (None, None):
        raise EvidenceRefused("the token tells arguments or environment alone, expected both or none")
    return Claims(
        tee=tee,
        format="belljar-eat-jwt-v1" if token.jwt else "belljar-eat-cwt-v1",
        measurement=statement.measurement,
        signer=statement.signer,
        product_id=statement.product_id,
        svn=statement.svn,
        provider=statement.provider,
        root=b"",
        debug=statement.debug == 0,
        simulated=statement.simulated,
        report_data=statement.report_data,
        nonce=statement.nonce,
        purpose=purpose,
        data_consistency=statement.data_consistency,
        task=Task(argv=statement.argv or b"", environment=statement.environment or b"") if both else None,
        runtime=f"{statement.runtime} {statement.runtime_version}",
        kernel=statement.kernel,
        instance_id=statement.instance,
        issued_at=statement.issued_at,
        platform={"algorithm": token.key.algorithm.name},
    )


def _prefixed(inner: Claims) -> dict[str, ClaimValue]:
    """Return what hardware says under names of its own."""
    return {
        "hardware-format": inner.format,
        "hardware-measurement": inner.measurement,
        "hardware-root": inner.root,
        **{f"hardware-{name}": value for name, value in inner.platform.items()},
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a verifier without a policy compares.

    Attributes:
        nonce: the challenge it sent.
        purpose: what the evidence must be for.
        body: what it must bind.
    """

    nonce: bytes
    purpose: Purpose
    body: bytes


def verify_evidence(
    evidence: bytes, expected: Expected, trust: Trust, *, formats: EatFormat, endorsements: Endorsements | None = None
) -> Claims:
    """Return what our own evidence says, once it is authentic, fresh and for this use.

    Raises:
        EvidenceRefused: it is malformed, a step failed, or nonce, purpose or body are others.
    """
    trail = Trail()
    claims = formats.verify(evidence, endorsements=endorsements or Endorsements(), trust=trust, trail=trail)
    trail.check("nonce", claims.nonce, expected.nonce, passed=same(claims.nonce or b"", expected.nonce))
    trail.check("purpose", claims.purpose, expected.purpose, passed=claims.purpose is expected.purpose)
    wanted = report_data(expected.purpose, expected.body)
    trail.equal("report data", claims.report_data or b"", wanted)
    return claims

"""Proving that an attestation key lives in a certain TPM: endorsement, challenge, activation (TCG, RFC 9683 in spirit).

On the side of who enrols: an endorsement key and an attestation key come in, a `Challenge` goes out, and its secret
must come back. On the side of the TPM: `offer` and `answer`. A TPM is a chip where its endorsement certificate is
issued by one of the makers that the enroller was given; otherwise it is software for all that anybody knows, and is
called `swtpm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from belljar.attestation.crypto.compare import same
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import key_digest

from .codes import ENDORSEMENT, OWNER, PASSWORD, Attribute, Command
from .credential import Credential, make_credential
from .objects import AK_TEMPLATE, EK_TEMPLATE, name_of, parse_public
from .wire import TpmError, u16

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import Tpm

_EK_CERTIFICATE_INDEX = 0x01C0000A  # TCG EK Credential Profile 2.5, 2.2.1.5.1: P-256, template L-2
_MAX_CERTIFICATE_BYTES = 2048
_AT_ONCE = 512
_MUST = (
    Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN | Attribute.RESTRICTED
    | Attribute.SIGN
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a TPM shows to be enrolled.

    Attributes:
        endorsement: public area of its endorsement key.
        attestation: public area of its attestation key.
        certificate: of the endorsement key, DER; empty where the TPM has none.
    """

    endorsement: bytes
    attestation: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What the enroller sends, and keeps.

    Attributes:
        credential: goes to the TPM.
        secret: must come back.
        attestation_key: SHA-256 of the attestation key's SubjectPublicKeyInfo.
        kind: `tpm`, or `swtpm` where no maker vouches for the endorsement key.
    """

    credential: Credential
    secret: bytes
    attestation_key: bytes
    kind: str

    def check(self, answer: bytes) -> None:
        """Return if the answer is the secret.

        Raises:
            EvidenceRefused: it is not: the two keys are not in one TPM.
        """
        if not same(answer, self.secret):
            raise EvidenceRefused("the credential was not activated: the two keys are not in one TPM")


def challenge(
    offer: Offer, makers: tuple[x509.Certificate, ...], now: int, random: Callable[[int], bytes]
) -> Challenge:
    """Return a challenge for a TPM.

    Args:
        offer: what it shows.
        makers: certificates of those whose endorsement certificates are believed.
        now: seconds since 1970.
        random: gives unpredictable bytes.

    Raises:
        EvidenceRefused: the attestation key could sign what is not from the TPM.
        PlatformRefused: a key cannot be read.
    """
    parsed = parse_public(offer.attestation)
    if parsed.attributes & _MUST != _MUST or parsed.attributes & Attribute.DECRYPT:
        raise EvidenceRefused(f"an attestation key with attributes 0x{parsed.attributes:x}: not restricted to quotes")
    secret = random(32)
    return Challenge(
        credential=make_credential(offer.endorsement, name_of(offer.attestation), secret, random=random),
        secret=secret,
        attestation_key=key_digest(parsed.key),
        kind="tpm" if _made_by(offer, makers, now) else "swtpm",
    )


def _made_by(offer: Offer, makers: tuple[x509.Certificate, ...], now: int) -> bool:
    """Say whether one of the makers certified the endorsement key, for now."""
    if not offer.certificate or not makers:
        return False
    try:
        certificate = x509.load_der_x509_certificate(offer.certificate)
        certified = key_digest(certificate.public_key())
        times = (certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceRefused(f"the endorsement certificate cannot be read: {error}") from error
    if not same(certified, key_digest(parse_public(offer.endorsement).key)):
        raise EvidenceRefused("the endorsement certificate is of another key")
    return times[0] <= now <= times[1] and any(_issued(certificate, maker) for maker in makers)


def _issued(certificate: x509.Certificate, maker: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(maker)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def offer(tpm: Tpm) -> Offer:
    """Return what a TPM shows to be enrolled."""
    with tpm.primary(ENDORSEMENT, EK_TEMPLATE) as endorsement, tpm.primary(ENDORSEMENT, AK_TEMPLATE) as attestation:
        return Offer(
            endorsement=endorsement.public, attestation=attestation.public, certificate=endorsement_certificate(tpm)
        )


def answer(tpm: Tpm, credential: Credential) -> bytes:
    """Return the secret of a credential: only the TPM that has both keys can.

    Raises:
        PlatformRefused: it is for another TPM or another key.
    """
    with (
        tpm.primary(ENDORSEMENT, EK_TEMPLATE) as endorsement,
        tpm.primary(ENDORSEMENT, AK_TEMPLATE) as attestation,
        tpm.policy_session() as session,
    ):
        tpm.policy_secret(session, ENDORSEMENT)
        return tpm.activate((attestation.handle, endorsement.handle, session), credential.blob, credential.secret)


def endorsement_certificate(tpm: Tpm) -> bytes:
    """Return the certificate that the TPM's maker left in it, DER; empty where there is none."""
    try:
        size = _certificate_size(tpm)
        content = b"".join(_part(tpm, start, min(_AT_ONCE, size - start)) for start in range(0, size, _AT_ONCE))
    except TpmError:
        return b""
    length = int.from_bytes(content[2:4], "big") + 4 if content[:2] == b"\x30\x82" else 0
    return content[:length]  # some makers fill the rest of the index up


def _certificate_size(tpm: Tpm) -> int:
    reader = tpm.execute(Command.NV_READ_PUBLIC, handles=(_EK_CERTIFICATE_INDEX,))
    public = reader.sized()
    return min(int.from_bytes(public[-2:], "big"), _MAX_CERTIFICATE_BYTES)


def _part(tpm: Tpm, start: int, size: int) -> bytes:
    reader = tpm.execute(
        Command.NV_READ, handles=(OWNER, _EK_CERTIFICATE_INDEX), sessions=(PASSWORD,), parameters=u16(size) + u16(start)
    )
    return reader.sized()

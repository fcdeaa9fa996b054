"""A certificate for TLS that a program ends itself: signed by its enclave's layer, with evidence about the key inside.

    extension 1.3.6.1.5.5.7.1.35 (id-pe-cmw, RFC 9999) = OCTET STRING { CMW record of a token }
    token: purpose `csr`, body and nonce SHA-256(SubjectPublicKeyInfo of the certificate's key)

In come an attester and a key that the program will have; out come PEM files. `read_identity` goes the other way, for
whoever meets such a certificate: evidence, and what it must bind. The key is the program's, so its certificate must
never be taken for one that signs evidence: it has extensions that `verify_chain` refuses in such a place. What it
cannot show is when: a certificate is shown again and again; only an attested channel is fresh
(docs/formats/guest-files.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from belljar.attestation.appraisal.bench import Challenge
from belljar.attestation.claims import Purpose
from belljar.attestation.dice.certificate import Validity, tls_certificate
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.keys import SigningKey, generate
from belljar.attestation.x509 import der
from belljar.attestation.x509.certificate import parse_certificate

from .attester import VALIDITY_S, Attester, Request, wrapped_cwt
from .report_data import report_data

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTENSION = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35")
_SKEW_S = 300
_WHAT = "identity certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """What a program that ends TLS itself needs, in PEM: the private key, its certificate, and that with its chain."""

    key: bytes
    certificate: bytes
    chain: bytes


def identity_key() -> SigningKey:
    """Return a new key on P-256, which every TLS library knows."""
    return generate("es256")


def identity_certificate(attester: Attester, key: SigningKey, names: Sequence[str], *, now: int) -> IdentityFiles:
    """Return the files for a key; the certificate holds for seven days.

    Args:
        attester: of the run.
        key: the program's.
        names: the certificate is for.
        now: seconds since 1970.

    Raises:
        PlatformRefused: the root does not answer as it should.
    """
    digest = _digest(key.public.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    token = attester.cwt(Request(nonce=digest, purpose=Purpose.CSR, body=digest, now=now))
    evidence = x509.UnrecognizedExtension(EXTENSION, der.spell(der.OCTET_STRING, wrapped_cwt(token)))
    validity = Validity(start=now - _SKEW_S, end=now + VALIDITY_S)
    certificate, *below = attester.certified(
        lambda authority: tls_certificate(authority or key, key.public, names, evidence, validity)
    )
    own = _pem(certificate)
    private = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return IdentityFiles(key=private, certificate=own, chain=own + b"".join(map(_pem, below)))


def read_identity(certificate: bytes) -> tuple[bytes, Challenge]:
    """Return the evidence in a certificate, and the challenge it must answer: give both to `verifier.verify`.

    That the other side has the key, TLS has shown; that the key is an enclave's, the evidence does.

    Args:
        certificate: DER.

    Raises:
        EvidenceRefused: it is malformed, or has no evidence.
    """
    found = parse_certificate(certificate, _WHAT)
    try:
        raw = found.extensions.get_extension_for_oid(EXTENSION).value
        key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (x509.ExtensionNotFound, UnsupportedAlgorithm, ValueError) as error:
        raise EvidenceRefused(f"{_WHAT}: got no extension {EXTENSION.dotted_string}") from error
    content = raw.value if isinstance(raw, x509.UnrecognizedExtension) else b""
    digest = _digest(key)
    evidence = der.only(content, der.OCTET_STRING, _WHAT)
    return evidence, Challenge(nonce=digest, report_data=report_data(Purpose.CSR, digest))


def _digest(public_key: bytes) -> bytes:
    return hashlib.sha256(public_key).digest()


def _pem(certificate: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)

"""Reading certificates and looking who has signed them, once for each: who meets an enclave again gets the same bytes.

In come bytes; out comes what they are. What is remembered answers questions about bytes alone: never whether a root is
pinned, what a policy asks, or what time it is. So no verdict depends on who was judged before. A `Reading` holds a
bounded number of answers, also for strangers' nonsense, and may be used by many threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from belljar.attestation.algorithms import algorithm_of
from belljar.attestation.keys import PublicKey

from .keypair import key_id

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 64  # certificates of 16 KiB at most; sixteen enclaves with nothing in common


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A certificate, its key, and what that key is called."""

    certificate: x509.Certificate
    key: PublicKey
    identifier: bytes


def read(der: bytes) -> Read:
    """Return what a certificate (DER) is.

    Raises:
        Exception: whatever `cryptography` has against it; the caller knows the kinds.
    """
    certificate = x509.load_der_x509_certificate(der)
    public = certificate.public_key()
    key = PublicKey(algorithm=algorithm_of(public), key=public)
    _ = (certificate.extensions, certificate.issuer, certificate.subject, certificate.not_valid_after_utc)
    return Read(certificate=certificate, key=key, identifier=key_id(key))


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Say whether the issuer's key has signed a certificate, and the names agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


class Reading:
    """Reads, and remembers.

    Attributes:
        read: as above.
        is_signed_by: as above.
    """

    def __init__(self) -> None:
        self.read: Callable[[bytes], Read] = lru_cache(_MOST)(read)
        self.is_signed_by: Callable[[x509.Certificate, x509.Certificate], bool] = lru_cache(_MOST)(is_signed_by)

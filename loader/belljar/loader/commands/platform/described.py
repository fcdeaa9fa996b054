"""What a platform is, as plain values and as lines: its name, its root, how strong it is, until when it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.platforms import SoftRoot, key_digest
from belljar.loader.errors import LoaderError

if TYPE_CHECKING:
    from belljar.attestation.platforms import RootOfTrust

Told = dict[str, str | bool | int | list[str] | None]


def describe(root: RootOfTrust) -> Told:
    """Return what may be told of a platform."""
    told: Told = {
        "kind": root.kind,
        "environment": root.tee.value,
        "simulated": root.simulated,
        "strength": root.strength,
        "algorithm": root.algorithm,
        "platform": root.platform.hex() if root.chain else None,
        "root": None,
        "valid_until": None,
        "older": [item.platform.hex() for item in root.generations[1:]] if isinstance(root, SoftRoot) else [],
    }
    if root.chain:
        certificate = x509.load_der_x509_certificate(root.chain[-1])
        told["root"] = f"sha256:{key_digest(certificate.public_key()).hex()}"
        told["valid_until"] = certificate.not_valid_after_utc.date().isoformat()
    return told


def rows(told: Told) -> list[str]:
    """Return lines for people."""
    shown = {name.replace("_", " "): _text(value) for name, value in told.items() if value not in (None, [])}
    width = max(map(len, shown))
    return [f"{name:<{width}}  {value}\n" for name, value in shown.items()]


def _text(value: str | bool | int | list[str] | None) -> str:  # noqa: FBT001 - one of the values above
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def pinned_pem(root: RootOfTrust) -> bytes:
    """Return the certificate that verifiers pin, in PEM.

    Raises:
        LoaderError: this kind has none of its own.
    """
    if not root.chain:
        hint = "pin the root of the processor's maker: AMD's ARK, Intel's SGX root CA"
        raise LoaderError(f"{root.kind} has no root of its own", hint=hint)
    return x509.load_der_x509_certificate(root.chain[-1]).public_bytes(Encoding.PEM)

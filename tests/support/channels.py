"""Both ends of channels in one process: soft enclaves, their policies, sessions tied together without a network."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from belljar.attestation.attesting import Attester, Enclave, Purpose, Run, Task, attest
from belljar.attestation.channel import (
    ChannelRefused,
    ChannelSession,
    Endpoint,
    Role,
    Terms,
    appraises_by,
    attests_with,
)
from belljar.attestation.claims import Tee
from belljar.attestation.keys import load_private
from belljar.attestation.platforms import key_digest
from belljar.attestation.verifier import Draft, Policy, ReferenceValues, load_policy, policy_text

from .roots import NOW, FixedRoot

ROOT = FixedRoot(b"u" * 32)
PIN = key_digest(ROOT.ca_key.public.key)
SERVER = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
CLIENT = dataclasses.replace(SERVER, measurement=b"c" * 32)


def clock() -> int:
    return NOW


def run_of(enclave: Enclave, instance: bytes = b"i" * 16) -> Run:
    return Run(
        enclave=enclave, instance=instance, runtime="belljar", runtime_version="1", kernel="Linux",
        task=Task(argv=b"a" * 32, environment=b"e" * 32),
    )  # fmt: skip


def attester_of(enclave: Enclave = SERVER, root: FixedRoot = ROOT, instance: bytes = b"i" * 16) -> Attester:
    return attest(root, run_of(enclave, instance))


def policy_for(enclave: Enclave = SERVER, root: FixedRoot = ROOT, **changes: Any) -> Policy:
    """Return a policy that takes an enclave on a fixed root, and nothing else."""
    values = ReferenceValues(
        name="app", measurement=enclave.measurement, signer=enclave.signer, product_id=enclave.product_id,
        svn=enclave.svn,
    )  # fmt: skip
    found: dict[str, Any] = {
        "identifier": "channel", "values": (values,), "roots": {Tee.SOFT: (key_digest(root.ca_key.public.key),)},
        "purposes": (Purpose.CHANNEL,), "pcrs": None, "volumes": False, "upgrades": False, "allow_simulated": True,
    }  # fmt: skip
    return load_policy(policy_text(Draft(**found | changes)))


def server_terms(**changes: Any) -> Terms:
    """Return those of a soft enclave that takes any client."""
    found: dict[str, Any] = {"attests": attests_with(attester_of(), clock=clock)}
    return Terms(**found | changes)


def client_terms(**changes: Any) -> Terms:
    """Return those of a client that takes this enclave."""
    found: dict[str, Any] = {"appraises": appraises_by(policy_for(), clock=clock)}
    return Terms(**found | changes)


def mutual() -> tuple[Terms, Terms]:
    """Return terms of a client and a server that both attest."""
    return (
        client_terms(attests=attests_with(attester_of(CLIENT), clock=clock)),
        server_terms(appraises=appraises_by(policy_for(CLIENT), clock=clock)),
    )


def sessions(client: Terms | None = None, server: Terms | None = None) -> tuple[ChannelSession, ChannelSession]:
    """Return both ends, before the first byte."""
    return (
        Endpoint(Role.CLIENT, client or client_terms()).session(0.0),
        Endpoint(Role.SERVER, server or server_terms()).session(0.0),
    )


def exchange(one: ChannelSession, other: ChannelSession) -> None:
    """Carry bytes to and fro until neither has any; the first refusal is raised when both know of it."""
    refused: list[ChannelRefused] = []
    while True:
        moved = False
        for source, target in ((one, other), (other, one)):
            content = source.to_send()
            if content:
                moved = True
                try:
                    target.receive(content)
                except ChannelRefused as error:
                    refused.append(error)
        if not moved:
            break
    if refused:
        raise refused[0]


def opened(client: Terms | None = None, server: Terms | None = None) -> tuple[ChannelSession, ChannelSession]:
    """Return both ends of an open channel."""
    both = sessions(client, server)
    exchange(*both)
    assert both[0].is_open
    assert both[1].is_open
    return both


@dataclasses.dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


def issued(name: str, by: Issued | None = None) -> Issued:
    """Return a certificate that is valid by the real clock, which TLS goes by: an authority, or of one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer = x509.load_pem_x509_certificate(by.certificate).subject if by else subject
    signer = load_private(by.key).private if by else key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    at = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(at - dt.timedelta(hours=1))
        .not_valid_after(at + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate=certificate.public_bytes(Encoding.PEM), key=pkcs8)

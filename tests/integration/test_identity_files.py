"""Programs that end TLS themselves: a key and a certificate as files, which an enclave answers for (7.2.1)."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.attesting import EatFormat, read_identity
from belljar.attestation.dice.chain import verify_chain
from belljar.attestation.errors import EvidenceRefused
from belljar.attestation.evidence import Endorsements, Trust
from belljar.attestation.steps import Trail
from belljar.attestation.verifier import load_policy, verify
from support.gateways import Enclave, Written, policy_of, with_platform
from support.running import Belljar

HTTPS = """
import socket, ssl

FOLDER = "/dev/attestation/identity/"
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(FOLDER + "chain.pem", FOLDER + "key.pem")
assert open(FOLDER + "chain.pem").read().startswith(open(FOLDER + "cert.pem").read())
listener = socket.create_server(("127.0.0.1", 8443))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as found:
            found.sendall(b"from inside")
            found.unwrap()
    except OSError:
        pass
"""
PLAIN = 'listen: [{outside: "127.0.0.1:0", guest: 8443, insecure_plain: true}]'
_IGNORE_CRITICAL = 0x10  # X509_V_FLAG_IGNORE_CRITICAL: the layer's DICE extension is critical, and OpenSSL knows it not


def chain_of(enclave: Enclave) -> list[bytes]:
    """Return the chain that the server shows, DER, leaf first, after TLS has verified it to the platform's root."""
    root = Path(f"{enclave.belljar.folder}/root.pem")
    root.write_text(enclave.belljar("platform", "root").stdout)
    context = ssl.create_default_context(cafile=str(root))
    context.verify_flags |= _IGNORE_CRITICAL
    with (
        socket.create_connection(("127.0.0.1", enclave.port())) as near,
        context.wrap_socket(near, server_hostname="https") as found,
    ):
        assert found.recv(100) == b"from inside"
        shown = found.getpeercert(binary_form=True)
    assert shown is not None
    return [shown]


def test_a_server_that_ends_tls_itself(anybody: Belljar) -> None:
    with_platform(anybody)
    with Written(anybody, "https", program=HTTPS, network=PLAIN).write().running() as enclave:
        evidence, challenge = read_identity(chain_of(enclave)[0])
        policy = load_policy(enclave.policy().replace("purpose: [channel]", "purpose: [csr]"))
        found = verify(evidence, endorsements=Endorsements(), policy=policy, challenge=challenge, now=int(time.time()))
        assert found.require().measurement.hex() == enclave.ask("status")["measurement"].removeprefix("sha256:")


SIGN = """
print(open("/dev/attestation/identity/chain.pem").read())
"""


def test_the_programs_key_signs_no_evidence(belljar: Belljar) -> None:
    with_platform(belljar)
    pem = Written(belljar, "identity", program=SIGN).write().run().stdout
    chain = tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem.encode()))
    pin = bytes.fromhex((belljar.cache / "root-of-tests").read_text().removeprefix("sha256:"))
    trust = Trust(roots=frozenset({pin}), now=int(time.time()), require_crls=False)
    with pytest.raises(EvidenceRefused, match="extensions of the evidence certificate"):
        verify_chain(chain, trust, Trail())
    evidence, _ = read_identity(chain[0])
    claims = EatFormat().verify(evidence, endorsements=Endorsements(), trust=trust, trail=Trail())
    assert claims.purpose is not None
    assert claims.purpose.value == "csr"


def test_evidence_in_a_certificate_opens_no_channel(belljar: Belljar) -> None:
    with_platform(belljar)
    pem = Written(belljar, "identity", program=SIGN).write().run().stdout
    evidence, challenge = read_identity(x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER))
    policy = load_policy(policy_of(belljar))
    found = verify(evidence, endorsements=Endorsements(), policy=policy, challenge=challenge, now=int(time.time()))
    assert not found.accepted

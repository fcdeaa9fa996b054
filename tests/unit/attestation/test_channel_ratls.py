"""Plain TLS with evidence in certificates, only where terms name it: made, taken, and refused."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from belljar.attestation.attesting import quoter, verify_quote
from belljar.attestation.cbor import Tagged, decode, encode
from belljar.attestation.channel import (
    ChannelRefused,
    Endpoint,
    Identity,
    Role,
    Terms,
    appraises_by,
    connect,
    make_identity,
    make_token,
    ra_tls_identity,
    read_tokens,
)
from belljar.attestation.channels.identity import self_signed
from belljar.attestation.claims import Tee
from belljar.attestation.dice.certificate import PlatformFacts
from belljar.attestation.evidence import key_digest
from belljar.attestation.ratls.verify import EXTENSION
from belljar.attestation.steps import Trail
from belljar.attestation.verifier import Endorsements, examine, policy_from
from support.channel_sockets import listening
from support.channels import PIN, ROOT, SERVER, client_terms, clock, exchange
from support.evidence import Intel, sgx_body
from support.policies import policy
from support.roots import NOW, FixedRoot, trust_in
from support.vendors import NOW as VENDORS_NOW

INTEL = Intel()
ANYBODY = Terms(insecure_ra_tls=True, insecure_unattested=True)
SKIPPED = {"insecure_skip_freshness": True, "nonce": None}


def of_intel() -> Identity:
    """Return what an enclave of SGX shows, with a quote of our miniature Intel."""
    return ra_tls_identity(lambda data: INTEL.quote(3, sgx_body(report_data=data)), VENDORS_NOW)


def judging(**changes: Any) -> Terms:
    case = INTEL.ratls()
    found = policy(case, case.verify(), **SKIPPED | changes)
    judge = appraises_by(found, case.endorsements, clock=lambda: case.now)
    return Terms(appraises=judge, insecure_ra_tls=True)


def both(client: Terms, identity: Identity) -> tuple[Any, Any]:
    pair = (
        Endpoint(Role.CLIENT, client, make_identity(NOW)).session(0.0),
        Endpoint(Role.SERVER, ANYBODY, identity).session(0.0),
    )
    exchange(*pair)
    return pair


def test_a_certificate_with_a_quote_is_taken_and_content_flows() -> None:
    client, server = both(judging(), of_intel())
    assert client.peer.claims.format == "ra-tls-sgx-quote-v3"
    client.write(b"hello" * 5000)
    exchange(client, server)
    assert server.read(1 << 20) == b"hello" * 5000
    client.finish()
    exchange(client, server)
    assert server.at_end
    server.write(b"bye")
    server.finish()
    exchange(client, server)
    assert (client.read(), client.at_end, client.is_over, server.is_over) == (b"bye", True, True, True)


def test_a_policy_that_asks_for_freshness_takes_none() -> None:
    with pytest.raises(ChannelRefused, match="the other side's certificate: evidence refused by the policy: nonce"):
        both(judging(insecure_skip_freshness=None, nonce="required"), of_intel())


def test_the_quote_must_be_over_this_key() -> None:
    genuine = of_intel().chain[0].extensions.get_extension_for_oid(EXTENSION).value
    assert isinstance(genuine, x509.UnrecognizedExtension)
    thief = make_identity(VENDORS_NOW).key
    with pytest.raises(ChannelRefused, match="RA-TLS certificate: key"):
        both(judging(), self_signed(thief, VENDORS_NOW, genuine))  # type: ignore[arg-type] # on P-256, as made
    with pytest.raises(ChannelRefused, match="got no extension"):
        both(judging(), make_identity(VENDORS_NOW))


def test_our_own_quote_is_inside_and_the_key_it_speaks_of() -> None:
    root = FixedRoot(b"u" * 32)
    found = ra_tls_identity(quoter(root, SERVER, NOW).quote, NOW)
    extension = found.chain[0].extensions.get_extension_for_oid(EXTENSION)
    assert not extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    outer = decode(extension.value.value, tags=frozenset({60000}))
    assert isinstance(outer, Tagged)
    assert isinstance(outer.value, list)
    quote, claims = outer.value
    assert isinstance(quote, bytes)
    assert isinstance(claims, bytes)
    import hashlib

    assert decode(claims) == {"pubkey-hash": encode([1, hashlib.sha256(found.public_key).digest()])}
    body = verify_quote(quote, trust_in(root), Trail()).body
    assert (body.measurement, body.report_data[:32]) == (SERVER.measurement, hashlib.sha256(claims).digest())
    with pytest.raises(ChannelRefused, match="the other side's certificate: "):
        both(judging(), found)  # not Intel's


def ours(**changes: Any) -> Terms:
    """Return terms that take the certificates of an enclave on our fixed root."""
    plain: dict[str, object] = {
        "version": 1, "tees": ["soft"], "roots": {"soft": [f"sha256:{PIN.hex()}"]},
        "code": [{"measurement": SERVER.measurement.hex()}], "insecure_skip_freshness": True, "provider": "any",
        "insecure_skip_revocation": True, "insecure_allow_simulated": True, "insecure_skip_purpose": True,
        "insecure_skip_data_consistency": True, "insecure_skip_task": True,
    }  # fmt: skip
    found = policy_from({key: value for key, value in (plain | changes).items() if value is not None})
    return Terms(appraises=appraises_by(found, clock=clock), insecure_ra_tls=True)


def of_ours() -> Identity:
    return ra_tls_identity(quoter(ROOT, SERVER, NOW).quote, NOW)


def test_our_own_quote_is_taken_by_who_pins_our_platform() -> None:
    client, _ = both(ours(), of_ours())
    claims = client.peer.claims
    assert (claims.format, claims.tee, claims.simulated) == ("ra-tls-belljar-quote-v3", Tee.SOFT, True)
    assert (claims.measurement, claims.signer, claims.product_id, claims.svn) == (b"m" * 32, b"s" * 32, 7, 3)
    assert (claims.nonce, claims.purpose, claims.report_data, claims.instance_id) == (None, None, None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": [{"measurement": "ab" * 32}]}, "code"),
        ({"roots": {"soft": ["sha256:" + "ab" * 32]}}, "root of the chain"),
        ({"insecure_allow_simulated": None}, "simulated"),
        ({"insecure_skip_freshness": None, "nonce": "required"}, "nonce"),
        ({"insecure_skip_freshness": None, "max_age_s": 60}, "age"),
        ({"insecure_skip_purpose": None, "purpose": ["channel"]}, "purpose"),
        ({"insecure_skip_task": None, "task": {"argv": "any", "environment": "any"}}, "task"),
        ({"require": ["instance_id"]}, "instance_id"),
        ({"insecure_skip_revocation": None, "revocation": "required"}, "revocation"),
    ],
)
def test_our_own_quote_is_refused_for_what_it_does_not_show(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ChannelRefused, match=f"the other side's certificate: .*{message}"):
        both(ours(**changes), of_ours())


class FixedTpm(FixedRoot):
    """Stands for a TPM's platform: its CA certified the kind, and the key that makes quotes of the machine."""

    kind = "swtpm"


@pytest.mark.parametrize("skips", [True, False])
def test_a_quote_of_a_tpm_shows_no_state_of_its_machine(skips: bool) -> None:  # noqa: FBT001 - a parameter of the test
    root = FixedTpm(b"t" * 32, facts=PlatformFacts(kind="swtpm", attestation_key=b"k" * 32))
    identity = ra_tls_identity(quoter(root, SERVER, NOW).quote, NOW)
    rule = {"insecure_skip_pcrs": True} if skips else {"pcrs": {"sha256:8": ["ab" * 32]}}
    pins = {"tpm": [f"sha256:{key_digest(root.ca_key.public.key).hex()}"]}
    terms = ours(tees=["tpm"], roots=pins, tpm=rule)
    if skips:
        client, _ = both(terms, identity)
        assert (client.peer.claims.tee, client.peer.claims.platform["kind"]) == (Tee.TPM, "swtpm")
    else:
        with pytest.raises(ChannelRefused, match="PCR sha256:8: got nothing"):
            both(terms, identity)


def test_our_own_quote_speaks_of_one_key_and_no_bit_of_it_is_another() -> None:
    found = of_ours()
    genuine = found.chain[0].extensions.get_extension_for_oid(EXTENSION).value
    assert isinstance(genuine, x509.UnrecognizedExtension)
    thief = make_identity(NOW).key
    with pytest.raises(ChannelRefused, match="RA-TLS certificate: key"):
        both(ours(), self_signed(thief, NOW, genuine))  # type: ignore[arg-type] # on P-256, as made
    content = bytearray(genuine.value)
    for place in range(20, len(content), 401):
        content[place] ^= 4
        changed = x509.UnrecognizedExtension(EXTENSION, bytes(content))
        with pytest.raises(ChannelRefused):
            both(ours(), self_signed(found.key, NOW, changed))  # type: ignore[arg-type] # on P-256, as made
        content[place] ^= 4


def test_what_a_certificate_of_ours_says_can_be_looked_at() -> None:
    certificate = of_ours().chain[0].public_bytes(Encoding.PEM)
    found = examine(certificate, endorsements=Endorsements(), now=NOW)
    assert found.claims.measurement == SERVER.measurement
    assert found.claims.root == PIN


def test_other_programs_speak_to_it() -> None:
    """A client that knows only TLS, and a server that shows its certificate to it."""
    identity = of_intel()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with listening(ANYBODY, identity=identity) as served:
        with socket.create_connection(served.address, 20) as plain, context.wrap_socket(plain) as tls:
            assert tls.getpeercert(binary_form=True) == identity.chain[0].public_bytes(Encoding.DER)
            tls.sendall(b"hello")
            assert tls.recv(10) == b"hello"
        with connect(served.address, terms=judging()) as channel:
            channel.sendall(b"attested")
            assert channel.recv(10) == b"attested"
        with pytest.raises(ChannelRefused, match="does not speak belljar/1"):
            connect(served.address, terms=client_terms())


def test_it_is_nothing_to_combine_with_what_it_lacks() -> None:
    _, line = make_token("a", bytes)
    for terms in (Terms(insecure_ra_tls=True, tokens=read_tokens(line)), Terms(insecure_ra_tls=True, token="t" * 20)):
        with pytest.raises(ChannelRefused, match="it has no tokens, and evidence only in certificates"):
            Endpoint(Role.SERVER, terms)
    with pytest.raises(ChannelRefused, match="needs an identity with evidence in it"):
        Endpoint(Role.SERVER, Terms(insecure_ra_tls=True))

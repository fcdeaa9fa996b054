"""Channels between different platforms: soft and TPM authenticate each other; real SNP and TDX evidence is judged.

IEEE 2952 7.2.1: homogeneous and heterogeneous environments on one path. The TPM is a real swtpm.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509

from belljar.attestation.attesting import Attester, attest
from belljar.attestation.channel import ChannelRefused, appraises_by, attests_with
from belljar.attestation.claims import Tee
from belljar.attestation.platforms import RootOfTrust, TpmBirth, connected, key_digest, make_tpm
from belljar.attestation.roots.soft import Birth
from belljar.attestation.verifier import Message, Policy
from support.captured import captured
from support.channels import CLIENT, SERVER, client_terms, clock, opened, policy_for, run_of, server_terms
from support.evidence import Case
from support.policies import policy
from support.roots import NOW, FixedRoot
from support.swtpm import needs_swtpm, swtpm

SOFT = FixedRoot(b"u" * 32)


def root_pin(root: RootOfTrust) -> bytes:
    return key_digest(x509.load_der_x509_certificate(root.chain[-1]).public_key())


def tpm_policy(root: RootOfTrust) -> Policy:
    return policy_for(SERVER, roots={Tee.TPM: (root_pin(root),)}, allow_simulated=True)


@needs_swtpm
def test_a_soft_and_a_tpm_enclave_authenticate_each_other(tmp_path: Path) -> None:
    with (
        swtpm() as running,
        make_tpm(
            str(tmp_path / "p"), connected(running.address), TpmBirth(birth=Birth(random=os.urandom, now=NOW))
        ) as root,
    ):
        tpm: Attester = attest(root, run_of(SERVER))
        soft = attest(SOFT, run_of(CLIENT))
        client, server = opened(
            client_terms(
                appraises=appraises_by(tpm_policy(root), clock=clock), attests=attests_with(soft, clock=clock)
            ),
            server_terms(
                attests=attests_with(tpm, clock=clock), appraises=appraises_by(policy_for(CLIENT), clock=clock)
            ),
        )
        assert client.peer.claims is not None
        assert server.peer.claims is not None
        assert (client.peer.claims.tee, server.peer.claims.tee) == (Tee.TPM, Tee.SOFT)
        assert client.peer.claims.platform["hardware-format"]
        with pytest.raises(ChannelRefused, match="root"):
            opened(client_terms(appraises=appraises_by(policy_for(SERVER), clock=clock)),
                   server_terms(attests=attests_with(tpm, clock=clock)))  # fmt: skip


@pytest.mark.parametrize("name", ["snp-v2-vcek", "snp-v3-vlek", "tdx-v4", "sgx-v3"])
def test_evidence_of_real_machines_is_believed_and_binds_no_channel_of_ours(name: str) -> None:
    """Authentic, of the kind and build the policy names: and yet of another session."""
    case: Case = captured(name)
    claims = case.verify()
    changes = {"insecure_skip_revocation": True, "revocation": None} if not case.require_crls else {}
    if name == "tdx-v4":
        section = {"intel-tdx": {"min_tcb_status": "UpToDate", "insecure_skip_rtmrs": True}}
    elif name == "sgx-v3":
        section = {"intel-sgx": {"min_tcb_status": "UpToDate"}}
    else:
        section = {"amd-snp": {"max_vmpl": 3, "insecure_skip_tcb": True, "allow_smt": True, "allow_migration": True}}
    judge = appraises_by(policy(case, claims, **changes, **section), case.endorsements, clock=lambda: case.now)
    media_type = min(case.kind.media_types)
    shown = server_terms(attests=lambda _nonce, _body: Message(content=case.evidence, media_type=media_type))
    with pytest.raises(ChannelRefused, match=r"evidence refused by the policy: .*report data: got") as refused:
        opened(client_terms(appraises=judge), shown)
    assert "signature" not in str(refused.value)
    assert "root is one of this kind" not in str(refused.value)


@pytest.mark.parametrize("name", ["snp-v3-vlek", "tdx-v4"])
def test_evidence_of_real_machines_is_refused_where_they_are_not_named(name: str) -> None:
    case: Case = captured(name)
    media_type = min(case.kind.media_types)
    shown = server_terms(attests=lambda _nonce, _body: Message(content=case.evidence, media_type=media_type))
    with pytest.raises(ChannelRefused, match="the other side's evidence: "):
        opened(client_terms(), shown)

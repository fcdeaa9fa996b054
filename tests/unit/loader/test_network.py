"""What a manifest opens of the network: keys, mistakes, what is measured, what a bundle adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from belljar.attestation.measurement import canonical_bytes
from belljar.loader.errors import LoaderError, ManifestError, UsageError
from belljar.loader.manifest.network import Network
from belljar.loader.manifest.parse import parse_text
from belljar.loader.networks.consistency import check_network
from belljar.loader.networks.elsewhere import listening_at
from belljar.loader.networks.forms import inward, manifest_network, measured_network, not_measured, outward

POLICY = """\
version: 1
tees: [soft]
roots: {soft: [sha256:%s]}
insecure_skip_code: true
nonce: required
purpose: [channel]
provider: any
insecure_skip_data_consistency: true
insecure_skip_task: true
insecure_skip_revocation: true
insecure_allow_simulated: true
""" % ("ab" * 32)
FOR_CERTIFICATES = POLICY.replace("nonce: required", "insecure_skip_freshness: true").replace(
    "purpose: [channel]", "insecure_skip_purpose: true"
)
ALL = """\
listen:
  - {outside: "0.0.0.0:8443", guest: 8080, anyone: true}
  - {outside: "unix:in.sock", guest: "unix:/run/app.sock", policy: p.yaml, tokens: tokens, endorsements: [a, b],
     proxy_protocol: true, connections: 5, idle: 1m, handshake: 2s, reattest: 1h}
  - {outside: "[::1]:0", guest: 81, insecure_plain: true}
  - {outside: "[::1]:0", guest: 82, anyone: true, insecure_ra_tls: true}
connect:
  - {guest: "db:5432", outside: "db.example:8432", policy: p.yaml, token: token}
  - {guest: 6379, outside: "10.0.0.1:6379", insecure_plain: true}
  - {guest: 6380, outside: "10.0.0.1:6380", policy: certificates.yaml, insecure_ra_tls: true}
internet:
  - {name: API.example.com}
  - {name: old.example.com, tls: gateway}
  - {name: old.example.com, port: 8080, insecure_plain: true, insecure_private: true}
"""


def parsed(folder: Path, network: str, more: str = "") -> Any:
    (folder / "p.yaml").write_text(POLICY)
    (folder / "certificates.yaml").write_text(FOR_CERTIFICATES)
    (folder / "pinned.yaml").write_text(f"{FOR_CERTIFICATES}instance: any\n")
    indented = "".join(f"  {line}\n" for line in network.splitlines())
    text = f"belljar: 1\nname: app\nargv: [/bin/true]\nnetwork:\n{indented}{more}"
    return parse_text(text, name="app.yaml", folder=str(folder))


def test_what_is_told_to_libos(tmp_path: Path) -> None:
    network = parsed(tmp_path, ALL).manifest.network
    inner = inward(network)
    assert [(i.outside, i.guest, i.security) for i in inner] == [
        ("0.0.0.0:8443", "127.0.0.1:8080", "channel"),
        (f"unix:{tmp_path}/in.sock", "unix:/run/app.sock", "channel"),
        ("[::1]:0", "127.0.0.1:81", "plain"),
        ("[::1]:0", "127.0.0.1:82", "ra-tls"),
    ]
    assert (inner[1].policy, inner[1].tokens) == (POLICY, f"{tmp_path}/tokens")
    assert inner[1].endorsements == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert (inner[1].traffic.connections, inner[1].traffic.idle_ms, inner[1].reattest_ms) == (5, 60_000, 3_600_000)
    outer = outward(network)
    assert [(o.guest, o.name, o.outside, o.security, o.private) for o in outer] == [
        ("127.0.1.1:5432", "db", "db.example:8432", "channel", True),
        ("127.0.0.1:6379", "", "10.0.0.1:6379", "plain", True),
        ("127.0.0.1:6380", "", "10.0.0.1:6380", "ra-tls", True),
        ("127.0.1.2:443", "api.example.com", "api.example.com:443", "guest-tls", False),
        ("127.0.1.3:80", "old.example.com", "old.example.com:443", "tls", False),
        ("127.0.1.3:8080", "old.example.com", "old.example.com:8080", "plain", True),
    ]


def test_what_is_measured_comes_back(tmp_path: Path) -> None:
    network = parsed(tmp_path, ALL).manifest.network
    measured, added = json.loads(canonical_bytes(measured_network(network))), not_measured(network)
    assert not [key for key in ("outside", "endorsements") for row in measured["listen"] if key in row]
    assert measured["listen"][1]["policy"] == POLICY
    assert added["listen.1.endorsements.1"] == f"{tmp_path}/b"
    again = Network.model_validate(manifest_network(measured, added))
    assert measured_network(again) == measured_network(network)
    assert not_measured(again) == added
    assert (inward(again), outward(again)) == (inward(network), outward(network))


def test_addresses_and_tokens_are_not_measured(tmp_path: Path) -> None:
    one = parsed(tmp_path, 'listen: [{outside: "0.0.0.0:1", guest: 8080, tokens: a}]').manifest.network
    other = parsed(tmp_path, 'listen: [{outside: "unix:x", guest: 8080, tokens: b}]').manifest.network
    third = parsed(tmp_path, 'listen: [{outside: "unix:x", guest: 8080, anyone: true}]').manifest.network
    assert measured_network(one) == measured_network(other) != measured_network(third)


def test_evidence_in_certificates_is_measured(tmp_path: Path) -> None:
    entry = 'listen: [{{outside: "h:1", guest: 8080, anyone: true{more}}}]'
    plain = parsed(tmp_path, entry.format(more="")).manifest.network
    other = parsed(tmp_path, entry.format(more=", insecure_ra_tls: true")).manifest.network
    assert measured_network(plain) != measured_network(other)


def test_a_network_that_opens_nothing_is_measured_as_before(tmp_path: Path) -> None:
    assert measured_network(parsed(tmp_path, "insecure_host: true").manifest.network) == {}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ('listen: [{outside: "0.0.0.0:1", guest: 8080}]', "who may connect? got nothing"),
        ('listen: [{outside: "0.0.0.0:1", guest: 8080, anyone: true, policy: p.yaml}]', "got policy and anyone"),
        ('listen: [{outside: "0.0.0.0:1", guest: 0, anyone: true}]', "expected a port from 1 to 65535"),
        ('listen: [{outside: "0.0.0.0:1", guest: "unix:run", anyone: true}]', "an absolute path in the enclave"),
        ('listen: [{outside: "8443", guest: 8080, anyone: true}]', "expected HOST:PORT"),
        ('listen: [{outside: "::1:8443", guest: 8080, anyone: true}]', "expected HOST:PORT"),
        ('listen: [{outside: "a_b:8443", guest: 8080, anyone: true}]', "the name or the address of a host"),
        ('listen: [{outside: "0.0.0.0:1", guest: 1, anyone: true, handshake: 2h}]', "at most 300000"),
        ('listen: [{outside: "0.0.0.0:1", guest: 1, anyone: true, port: 1}]', "unknown key port"),
        ('listen: [{outside: "0.0.0.0:1", guest: 1, policy: {text: "version: 1"}}]', "policy leaves out"),
        ('listen: [{outside: "0.0.0.0:1", guest: 1, authorities: {text: "none"}}]', "authorities"),
        ('connect: [{guest: 1, outside: "h:1"}]', "what must the other side be?"),
        ('connect: [{guest: 1, outside: "h:1", insecure_plain: true, token: t}]', "shows no token"),
        (
            'listen: [{outside: "h:1", guest: 1, tokens: t, insecure_ra_tls: true}]',
            "insecure_ra_tls: true goes without t",
        ),
        ('listen: [{outside: "h:1", guest: 1, insecure_plain: true, insecure_ra_tls: true}]', "without insecure_plain"),
        ('listen: [{outside: "h:1", guest: 1, policy: p.yaml, insecure_ra_tls: true}]', "asks for freshness, purpose"),
        (
            'listen: [{outside: "h:1", guest: 1, policy: pinned.yaml, insecure_ra_tls: true}]',
            "asks for instance, which",
        ),
        (
            'connect: [{guest: 1, outside: "h:1", policy: p.yaml, token: t, insecure_ra_tls: true}]',
            "goes without token",
        ),
        ('connect: [{guest: 1, outside: "h:1", insecure_ra_tls: true}]', "what must the other side be?"),
        ('connect: [{guest: "1.2.3.4:80", outside: "h:1", insecure_plain: true}]', "expected the name of a host"),
        ("internet: [{name: 1.2.3.4}]", "expected the name of a host"),
        ("internet: [{name: localhost}]", "expected the name of a host"),
        ("internet: [{name: a.example, tls: gateway, insecure_plain: true}]", "expected one of them"),
        ("internet: [{name: a.example, authorities: {text: x}}]", "with tls: gateway only"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, network: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parsed(tmp_path, network)
    assert message in str(caught.value)
    assert "app.yaml:5:" in str(caught.value)


@pytest.mark.parametrize(
    ("network", "more", "message"),
    [
        ("insecure_host: true\ninternet: [{name: a.example}]", "", "insecure_host shares the whole network"),
        ("internet: [{name: a.example}, {name: a.example}]", "", "127.0.1.1:443 in the enclave is taken"),
        ('connect: [{guest: 53, outside: "h:1", insecure_plain: true}]\ninternet: [{name: a.example}]', "", "0.1:53 "),
        ('listen: [{outside: "h:1", guest: 80, anyone: true}]', "attestation: {platform: none}\n", "need evidence"),
        (
            ('listen: [{outside: "h:1", guest: 80, anyone: true}]\n'
            'connect: [{guest: 80, outside: "h:1", insecure_plain: true}]'), "", "127.0.0.1:80 in the enclave is taken",
        ),
        ("internet: [{name: app}]", "", "the enclave's own name"),
    ],
)  # fmt: skip
def test_entries_that_do_not_fit_together_are_told(tmp_path: Path, network: str, more: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        check_network(parsed(tmp_path, network, more))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoaderError, match=r"none\.yaml: cannot be read"):
        parsed(tmp_path, 'listen: [{outside: "h:1", guest: 1, policy: none.yaml}]')


def test_a_policy_is_an_input_of_the_measurement(tmp_path: Path) -> None:
    assert f"{tmp_path}/p.yaml" in parsed(tmp_path, 'listen: [{outside: "h:1", guest: 1, policy: p.yaml}]').files


def test_a_caller_chooses_other_addresses(tmp_path: Path) -> None:
    spec = SpecLike(inward(parsed(tmp_path, ALL).manifest.network))
    moved = listening_at(spec, ["8080=unix:/x", "unix:/run/app.sock=127.0.0.1:9"])  # type: ignore[arg-type] # has what it reads
    assert [entry.outside for entry in moved.inward] == ["unix:/x", "127.0.0.1:9", "[::1]:0", "[::1]:0"]
    for wish, message in (
        ("8080", "expected GUEST=ADDRESS"),
        ("9=h:1", "0 addresses"),
        ("8080=h", "expected HOST:PORT"),
    ):
        with pytest.raises(UsageError, match=message):
            listening_at(spec, [wish])  # type: ignore[arg-type] # as above


class SpecLike:
    """The part of a specification that addresses are in."""

    def __init__(self, entries: Any) -> None:
        self.inward = entries

    def replace(self, **changes: Any) -> SpecLike:
        """Return another one."""
        return SpecLike(changes["inward"])

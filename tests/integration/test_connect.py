"""`belljar connect` and `belljar attest HOST:PORT`, as a person runs them; the library plays a soft enclave."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from belljar.attestation.attesting import Enclave, Purpose, Run, Task, attest
from belljar.attestation.channel import (
    Channel,
    Identity,
    Limits,
    Terms,
    attests_with,
    load_authorities,
    load_identity,
    make_token,
    read_tokens,
)
from belljar.attestation.claims import Tee
from belljar.attestation.platforms import Birth, key_digest, make_soft
from belljar.attestation.verifier import Draft, ReferenceValues, policy_text
from support.channel_sockets import Served, listening
from support.channels import issued
from support.running import Belljar

ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
INSTANCE = b"i" * 16
PATIENCE_S = 30.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def terms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terms, str]]:
    """The terms of an enclave on a soft platform, and a policy that takes it."""
    folder = tmp_path_factory.mktemp("platform")
    folder.chmod(0o700)
    with make_soft(str(folder), Birth(random=os.urandom, now=int(time.time()))) as root:
        run = Run(
            enclave=ENCLAVE, instance=INSTANCE, runtime="belljar", runtime_version="1", kernel="Linux",
            task=Task(argv=b"a" * 32, environment=b"e" * 32),
        )  # fmt: skip
        yield Terms(attests=attests_with(attest(root, run))), policy_of(root.chain[-1])


def policy_of(root: bytes, purpose: Purpose = Purpose.CHANNEL, measurement: bytes = ENCLAVE.measurement) -> str:
    pin = key_digest(x509.load_der_x509_certificate(root).public_key())
    values = ReferenceValues(name="app", measurement=measurement, signer=b"s" * 32, product_id=7, svn=3)
    draft = Draft(
        identifier="app", values=(values,), roots={Tee.SOFT: (pin,)}, purposes=(purpose,), pcrs=None, volumes=False,
        upgrades=False, allow_simulated=True,
    )  # fmt: skip
    return policy_text(draft)


@pytest.fixture
def served(terms: tuple[Terms, str], belljar: Belljar) -> Iterator[Served]:
    (belljar.folder / "policy.yaml").write_text(terms[1])
    with listening(terms[0]) as made:
        yield made


@contextlib.contextmanager
def connecting(belljar: Belljar, served: Served, *words: str, code: int | None = 0) -> Iterator[tuple[str, list[str]]]:
    """Run `belljar connect`; yield where it listens, and what it has said when the block has ended."""
    said: list[str] = []
    process = belljar.start("connect", f"127.0.0.1:{served.port}", *words)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line + (process.stderr.read() if process.stderr else "")
        yield line.split()[2], said
        if "--once" not in words:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
        said += errors.splitlines()
        assert process.returncode == code, errors
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def reset(belljar: Belljar, served: Served, *words: str, code: int = 1) -> Iterator[list[str]]:
    """Hold that a local connection is reset, and yield what `belljar connect` says of it."""
    found: list[str] = []
    with (
        connecting(belljar, served, *words, code=code) as (place, said),
        dialled(place) as connection,
        pytest.raises(ConnectionResetError),
    ):
        everything(connection)
    found += said
    yield found


def dialled(place: str) -> socket.socket:
    if place.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(place.removeprefix("unix:"))
    else:
        host, _, port = place.rpartition(":")
        connection = socket.create_connection((host, int(port)), PATIENCE_S)
    connection.settimeout(PATIENCE_S)
    return connection


def everything(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(MIB):
        found += part
    return found


def send_all(connection: socket.socket, content: bytes) -> None:
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)


def test_local_programs_reach_the_enclave(belljar: Belljar, served: Served) -> None:
    sent = os.urandom(3 * MIB)
    with connecting(belljar, served, "--policy", "policy.yaml", "--listen", "127.0.0.1:0") as (place, said):
        with dialled(place) as connection:
            thread = threading.Thread(target=send_all, args=(connection, sent))
            thread.start()
            assert everything(connection) == sent  # half of it is closed, the other half goes on
            thread.join()
        many = [dialled(place) for _ in range(40)]
        for number, connection in enumerate(many):
            connection.sendall(b"%d" % number)
        for number, connection in enumerate(many):
            assert connection.recv(10) == b"%d" % number
            connection.close()
    assert not said


def test_a_unix_socket_of_this_user_alone(belljar: Belljar, served: Served, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with connecting(belljar, served, "--policy", "policy.yaml", f"--listen=unix:{path}", "--once") as (place, said):
        assert path.stat().st_mode & 0o777 == 0o600
        with dialled(place) as connection:
            connection.sendall(b"once")
            connection.shutdown(socket.SHUT_WR)
            assert everything(connection) == b"once"
    assert not said
    assert not path.exists()


def test_a_channel_that_breaks_is_a_reset_and_no_end(belljar: Belljar, terms: tuple[Terms, str]) -> None:
    def half(channel: Channel) -> None:
        channel.sendall(b"half of")
        time.sleep(0.2)
        channel.abort()

    (belljar.folder / "policy.yaml").write_text(terms[1])
    with listening(terms[0], half) as served, reset(belljar, served, "--policy", "policy.yaml", "--once") as said:
        assert said == ["belljar: a connection failed: the other side gives up: given-up"]


def test_a_server_that_is_refused_gets_nothing_and_others_are_served(
    belljar: Belljar, served: Served, terms: tuple[Terms, str]
) -> None:
    other = policy_of_other(terms[1])
    (belljar.folder / "other.yaml").write_text(other)
    with connecting(belljar, served, "--policy", "other.yaml") as (place, said):
        for _ in range(2):
            with dialled(place) as connection, pytest.raises(ConnectionResetError):
                everything(connection)
    assert len(said) == 2
    assert "a connection failed: the other side's evidence: evidence refused by the policy: code: got" in said[0]
    assert "refuses this one: evidence-refused" in served.why(2)


def policy_of_other(text: str) -> str:
    return text.replace(ENCLAVE.measurement.hex(), "ab" * 32)


def test_tokens_certificates_and_instances(belljar: Belljar, terms: tuple[Terms, str], tmp_path: Path) -> None:
    (belljar.folder / "policy.yaml").write_text(terms[1])
    token, line = make_token("alice", os.urandom)
    (tmp_path / "token").write_text(token)
    root = issued("services")
    leaf, mine = issued("server", root), issued("client", root)
    for name, content in (("ca", root.certificate), ("cert", mine.certificate), ("key", mine.key)):
        (tmp_path / name).write_bytes(content)
    asking = dataclasses.replace(
        terms[0], tokens=read_tokens(line), authorities=load_authorities(root.certificate),
        limits=Limits(reattest_s=None),
    )  # fmt: skip
    holders: list[str | None] = []

    def note(channel: Channel) -> None:
        holders.append(channel.peer.holder)
        channel.sendall(b"hello")

    identity: Identity = load_identity(leaf.certificate, leaf.key)
    shown = ["--certificate", f"{tmp_path}/cert", "--key", f"{tmp_path}/key", "--token-file", f"{tmp_path}/token"]
    pinned = ["--policy", "policy.yaml", "--authority", f"{tmp_path}/ca", "--once"]
    with listening(asking, note, identity=identity) as there:
        words = [*pinned, *shown, "--instance", INSTANCE.hex(), "--reattest", "5"]
        with connecting(belljar, there, *words) as (place, _), dialled(place) as connection:
            assert everything(connection) == b"hello"
        assert holders == ["alice"]
        with reset(belljar, there, *pinned, *shown, "--instance", "00" * 16) as said:
            assert "expected 00000000" in said[0]
        with reset(belljar, there, *pinned, *shown[:4]) as said:
            assert said[1] == "belljar: hint: it asks for a token: --token-file"
        assert token not in " ".join(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["127.0.0.1:1"], "expected --policy: what the server must be"),
        ([], "expected one address"),
        (["web", "--policy", "policy.yaml"], "the server's address: got 'web', expected such as"),
        (["h:70000", "--policy", "policy.yaml"], "the server's address: got 'h:70000'"),
        (["h:1", "--policy", "policy.yaml", "--listen", "0.0.0.0:0"], "other machines would talk to the enclave"),
        (["h:1", "--policy", "local.yaml"], "local.yaml: takes evidence for local, expected channel among them"),
        (["h:1", "--policy", "policy.yaml", "--key", "k"], "--certificate and --key go together"),
        (["h:1", "--policy", "policy.yaml", "--instance", "00"], "--instance: got '00'"),
        (["h:1", "--policy", "policy.yaml", "--reattest", "never"], "--reattest: got 'never', expected seconds"),
        (["h:1", "--policy", "policy.yaml", "--token-file", "none"], "none: cannot be read"),
        (["h:1", "--policy", "policy.yaml", "--listen", "unix:" + "x" * 200], "--listen: got a path of 200 bytes"),
        (["h:1", "--policy", "policy.yaml", "--listen", "unix:/nowhere/s"], "unix:/nowhere/s: cannot listen"),
    ],
)
def test_wrong_options_are_refused(belljar: Belljar, terms: tuple[Terms, str], words: list[str], said: str) -> None:
    (belljar.folder / "policy.yaml").write_text(terms[1])
    (belljar.folder / "local.yaml").write_text(terms[1].replace("channel", "local"))
    done = belljar("connect", *words, check=None)
    assert done.returncode in (2, 125)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there_is_told_for_each_connection(belljar: Belljar, terms: tuple[Terms, str]) -> None:
    (belljar.folder / "policy.yaml").write_text(terms[1])
    gone = Served(port=1, endpoint=None)  # type: ignore[arg-type] # nothing listens there
    with reset(belljar, gone, "--policy", "policy.yaml", "--once") as said:
        assert "a connection failed: " in said[0]


def attested(belljar: Belljar, served: Served, *words: str, code: int) -> subprocess.CompletedProcess[str]:
    return belljar("attest", f"127.0.0.1:{served.port}", *words, check=code)


def test_who_is_this(belljar: Belljar, served: Served, terms: tuple[Terms, str]) -> None:
    told = json.loads(attested(belljar, served, "--policy", "policy.yaml", "--json", code=0).stdout)
    assert (told["verdict"], told["claims"]["measurement"]) == ("accepted", ENCLAVE.measurement.hex())
    assert (told["claims"]["purpose"], told["claims"]["instance_id"]) == ("channel", INSTANCE.hex())
    assert "the other side refuses this one: only-asked" in served.why()
    (belljar.folder / "other.yaml").write_text(policy_of_other(terms[1]))
    assert "refused" in attested(belljar, served, "--policy", "other.yaml", code=1).stdout
    assert "undecided" in attested(belljar, served, code=4).stdout


def test_evidence_of_a_channel_in_a_file_can_be_appraised_later(belljar: Belljar, served: Served) -> None:
    done = attested(belljar, served, "--output", "web.evidence", code=0)
    nonce, bound = (line.split()[-1] for line in done.stderr.splitlines()[:2])
    words = ("verify-evidence", "web.evidence", "--policy", "policy.yaml", "--nonce", nonce)
    assert "accepted" in belljar(*words, "--report-data", bound).stdout
    assert "refused" in belljar(*words, "--report-data", "00" * 64, check=1).stdout


def test_attest_says_what_is_wrong(belljar: Belljar, served: Served) -> None:
    assert "a channel makes its own" in attested(belljar, served, "--nonce", "00" * 32, code=2).stderr
    done = belljar("attest", "127.0.0.1:1", check=125)
    assert "127.0.0.1:1: cannot be reached: Connection refused" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as other:

        def mail() -> None:
            with other.accept()[0] as connection:
                connection.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=mail)
        thread.start()
        done = belljar("attest", f"127.0.0.1:{other.getsockname()[1]}", check=125)
        thread.join()
    assert "the TLS handshake failed" in done.stderr
    with listening(Terms(insecure_unattested=True)) as plain:
        done = attested(belljar, plain, code=125)
    assert "no evidence" in done.stderr or "has-no-evidence" in done.stderr

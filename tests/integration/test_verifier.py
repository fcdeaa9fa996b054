"""The HTTP verifier: both topologies, who may change what, and what strangers send."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belljar.attestation.attesting import Enclave, Purpose
from belljar.attestation.errors import AttestationError
from belljar.attestation.platforms import key_digest
from belljar.attestation.serving import Challenges, make_token, read_access
from belljar.attestation.verifier import Draft, ReferenceValues, Reliance, Tee, policy_text, read_ear, to_corim
from support.enclaves import evidence_of
from support.roots import FixedRoot
from support.running import Belljar, has
from support.verifiers import Served, served

ROOT = FixedRoot(b"u" * 32)
ENCLAVE = Enclave(measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
VALUES = ReferenceValues(name="app", measurement=b"m" * 32, signer=b"s" * 32, product_id=7, svn=3)
EXAMPLES = int(os.environ.get("BELLJAR_TEST_HTTP_EXAMPLES", "60"))


def policy(values: ReferenceValues = VALUES, **changes: Any) -> bytes:
    draft: dict[str, Any] = {
        "identifier": "app", "values": (values,), "roots": {Tee.SOFT: (key_digest(ROOT.ca_key.public.key),)},
        "purposes": (Purpose.LOCAL,), "pcrs": None, "volumes": False, "upgrades": False, "allow_simulated": True,
    }  # fmt: skip
    return policy_text(Draft(**draft | changes)).encode()


@pytest.fixture
def verifier(tmp_path: Path) -> Iterator[Served]:
    """A verifier that has the policy `app`."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "app.yaml").write_bytes(policy())
    with served(folder) as found:
        yield found


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def appraised(verifier: Served, nonce: str, *, enclave: Enclave = ENCLAVE, **members: Any) -> tuple[int, Any]:
    evidence = evidence_of(enclave, ROOT, bytes.fromhex(nonce))
    body = {"policy": "app", "nonce": nonce, "evidence": encoded(evidence), **members}
    return verifier.ask("POST", "/v1/appraisals", {key: value for key, value in body.items() if value is not None})


def challenge(verifier: Served) -> str:
    status, told = verifier.ask("POST", "/v1/challenges")
    assert (status, set(told)) == (201, {"nonce", "expires_at"})
    assert 0 < told["expires_at"] - time.time() <= 301
    return str(told["nonce"])


def test_passport_the_attester_carries_a_result_away(verifier: Served) -> None:
    nonce = challenge(verifier)
    status, told = appraised(verifier, nonce)
    assert (status, told["verdict"], told["failed"]) == (200, "accepted", [])
    result = read_ear(told["ear"], Reliance(key=verifier.key.public, now=int(time.time()), max_age_s=60))
    assert (result.nonce, result.tier.value) == (bytes.fromhex(nonce), "warning")
    status, key = verifier.ask("GET", "/v1/key")
    assert (status, key["pem"]) == (200, verifier.key.public.pem().decode())


def test_background_check_the_relying_party_brings_its_own_nonce(verifier: Served) -> None:
    evidence = encoded(evidence_of(ENCLAVE, ROOT, b"relying party 01"))
    body = {"policy": "app", "own_nonce": b"relying party 01".hex(), "evidence": evidence, "form": "cwt"}
    assert verifier.ask("POST", "/v1/appraisals", body)[0] == 401
    assert verifier.ask("POST", "/v1/appraisals", body, token="x" * 43)[0] == 401
    status, told = verifier.ask("POST", "/v1/appraisals", body, token=verifier.relying)
    assert (status, told["verdict"]) == (200, "accepted")
    reliance = Reliance(key=verifier.key.public, now=int(time.time()), max_age_s=60)
    assert read_ear(base64.b64decode(told["ear"]), reliance).nonce == b"relying party 01"


def test_a_nonce_is_used_once_even_by_evidence_that_is_refused(verifier: Served) -> None:
    nonce = challenge(verifier)
    other = Enclave(measurement=b"x" * 32, signer=b"s" * 32, product_id=7, svn=3, debug=False)
    status, told = appraised(verifier, nonce, enclave=other)
    assert (status, told["verdict"], told["failed"]) == (200, "refused", ["code"])
    assert read_ear(
        told["ear"], Reliance(key=verifier.key.public, now=int(time.time()), max_age_s=60)
    ).tier.value == "contraindicated"  # fmt: skip
    status, told = appraised(verifier, nonce)
    assert (status, told["error"]) == (409, "the nonce was used already")


def test_evidence_for_another_nonce_is_refused(verifier: Served) -> None:
    evidence = evidence_of(ENCLAVE, ROOT, bytes(64))
    status, told = appraised(verifier, challenge(verifier), evidence=encoded(evidence))
    assert (status, told["verdict"], told["failed"]) == (200, "refused", ["nonce"])


def test_what_cannot_be_believed_gets_no_result(verifier: Served) -> None:
    nonce = challenge(verifier)
    evidence = bytearray(evidence_of(ENCLAVE, ROOT, bytes.fromhex(nonce)))
    evidence[-1] ^= 1
    status, told = appraised(verifier, nonce, evidence=encoded(bytes(evidence)))
    assert (status, told["verdict"]) == (200, "not believed")
    assert "ear" not in told


def test_nonces_of_others_and_old_ones_are_refused(verifier: Served, tmp_path: Path) -> None:
    assert appraised(verifier, "00" * 64)[1]["error"].startswith("the nonce is none of this verifier's")
    assert appraised(verifier, Challenges(os.urandom).issue(int(time.time()))[0].hex())[0] == 409
    with served(tmp_path / "policies", challenges=Challenges(os.urandom, lifetime_s=0)) as hasty:
        status, told = appraised(hasty, hasty.ask("POST", "/v1/challenges")[1]["nonce"])
        assert (status, told["error"][:21]) == (409, "the nonce has expired")


def test_used_nonces_are_never_forgotten_before_they_expire() -> None:
    challenges = Challenges(os.urandom, lifetime_s=10, remembered=2)
    nonces = [challenges.issue(100)[0] for _ in range(3)]
    for nonce in nonces[:2]:
        challenges.redeem(nonce, 101)
    with pytest.raises(AttestationError, match="too many challenges were used of late"):
        challenges.redeem(nonces[2], 102)
    with pytest.raises(AttestationError, match="used already"):
        challenges.redeem(nonces[0], 109)
    challenges.redeem(challenges.issue(111)[0], 112)


def test_administrators_manage_policies(verifier: Served) -> None:
    path, token = "/v1/policies/web-1.2", verifier.admin
    for method in ("GET", "PUT", "DELETE"):
        assert verifier.ask(method, path, policy())[0] == 401
        assert verifier.ask(method, path, policy(), token=verifier.relying)[0] == 403
    assert verifier.ask("PUT", path, policy(), token=token) == (201, {"name": "web-1.2"})
    assert verifier.ask("PUT", path, policy(), token=token)[0] == 200
    assert verifier.ask("GET", path, token=token) == (200, policy())
    assert verifier.ask("GET", "/v1/policies", token=token) == (200, {"names": ["app", "web-1.2"]})
    status, told = verifier.ask("PUT", path, b"version: 1\n", token=token)
    assert (status, told["error"][:31]) == (422, "policy web-1.2: policy leaves o")
    assert verifier.ask("GET", path, token=token) == (200, policy())
    assert verifier.ask("DELETE", path, token=token) == (204, b"")
    assert verifier.ask("GET", path, token=token)[0] == 404
    assert verifier.ask("DELETE", path, token=token)[0] == 404


def test_reference_values_widen_a_policy(verifier: Served) -> None:
    newer = Enclave(measurement=b"n" * 32, signer=b"s" * 32, product_id=7, svn=4, debug=False)
    assert appraised(verifier, challenge(verifier), enclave=newer)[1]["failed"] == ["code"]
    values = to_corim("app", (ReferenceValues(name="app 2", measurement=b"n" * 32, signer=None, product_id=7, svn=4),))
    path = "/v1/reference-values/app"
    assert verifier.ask("PUT", path, values)[0] == 401
    assert verifier.ask("PUT", path, values, token=verifier.admin)[0] == 201
    status, told = appraised(verifier, challenge(verifier), enclave=newer)
    assert (status, told["verdict"]) == (200, "accepted")
    assert re.fullmatch("app[+]sha256:[0-9a-f]{64}", told["appraisal"]["policy"])
    assert appraised(verifier, challenge(verifier))[1]["verdict"] == "accepted"
    assert verifier.ask("PUT", path, b"junk", token=verifier.admin)[0] == 422
    assert verifier.ask("PUT", "/v1/reference-values/none", values, token=verifier.admin)[0] == 409
    assert verifier.ask("DELETE", path, token=verifier.admin)[0] == 204
    assert appraised(verifier, challenge(verifier), enclave=newer)[1]["failed"] == ["code"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"policy": "nobody"}, 404, "there is no policy nobody"),
        ({"policy": "../app"}, 400, "expected 1 to 64 of a-z"),
        ({"policy": ""}, 400, "policy: got nothing"),
        ({"policy": 7}, 400, "policy: got nothing"),
        ({"nonce": "zz"}, 400, "nonce: expected 8 to 64 bytes"),
        ({"nonce": None}, 400, "expected either nonce"),
        ({"own_nonce": "00" * 8}, 400, "expected either nonce"),
        ({"evidence": "%"}, 400, "evidence: not base64"),
        ({"evidence": None}, 400, "evidence: got nothing"),
        ({"form": "xml"}, 400, "form: got 'xml'"),
        ({"media_type": ""}, 400, "media_type: expected a text"),
        ({"report_data": "00" * 8}, 400, "report_data: got 8 bytes"),
        ({"endorsements": "a"}, 400, "endorsements: expected a list"),
        ({"endorsements": ["AAAA"]}, 422, "SNP certificate table"),
        ({"endorsements": [""] * 40}, 400, "at most 32 texts"),
        ({"more": 1}, 400, "there is no member 'more'"),
    ],
)
def test_bad_requests_are_refused_by_name(verifier: Served, change: dict[str, Any], status: int, said: str) -> None:
    body = {"policy": "app", "nonce": "00" * 64, "evidence": "AAAA", **change}
    found = verifier.ask("POST", "/v1/appraisals", {key: value for key, value in body.items() if value is not None})
    assert found[0] == status
    assert said in found[1]["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v1/challenges", 405), ("POST", "/v1/key", 405),
        ("GET", "/v1/policies/../../etc/passwd", 404), ("GET", "/v1/policies/%2e%2e", 400),
        ("GET", "/v1/policies/.hidden", 400), ("PATCH", "/v1/policies/app", 405), ("GET", "/v1/policies/A", 400),
        ("PUT", "/v1/policies/" + "a" * 65, 400), ("GET", "/" + "a" * 2000, 400),
    ],
)  # fmt: skip
def test_paths_and_methods(verifier: Served, method: str, path: str, status: int) -> None:
    body = b"" if method in ("POST", "PUT", "PATCH") else None
    found, told = verifier.ask(method, path, body, token=verifier.admin)
    assert (found, set(told) - {"hint"}) == (status, {"error"})


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 404),
        (b"GET /v1/key HTTP/1.1\r\n\r\n", 400),
        (b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /v1/key HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /v1/key HTTP/1.1\r\n" + b"A: b\r\n" * 9000 + b"\r\n", 431),
        (b"HEAD /v1/key HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (
            b"POST /v1/challenges HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
            201,
        ),
        (b"GET http://other/v1/key HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]", 400),
        (b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60000, 400),
        (b'POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{"a":1,"a":"\xff"}', 400),
        (b"GET /v1/key HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/key HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"POST /v1/challenges HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 201),
    ],
)
def test_hostile_bytes_get_one_answer(verifier: Served, sent: bytes, status: int) -> None:
    found = verifier.raw(sent, end=False)
    assert re.match(rb"HTTP/1\.1 %d " % status, found), found[:200]
    assert found.count(b"HTTP/1.1 ") == 1
    assert verifier.said == []


def test_a_chunked_body_without_end_is_cut_off(verifier: Served) -> None:
    head = b"POST /v1/appraisals HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = verifier.raw(head, *[b"10000\r\n" + bytes(0x10000) + b"\r\n"] * 40, end=False)
    assert found[:12] in (b"HTTP/1.1 413", b"")  # the answer may be lost to what was still being sent


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"POST /v1/{text}".encode()))
def test_whatever_is_sent_the_service_goes_on(verifier: Served, sent: bytes) -> None:
    found = verifier.raw(sent)
    assert found == b"" or re.match(rb"HTTP/1\.1 [45]\d\d ", found)
    assert verifier.said == []


def test_slow_ones_are_cut_off_and_stop_nobody(tmp_path: Path) -> None:
    with served(tmp_path, deadline_s=1.0) as verifier:
        slow = [socket.create_connection(("127.0.0.1", verifier.port)) for _ in range(15)]
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.2):
                for one in slow:
                    try:
                        one.send(b"P")
                    except OSError:
                        continue

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert verifier.ask("GET", "/v1/key")[0] == 200
            started = time.monotonic()
            for one in slow:
                one.settimeout(10)
                try:
                    assert one.recv(100) == b""
                except ConnectionResetError:
                    pass
            assert time.monotonic() - started < 6
        finally:
            stop.set()
            dripping.join()
            for one in slow:
                one.close()


def test_many_at_once(verifier: Served) -> None:
    found: list[int] = []

    def one() -> None:
        found.append(appraised(verifier, challenge(verifier))[0])

    threads = [threading.Thread(target=one) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 24


def test_a_nonce_is_used_once_by_many_at_once(verifier: Served) -> None:
    nonce = challenge(verifier)
    evidence = encoded(evidence_of(ENCLAVE, ROOT, bytes.fromhex(nonce)))
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(appraised(verifier, nonce, evidence=evidence)[0]))
        for _ in range(8)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200] + [409] * 7


def test_tokens_are_kept_as_hashes() -> None:
    token, line = make_token("admin", "alice", os.urandom)
    assert token not in line
    assert read_access(f"# who\n{line}  # since 2026\n\n").holders[0].name == "alice"
    for wrong in ("admin alice", "root sha256:" + "0" * 64 + " alice", line.replace("sha256:", "sha256:0")):
        with pytest.raises(AttestationError, match="tokens, line 1: expected a role"):
            read_access(wrong)
    with pytest.raises(AttestationError, match="role 'king', expected one of admin, relying"):
        make_token("king", "alice", os.urandom)
    with pytest.raises(AttestationError, match="expected 1 to 64 letters"):
        make_token("admin", "a b", os.urandom)


@pytest.fixture
def prepared(belljar: Belljar) -> Belljar:
    """A folder with a key, policies and tokens."""
    belljar("keygen", "-o", "verifier.pem")
    (belljar.folder / "policies").mkdir(mode=0o700)
    (belljar.folder / "policies/app.yaml").write_bytes(policy())
    return belljar


SERVE = ("verifier", "serve", "--key", "verifier.pem", "--dir", "policies", "--listen", "127.0.0.1:0")


@pytest.mark.skipif(not has("openssl"), reason="openssl is not installed, which makes the certificate here")
def test_served_from_the_command_line_over_tls(prepared: Belljar) -> None:
    folder = prepared.folder
    token = prepared("verifier", "token", "admin", "alice", "--tokens", "tokens").stdout.strip()
    assert token not in (folder / "tokens").read_text()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k",
         "-out", "c", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    process = prepared.start(*SERVE, "--tokens", "tokens", "--tls-cert", "c", "--tls-key", "k")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.match(r"serving https://127\.0\.0\.1:(\d+)/v1/, results signed by sha256:[0-9a-f]{64}", line)
        assert match, line
        context = ssl.create_default_context(cafile=str(folder / "c"))
        with socket.create_connection(("127.0.0.1", int(match[1])), timeout=20) as plain:
            assert plain.send(b"GET / HTTP/1.1\r\n\r\n")  # no TLS: cut off
            try:
                assert b"HTTP" not in plain.recv(100)
            except ConnectionResetError:
                pass
        with (
            socket.create_connection(("127.0.0.1", int(match[1])), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(
                f"GET /v1/policies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )  # fmt: skip
            found = b""
            while part := connection.recv(4096):
                found += part
        assert json.loads(found.partition(b"\r\n\r\n")[2]) == {"names": ["app"]}
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["serve"], 2, "expected --key"),
        (["serve", "--key", "verifier.pem"], 2, "expected --dir"),
        (["serve", "--key", "verifier.pem", "--dir", "nowhere"], 125, "nowhere: there is no such folder"),
        (["serve", "--key", "verifier.pem", "--dir", "open"], 125, "open: others may write to it"),
        ([*SERVE[1:], "--listen", "0.0.0.0:0"], 2, "would cross the network in the clear"),
        ([*SERVE[1:], "--listen", "localhost"], 2, "--listen: got 'localhost', expected such as"),
        ([*SERVE[1:], "--listen", "127.0.0.1:70000"], 2, "--listen: got"),
        ([*SERVE[1:], "--tls-cert", "c"], 2, "--tls-cert and --tls-key go together"),
        ([*SERVE[1:], "--tls-cert", "open/x", "--tls-key", "open/x"], 125, "open/x: cannot be read"),
        ([*SERVE[1:], "--tls-cert", "verifier.pem", "--tls-key", "verifier.pem"], 125, "not a certificate chain"),
        ([*SERVE[1:], "--tokens", "verifier.pem"], 125, "tokens, line 1: expected a role"),
        (["token", "admin"], 2, "expected a role and a name"),
        (["token", "king", "alice"], 125, "role 'king', expected one of"),
        (["rule"], 2, "unknown command verifier rule"),
    ],
)
def test_a_verifier_that_cannot_start_says_why(
    prepared: Belljar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], code: int, said: str,
) -> None:  # fmt: skip
    from belljar.loader.cli import main

    (prepared.folder / "open").mkdir()
    (prepared.folder / "open").chmod(0o777)
    monkeypatch.chdir(prepared.folder)
    assert main(["verifier", *words]) == code
    assert said in capsys.readouterr().err

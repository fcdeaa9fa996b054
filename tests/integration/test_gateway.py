"""What leads in and out of an enclave: the program sees plain sockets (IEEE 2952 5.2.2.2, 5.3.3)."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from belljar.attestation.channel import Channel, ChannelRefused, make_token
from support.gateways import Written, policy_of, with_platform
from support.running import Belljar

ASK = """
import socket, sys, time

found = socket.create_connection((sys.argv[1], int(sys.argv[2])))
time.sleep(2)  # the other side attests anew meanwhile
found.sendall(b"hello")
found.shutdown(socket.SHUT_WR)
answer = b""
while content := found.recv(65536):
    answer += content
print(answer.decode())
"""
ANYONE = 'listen: [{outside: "127.0.0.1:0", guest: 8080, anyone: true}]'


def test_a_client_reaches_a_server_that_knows_nothing(anybody: Belljar) -> None:
    with_platform(anybody)
    with Written(anybody, "echo", network=ANYONE).write().running() as enclave, enclave.connect() as channel:
        content = bytes(range(256)) * 4096
        sender = threading.Thread(target=send_all, args=(channel, content))
        sender.start()
        echoed = b""
        while part := channel.recv(1 << 16):
            echoed += part
        sender.join()
        assert echoed == content
        stats = enclave.stats()
        assert (stats["served"], stats["refused"], stats["received_bytes"]) == (1, 0, len(content))
    assert enclave.said == ""


def send_all(channel: Channel, content: bytes) -> None:
    channel.sendall(content)
    channel.shutdown(socket.SHUT_WR)


def test_an_enclave_of_another_measurement_is_not_believed(belljar: Belljar) -> None:
    with_platform(belljar)
    with Written(belljar, "echo", network=ANYONE).write().running() as enclave:
        with pytest.raises(ChannelRefused, match="measurement"):
            enclave.connect(policy_of(belljar, "ab" * 32))
        assert enclave.counted("refused", 1) == 1
    assert "refused 127.0.0.1:" in enclave.said


TWO = """
listen: [{{outside: "127.0.0.1:0", guest: 8080, {who}}}]
"""


def test_two_enclaves_prove_themselves_to_each_other(anybody: Belljar) -> None:
    with_platform(anybody)
    port = free_port()
    web = Written(anybody, "web", program=ASK, arguments=["database", "5432"])
    entry = f'guest: "database:5432", outside: "127.0.0.1:{port}", policy: database.policy, reattest: 500ms'
    web.network = f"connect: [{{{entry}}}]"
    # A measurement cannot stand in a file that it measures: one of the two asks for the platform only.
    (anybody.folder / "platform.policy").write_text(policy_of(anybody))
    database = Written(anybody, "database", network=TWO.format(who="policy: platform.policy")).write()
    with database.running("--listen", f"8080=127.0.0.1:{port}") as server:
        (anybody.folder / "database.policy").write_text(server.policy())
        web.write()
        assert web.run().stdout == "hello\n"
        assert server.stats()["served"] == 1


def test_a_client_without_evidence_is_refused_where_it_is_asked_for(belljar: Belljar) -> None:
    with_platform(belljar)
    (belljar.folder / "clients.policy").write_text(policy_of(belljar))
    written = Written(belljar, "guarded", network=TWO.format(who="policy: clients.policy")).write()
    with written.running() as enclave:
        with pytest.raises(ChannelRefused, match="evidence"):
            enclave.connect()
        assert enclave.counted("refused", 1) == 1


def test_tokens(belljar: Belljar) -> None:
    with_platform(belljar)
    token, line = make_token("alice", os.urandom)
    (belljar.folder / "tokens").write_text(line + "\n")
    written = Written(belljar, "guarded", network=TWO.format(who="tokens: tokens")).write()
    with written.running() as enclave:
        with enclave.connect(token=token) as channel:
            channel.sendall(b"x")
            assert channel.recv(1) == b"x"
        for wrong in ("A" * 43, None):
            with pytest.raises(ChannelRefused, match="token"):
                enclave.connect(token=wrong)
    assert token not in enclave.said


WHO = """
import json, os, socket, struct

listener = socket.create_server(("127.0.0.1", 8080))
while True:
    connection, place = listener.accept()
    header = connection.recv(16, socket.MSG_WAITALL)
    assert header[:12] == bytes.fromhex("0d0a0d0a000d0a515549540a"), header
    rest = connection.recv(struct.unpack(">H", header[14:16])[0], socket.MSG_WAITALL)
    kind, size = struct.unpack(">BH", rest[12:15])
    path = f"/dev/attestation/peers/{place[1]}.json"
    told = {"family": header[13], "source": socket.inet_ntoa(rest[:4]), "kind": kind,
            "header": json.loads(rest[15 : 15 + size]), "file": json.load(open(path)),
            "listed": os.listdir("/dev/attestation/peers")}
    connection.sendall(json.dumps(told).encode())
    connection.close()
"""


def test_the_program_learns_who_comes(anybody: Belljar) -> None:
    with_platform(anybody)
    token, line = make_token("alice", os.urandom)
    (anybody.folder / "tokens").write_text(line + "\n")
    network = TWO.format(who="tokens: tokens, proxy_protocol: true")
    with Written(anybody, "who", program=WHO, network=network).write().running() as enclave:
        for _ in range(2):  # the first file is gone when the second comes
            with enclave.connect(token=token) as channel:
                told = json.loads(whole(channel))
            assert (told["family"], told["source"], told["kind"]) == (0x11, "127.0.0.1", 0xE0)
            assert {told[where]["token"] for where in ("header", "file")} == {"alice"}
            assert told["file"]["attested"] is False
            assert len(told["listed"]) == 1


AT_ONCE = """
import json, socket

listener = socket.create_server(("127.0.0.1", 8080))
while True:
    connection, place = listener.accept()
    try:
        connection.sendall(json.load(open(f"/dev/attestation/peers/{place[1]}.json"))["token"].encode())
    except FileNotFoundError:
        connection.sendall(b"nobody")
    connection.close()
"""


def test_who_comes_is_known_before_the_program_can_ask(belljar: Belljar) -> None:
    with_platform(belljar)
    token, line = make_token("alice", os.urandom)
    (belljar.folder / "tokens").write_text(line + "\n")
    network = TWO.format(who="tokens: tokens")
    with Written(belljar, "who", program=AT_ONCE, network=network).write().running() as enclave:
        policy = enclave.policy()
        for _ in range(30):  # without care, one in seven was too early
            with enclave.connect(policy, token=token) as channel:
                assert whole(channel) == b"alice"


def whole(channel: object) -> bytes:
    found = b""
    while part := channel.recv(65536):  # type: ignore[attr-defined] # sockets and channels
        found += part
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def test_nothing_is_reached_but_what_is_named(anybody: Belljar) -> None:
    code = """
        import socket
        for place in (("127.0.0.1", 5432), ("10.0.0.1", 80), ("1.1.1.1", 443)):
            try:
                socket.create_connection(place, 2)
                print("reached", place)
            except OSError as error:
                print(error.strerror)
        for name in ("api.example.com", "www.example.com", "localhost"):
            try:
                print(name, socket.gethostbyname(name))
            except socket.gaierror as error:
                print(name, error.errno == socket.EAI_NONAME)
        """
    written = Written(anybody, "names", program=code, network="internet: [{name: api.example.com}]").write()
    done = written.run()
    assert done.stdout.splitlines() == [
        "Connection refused", "Network is unreachable", "Network is unreachable",
        "api.example.com 127.0.1.1", "www.example.com True", "localhost 127.0.0.1",
    ]  # fmt: skip
    assert "asked for the name www.example.com, which its manifest does not allow" in done.stderr


def test_resolvers_of_their_own_get_answers(belljar: Belljar) -> None:
    code = """
        import socket, struct

        def question(name, kind):
            labels = b"".join(bytes([len(part)]) + part for part in name.encode().split(b"."))
            return struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)

        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.connect(("127.0.0.1", 53))
        for name, kind in (("API.example.com", 1), ("api.example.com", 28), ("no.example.com", 1)):
            udp.send(question(name, kind))
            answer = udp.recv(512)
            print(answer[3] & 15, struct.unpack(">H", answer[6:8])[0], ".".join(map(str, answer[-4:])) * answer[7])
        udp.send(b"nonsense")
        tcp = socket.create_connection(("127.0.0.1", 53))
        asked = question("api.example.com", 1)
        tcp.sendall(struct.pack(">H", len(asked)) + asked)
        print(tcp.recv(512)[-4:].hex())
        """
    written = Written(belljar, "names", program=code, network="internet: [{name: api.example.com}]").write()
    assert written.run().stdout.splitlines() == ["0 1 127.0.1.1", "0 0 ", "3 0 ", "7f000101"]


def test_unix_sockets_on_both_sides(anybody: Belljar) -> None:
    program = """
        import os, socket
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("/tmp/app.sock")
        listener.listen()
        while True:
            connection, _ = listener.accept()
            inner = socket.socket(socket.AF_UNIX)
            inner.connect("/tmp/out.sock")
            inner.sendall(connection.recv(100))
            connection.sendall(inner.recv(100))
            connection.close()
        """
    outside = anybody.folder / "in.sock"
    network = f"""
        listen: [{{outside: "unix:{outside}", guest: "unix:/tmp/app.sock", insecure_plain: true}}]
        connect: [{{guest: "unix:/tmp/out.sock", outside: "unix:far.sock", insecure_plain: true}}]
        """
    anybody.folder.chmod(0o777)
    far = socket.socket(socket.AF_UNIX)
    far.bind(str(anybody.folder / "far.sock"))
    Path(anybody.folder / "far.sock").chmod(0o777)
    far.listen()
    threading.Thread(target=lambda: answer_once(far), daemon=True).start()
    with (
        Written(anybody, "local", program=program, network=network).write().running(),
        socket.socket(socket.AF_UNIX) as near,
    ):
        near.connect(str(outside))
        near.sendall(b"ping")
        assert near.recv(100) == b"PING"
    assert not outside.exists()
    far.close()


def answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100).upper())
    connection.close()


def test_each_direction_ends_by_itself(belljar: Belljar) -> None:
    with_platform(belljar)
    program = """
        import socket
        listener = socket.create_server(("127.0.0.1", 8080))
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"first")
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while content := connection.recv(65536):
                received += content
            print(received.decode(), flush=True)
            connection.close()
        """
    with Written(belljar, "half", program=program, network=ANYONE).write().running() as enclave:
        with enclave.connect() as channel:
            assert whole(channel) == b"first"
            channel.sendall(b"after the end of the other direction")
            channel.shutdown(socket.SHUT_WR)
            time.sleep(0.3)
        assert enclave.process.stdout is not None
        assert enclave.process.stdout.readline() == "after the end of the other direction\n"


def test_who_does_not_read_is_not_read_from(belljar: Belljar) -> None:
    program = """
        import socket
        listener = socket.create_server(("127.0.0.1", 8080))
        connection, _ = listener.accept()
        sent = 0
        connection.settimeout(1.5)
        try:
            while True:
                sent += connection.send(bytes(65536))
        except TimeoutError:
            print(sent, flush=True)
        listener.accept()
        """
    network = 'listen: [{outside: "127.0.0.1:0", guest: 8080, insecure_plain: true}]'
    with (
        Written(belljar, "flood", program=program, network=network).write().running() as enclave,
        socket.socket() as slow,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.connect(("127.0.0.1", enclave.port()))
        assert enclave.process.stdout is not None
        assert int(enclave.process.stdout.readline()) < 32 << 20


def test_a_server_that_starts_late_is_waited_for(belljar: Belljar) -> None:
    program = "import time\ntime.sleep(1)\n" + Written(belljar, "x").program
    network = 'listen: [{outside: "127.0.0.1:0", guest: 8080, insecure_plain: true}]'
    with (
        Written(belljar, "late", program=program, network=network).write().running() as enclave,
        socket.create_connection(("127.0.0.1", enclave.port())) as near,
    ):
        near.sendall(b"early")
        assert near.recv(100) == b"early"


def test_an_address_that_is_taken_is_told_before_anything_runs(belljar: Belljar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first = '{outside: "unix:first.sock", guest: 8080, insecure_plain: true}'
        network = f'listen: [{first}, {{outside: "127.0.0.1:{port}", guest: 8080, insecure_plain: true}}]'
        done = Written(belljar, "taken", program="print('ran')", network=network).write().run(check=125)
    assert done.stdout == ""
    assert not (belljar.folder / "first.sock").exists()
    assert f"cannot listen at 127.0.0.1:{port}: address already in use" in done.stderr
    assert "belljar: hint: belljar run --listen" in done.stderr


def test_without_a_root_of_trust_nothing_is_opened(belljar: Belljar) -> None:
    belljar.environment["XDG_STATE_HOME"] = str(belljar.folder / "none")
    done = Written(belljar, "echo", network=ANYONE).write().run(check=125)
    assert "there is no root of trust here, so no evidence for who comes" in done.stderr


def test_an_enclave_without_network_has_no_process_more(belljar: Belljar) -> None:
    plan = belljar("run", "--dry-run", "--", "/bin/true").stdout
    assert "stay outside" not in plan
    assert "listen" not in plan
    listing = Written(belljar, "plain", network=ANYONE).write().run("--dry-run").stdout
    assert "stay outside of the pid namespace, to give the gateway sockets of the guest's network:" in listing


def test_what_the_guest_sent_before_its_end_arrives(belljar: Belljar) -> None:
    program = """
        import socket
        listener = socket.create_server(("127.0.0.1", 8080))
        connection, _ = listener.accept()
        connection.sendall(b"x" * 3_000_000 + b"last")
        connection.close()
        """
    network = 'listen: [{outside: "127.0.0.1:0", guest: 8080, insecure_plain: true}]'
    with (
        Written(belljar, "last", program=program, network=network).write().running() as enclave,
        socket.create_connection(("127.0.0.1", enclave.port())) as near,
    ):
        assert whole(near)[-4:] == b"last"


def test_a_bundle_opens_what_its_manifest_did(belljar: Belljar) -> None:
    with_platform(belljar)
    (belljar.folder / "clients.policy").write_text(policy_of(belljar))
    (belljar.folder / "tokens").write_text("sha256:" + "ab" * 32 + " alice\n")
    network = """
        listen:
          - {outside: "127.0.0.1:0", guest: 8080, anyone: true}
          - {outside: "unix:in.sock", guest: 8080, policy: clients.policy, tokens: tokens, reattest: 1h}
        internet: [{name: api.example.com, tls: gateway}]
        """
    Written(belljar, "echo", network=network).write()
    belljar("build", "echo.yaml", "-o", "echo.bell")
    (belljar.folder / "clients.policy").unlink()  # it is in the bundle
    measured = belljar("measure", "echo.bell").stdout
    assert measured == belljar("measure", "echo.bell").stdout
    members = json.loads(belljar("measure", "--canonical", "echo.bell").stdout)
    assert members["gateway"]["listen"][1]["policy"] == policy_of(belljar)
    process = belljar.start("run", "--name", "echo", "--listen", "unix:none=unix:x", "echo.bell")
    assert "0 addresses of the manifest lead to unix:none" in process.communicate(timeout=60)[1]
    with Bundled(belljar, "echo").running() as enclave:
        assert enclave.ask("status")["measurement"] == measured.strip()
        with enclave.connect() as channel:
            channel.sendall(b"x")
            assert channel.recv(1) == b"x"
    assert not (belljar.folder / "in.sock").exists()


class Bundled(Written):
    """A bundle instead of a manifest."""

    ending = ".bell"

"""Who attacks the gateway: strangers outside with connections that say nothing or nonsense, and the program inside.

BELLJAR_HALF_OPEN is the number of connections that say nothing (by default 200).
"""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from belljar.attestation.channel import ChannelRefused, Terms, appraises_by, connect
from belljar.attestation.verifier import load_policy
from support.gateways import ECHO, Enclave, Written, with_platform
from support.running import Belljar

HALF_OPEN = int(os.environ.get("BELLJAR_HALF_OPEN", "200"))
LISTEN = 'listen: [{{outside: "127.0.0.1:0", guest: 8080, {more}}}]'
CLIENT_HELLO = bytes.fromhex("16030100050100000100")  # one that never goes on
GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(1000),
    b"\xff" * 70000,
    CLIENT_HELLO,
    b"\x16\x03\x01\xff\xff" + bytes(70000),
]


def works(enclave: Enclave, number: int = 0) -> bool:
    """Say whether somebody else is served."""
    with enclave.connect(number=number) as channel:
        channel.sendall(b"still here")
        return bool(channel.recv(100) == b"still here")


def ended(connection: socket.socket, timeout_s: float = 20.0) -> bool:
    """Say whether the other side has ended a connection."""
    connection.settimeout(timeout_s)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


SHARED = """
listen:
  - {outside: "127.0.0.1:0", guest: 8080, anyone: true, connections: 64, handshake: 30s}
  - {outside: "127.0.0.1:0", guest: 8080, anyone: true, handshake: 1s}
  - {outside: "127.0.0.1:0", guest: 8080, anyone: true, connections: 2}
  - {outside: "127.0.0.1:0", guest: 8080, insecure_plain: true, idle: 1s}
"""
FLOODED, HASTY, NARROW, IDLE = range(4)


@pytest.fixture(scope="module")
def attacked(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enclave]:
    """One enclave for all strangers; what it said is looked at by the last of them."""
    belljar = with_platform(Belljar(cache=cache, folder=tmp_path_factory.mktemp("attacked")))
    with Written(belljar, "echo", network=SHARED).write().running() as enclave:
        yield enclave


def test_a_silent_connection_is_cut(attacked: Enclave) -> None:
    before = attacked.stats()["cut"]
    with socket.create_connection(("127.0.0.1", attacked.port(IDLE))) as near:
        near.sendall(b"x")
        assert near.recv(1) == b"x"
        assert ended(near, 10.0)
    assert attacked.counted("cut", before + 1) == before + 1


def test_garbage_and_stalled_handshakes_are_ended_and_others_served(attacked: Enclave) -> None:
    before = attacked.stats()["refused"]
    for garbage in GARBAGE:
        with socket.create_connection(("127.0.0.1", attacked.port(HASTY))) as near:
            try:
                near.sendall(garbage)
            except OSError:  # ended already
                pass
            assert ended(near)
    with socket.create_connection(("127.0.0.1", attacked.port(HASTY))) as near:
        assert ended(near, 5.0)
    assert works(attacked)
    assert attacked.counted("refused", before + len(GARBAGE) + 1) == before + len(GARBAGE) + 1


def test_too_many_are_refused_and_places_become_free(attacked: Enclave) -> None:
    one, other = attacked.connect(number=NARROW), attacked.connect(number=NARROW)
    for channel in (one, other):
        channel.sendall(b"x")
        assert channel.recv(1) == b"x"
    with socket.create_connection(("127.0.0.1", attacked.port(NARROW))) as third:
        assert ended(third)
    one.close()
    until = time.monotonic() + 10
    while attacked.stats()["open"] > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert works(attacked, NARROW)
    other.close()


def test_thousands_of_silent_connections_keep_nobody_out(attacked: Enclave) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, before = attacked.port(FLOODED), attacked.stats()["refused"]
    silent: list[socket.socket] = []
    try:
        for number in range(HALF_OPEN):
            silent.append(socket.create_connection(("127.0.0.1", port)))
            if number % 3 == 0:
                silent[-1].sendall(CLIENT_HELLO)
        assert works(attacked, FLOODED)
        stats = attacked.stats()
        assert stats["open"] <= 2 * 64 + 2
        assert stats["refused"] - before >= HALF_OPEN - 2 * 64
        assert works(attacked, FLOODED)
    finally:
        for connection in silent:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_each_is_told_in_a_line_and_a_flood_is_not(attacked: Enclave) -> None:
    said = attacked.end()[1]
    for why in ("ended 127.0.0.1:", "silent for too long", "not ready in time", "there are 2 connections already"):
        assert why in said
    assert len(said.splitlines()) < 60


CUT = """
import socket

listener = socket.create_server(("127.0.0.1", 8080))
connection, _ = listener.accept()
received = b""
try:
    while content := connection.recv(65536):
        received += content
    print("ended", len(received), flush=True)
except ConnectionResetError:
    print("reset", len(received), flush=True)
listener.accept()
"""


def test_a_stream_that_is_cut_does_not_end_well_for_the_program(belljar: Belljar) -> None:
    with_platform(belljar)
    network = LISTEN.format(more="anyone: true")
    with (
        Written(belljar, "cut", program=CUT, network=network).write().running() as enclave,
        Relay(enclave.port()) as relay,
    ):
        terms = Terms(appraises=appraises_by(load_policy(enclave.policy())))
        channel = connect(("127.0.0.1", relay.port), terms=terms)
        channel.sendall(b"half of it")
        time.sleep(0.5)
        relay.cut()
        assert enclave.process.stdout is not None
        assert enclave.process.stdout.readline().startswith("reset")
        channel.close()


class Relay:
    """Somebody in the middle, who passes bytes on until it ends both connections in order, as TCP sees it."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._target = port
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        one, _ = self._listener.accept()
        other = socket.create_connection(("127.0.0.1", self._target))
        self._ends = [one, other]
        for source, target in ((one, other), (other, one)):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                target.sendall(content)
        except OSError:
            pass

    def cut(self) -> None:
        """End both."""
        for end in self._ends:
            end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (*self._ends, self._listener):
            end.close()


LOOK = """
import os, signal, socket

seen = sorted(name for name in os.listdir("/proc") if name.isdigit())
print("processes", seen)
for pid in range(1, 200):
    if pid == os.getpid():
        continue
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        if error.errno != 3:
            print(pid, error.errno)
try:
    os.kill(-1, signal.SIGTERM)
except OSError as error:
    print("all", error.errno)
names = [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:] if len(line.split()) > 7]
print("sockets", names)
print(sorted(os.listdir("/proc/self/fd")))
"""


def test_the_program_cannot_see_or_end_who_gives_sockets(anybody: Belljar) -> None:
    with_platform(anybody)
    program = f"exec({LOOK!r})\nprint('done', flush=True)\n{ECHO}"
    with (
        Written(anybody, "look", program=program, network=LISTEN.format(more="anyone: true")).write().running() as found
    ):
        assert found.process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "done":
            lines.append(found.process.stdout.readline().strip())
        assert lines[0] in ("processes ['1', '2']", "processes ['2']")
        assert "sockets []" in lines
        assert works(found)


def test_who_gives_sockets_is_confined_and_ends_with_its_supervisor(belljar: Belljar) -> None:
    with_platform(belljar)
    with Written(belljar, "echo", network=LISTEN.format(more="anyone: true")).write().running() as enclave:
        status = enclave.ask("status")
        children = Path(f"/proc/{status['supervisor']}/task/{status['supervisor']}/children").read_text().split()
        (giver,) = [pid for pid in children if comm(pid) == "belljar-sockets"]
        lines = dict(
            line.split(":\t") for line in Path(f"/proc/{giver}/status").read_text().splitlines() if ":\t" in line
        )
        assert lines["Seccomp"] == "2"
        assert lines["NoNewPrivs"] == "1"
        assert {lines[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
        assert int(lines["Uid"].split()[0]) > 65535
        held = {os.readlink(f"/proc/{giver}/fd/{number}") for number in os.listdir(f"/proc/{giver}/fd")}
        assert {path.partition(":")[0] for path in held} == {"/dev/null", "socket"}
        os.kill(status["supervisor"], 9)
        enclave.process.wait(20)
        until = time.monotonic() + 5
        while Path(f"/proc/{giver}").exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert not Path(f"/proc/{giver}").exists()


def comm(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_if_who_gives_sockets_dies_clients_are_told_and_the_program_goes_on(belljar: Belljar) -> None:
    with_platform(belljar)
    network = LISTEN.format(more="insecure_plain: true")
    with Written(belljar, "echo", network=network).write().running() as enclave:
        status = enclave.ask("status")
        children = Path(f"/proc/{status['supervisor']}/task/{status['supervisor']}/children").read_text().split()
        (giver,) = [pid for pid in children if comm(pid) == "belljar-sockets"]
        os.kill(int(giver), 9)
        with socket.create_connection(("127.0.0.1", enclave.port())) as near:
            assert ended(near)
        assert enclave.ask("status")["state"] == "running"
    assert "nobody gives sockets of the enclave any more" in enclave.said or "Input/output error" in enclave.said


FLOOD = """
import socket

kept = []
for number in range(400):
    made = socket.socket()
    made.settimeout(0.2)
    try:
        made.connect(("127.0.1.1", 443))
    except OSError:
        break
    kept.append(made)
print(len(kept), flush=True)
print(socket.gethostbyname("api.example.com"), flush=True)
"""


@pytest.mark.parametrize("entry", ["{name: api.example.com, connections: 8, handshake: 2s}"])
def test_a_program_that_floods_its_own_way_out_harms_nobody_else(belljar: Belljar, entry: str) -> None:
    written = Written(belljar, "flood", program=FLOOD, network=f"internet: [{entry}]").write()
    lines = written.run().stdout.splitlines()
    assert lines[-1] == "127.0.1.1"


def test_a_client_that_pins_a_run_is_not_led_to_another(belljar: Belljar) -> None:
    """Diversion between two instances: same files, same manifest, same machine, so the same measurement."""
    with_platform(belljar)
    written = Written(belljar, "twin", network=LISTEN.format(more="anyone: true")).write()
    with written.running(name="meant") as meant, written.running(name="other") as other:
        assert meant.ask("status")["measurement"] == other.ask("status")["measurement"]
        (belljar.folder / "any").write_text(meant.policy())
        told = json.loads(belljar("attest", f"127.0.0.1:{meant.port()}", "--policy", "any", "--json").stdout)
        run = told["claims"]["instance_id"]
        assert {"name": "instance", "found": run, "expected": "any run"}.items() <= step(told, "instance").items()
        pinned = f"{meant.policy()}instance: [{run}]\n"
        with meant.connect(pinned) as channel:
            channel.sendall(b"x")
            assert channel.recv(1) == b"x"
        with pytest.raises(ChannelRefused, match=f"by the policy: instance: got [0-9a-f]{{32}}, expected {run}"):
            other.connect(pinned)
        (belljar.folder / "pinned").write_text(pinned)
        for enclave, code in ((meant, 0), (other, 1)):
            where = f"127.0.0.1:{enclave.port()}"
            found = json.loads(belljar("attest", where, "--policy", "pinned", "--json", check=code).stdout)
            assert found["failed"] == ["instance"] * code


def step(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one step of an appraisal."""
    found: list[dict[str, Any]] = [one for one in told["steps"] if one["name"] == name]
    return found[0]


def test_strangers_do_not_take_the_descriptors_of_the_programs_files(belljar: Belljar) -> None:
    """Without care, the program was killed by SIGBUS: a page of it could not be read any more."""
    belljar.prefix = ["prlimit", "--nofile=512:512"]
    network = LISTEN.format(more="insecure_plain: true")
    with Written(belljar, "echo", network=network).write().running() as enclave:
        port = enclave.port()
        strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(600)]
        assert enclave.counted("accepted", 600) == 600
        for one in strangers:
            one.close()
        assert enclave.ended()["open"] == 0
        with socket.create_connection(("127.0.0.1", port)) as near:
            near.sendall(b"still here")
            assert near.recv(100) == b"still here"
    assert "connections at a time, not 256: this process may open no more files (ulimit -n)" in enclave.said

"""What a program wanted of the network and did not get: recorded, told at the end of a failed run, and explained."""

from __future__ import annotations

import json
import threading
from typing import Any

from belljar.libos.enclave import Refusal
from belljar.libos.gateway.journal import Counts, Unmet
from belljar.loader.commands.runs.explain import explanation, summary
from support.gateways import Written
from support.running import Belljar

SEARCHING = """
import socket, ssl, sys

for name in ("www.example.com", "WWW.example.com", "under_score.example"):
    try:
        socket.gethostbyname(name)
    except OSError as error:
        print(error.strerror)
context = ssl.create_default_context()
with socket.create_connection(("api.example.com", 443), 10) as plain:
    try:
        context.wrap_socket(plain, server_hostname="other.example.com")
    except OSError:
        print("no TLS")
sys.exit(int(sys.argv[1]))
"""
NETWORK = "internet: [{name: api.example.com}]"


def refused(belljar: Belljar, name: str) -> dict[tuple[str, str], Any]:
    told = json.loads(belljar("explain", "--json", name).stdout)["refused"]
    return {(row["kind"], row["what"]): row["allow"] for row in told if row["kind"] != "path"}


def test_a_failed_run_says_which_names_it_wanted(belljar: Belljar) -> None:
    written = Written(belljar, "search", program=SEARCHING, network=NETWORK, arguments=["3"]).write()
    done = written.run("--name", "search", check=3)
    assert "the enclave refused, and these lines of a manifest would allow:" in done.stderr
    assert "the name www.example.com was looked up: it does not exist in the enclave" in done.stderr
    assert "network: {internet: [{name: www.example.com, port: 443}]}" in done.stderr
    assert "TLS with the server other.example.com was begun where the manifest opens another one" in done.stderr
    assert "under_score" not in done.stderr.partition("these lines")[2]  # no line would allow it
    found = refused(belljar, "search")
    line = "network: {{internet: [{{name: {}, port: 443}}]}}"
    assert found["name", "www.example.com"] == line.format("www.example.com")
    assert found["server", "other.example.com"] == line.format("other.example.com")
    assert found["name", "under_score.example"] is None
    text = belljar("explain", "search").stdout
    assert "no line of a manifest would: it is not the name of a host" in text


def test_the_line_it_names_would_allow_it(belljar: Belljar) -> None:
    program = "import socket\nprint(socket.gethostbyname('www.example.com'))"
    network = "internet: [{name: api.example.com}]"
    Written(belljar, "ask", program=program, network=network).write().run("--name", "ask", check=1)
    (line,) = (allow for (kind, _), allow in refused(belljar, "ask").items() if kind == "name")
    allowed = Written(belljar, "ask", program=program, network=line.removeprefix("network: {").removesuffix("}"))
    assert allowed.write().run().stdout == "127.0.1.1\n"


def test_a_run_that_goes_on_can_be_asked(belljar: Belljar) -> None:
    program = """
        import socket, time
        try:
            socket.gethostbyname("www.example.com")
        except OSError:
            print("ready", flush=True)
        time.sleep(60)
        """
    network = "internet: [{name: api.example.com}]"
    with Written(belljar, "asking", program=program, network=network).write().running() as enclave:
        assert enclave.process.stdout is not None
        assert enclave.process.stdout.readline() == "ready\n"
        found = enclave.ask("refused")["refused"]
        assert {(row["kind"], row["what"]) for row in found} >= {("name", "www.example.com")}
        assert "unmet" not in enclave.stats()


def test_what_a_program_asks_fills_no_memory() -> None:
    unmet = Unmet()
    for number in range(1000):
        unmet.note("name", f"{number}.example.com")
    unmet.note("name", "0.example.com")
    assert len(unmet.noted()) == 256
    assert ("name", "0.example.com", 2) in unmet.noted()
    unmet = Counts().unmet
    unmet.note("server", "\x1b[31m" + "x" * 1000)
    ((_, what, _),) = unmet.noted()
    assert (what.isprintable(), len(what)) == (True, 253)


def test_it_is_read_while_it_is_written() -> None:
    unmet, over = Unmet(), threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            unmet.note("name", f"{number}.example.com")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(200):
        unmet.noted()
    over.set()
    writer.join()


def test_what_everybody_looks_up_is_no_reason() -> None:
    names = ("1.0.0.127.in-addr.arpa", "_x.example", "printer.local")
    usual = [Refusal(kind="name", what=name, count=1) for name in names]
    assert summary(usual, "run") == []
    assert len(explanation(usual)) == 6
    private = Refusal(kind="address", what="inside.example", count=1)
    assert summary([private]) == [
        "the enclave refused, and these lines of a manifest would allow:",
        "  inside.example was called: its address is not of the public Internet",
        "    network: {internet: [{name: inside.example, insecure_private: true}]}",
    ]
    for what in ("localhost", "127.0.0.1", "{x}", "a b"):
        assert "no line of a manifest would" in explanation([Refusal(kind="server", what=what, count=1)])[1]

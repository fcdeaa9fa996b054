"""Connections that come, go and are cut, for a while: nothing may be left of them.

BELLJAR_GATEWAY_SOAK is how many seconds (by default 2; 600 were tried).
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from pathlib import Path

from belljar.attestation.channel import Channel, ChannelRefused
from support.gateways import Enclave, Written, with_platform
from support.running import Belljar

SECONDS = float(os.environ.get("BELLJAR_GATEWAY_SOAK", "2"))
NETWORK = """
listen:
  - {outside: "127.0.0.1:0", guest: 8080, anyone: true, idle: 60s}
  - {outside: "127.0.0.1:0", guest: 8080, insecure_plain: true, idle: 60s, connections: 1000}
connect: [{guest: 9000, outside: "unix:nobody.sock", insecure_plain: true}]
"""
_THREADS = 4
_GROWTH_KIB = 12 * 1024


def test_nothing_is_left_of_connections(belljar: Belljar) -> None:
    with_platform(belljar)
    dice = random.Random(1)  # noqa: S311 - the same trouble every time
    with Written(belljar, "echo", network=NETWORK).write().running() as enclave:
        policy = enclave.policy()
        ports = enclave.port(0), enclave.port(1)
        for _ in range(3):
            attested(enclave, policy, dice)
        settle(enclave)
        before = traces(enclave)
        until, failures = time.monotonic() + SECONDS, list[BaseException]()
        threads = [
            threading.Thread(target=trouble, args=((enclave, policy, ports), seed, until, failures), daemon=True)
            for seed in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + 60)
        assert not failures, failures
        assert not [thread for thread in threads if thread.is_alive()], "a connection hangs"
        settle(enclave)
        after = traces(enclave)
        stats = enclave.stats()
        print(f"{stats} {before} {after}")
        assert after["descriptors"] <= before["descriptors"] + 8  # sockets in stock
        assert after["giver"] == before["giver"]
        assert after["kib"] < before["kib"] + _GROWTH_KIB
        assert stats["open"] == 0
        attested(enclave, policy, dice)


def settle(enclave: Enclave) -> None:
    until = time.monotonic() + 25
    while enclave.stats()["open"] and time.monotonic() < until:
        time.sleep(0.2)


def traces(enclave: Enclave) -> dict[str, int]:
    supervisor = enclave.ask("status")["supervisor"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    (giver,) = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "belljar-sockets"]
    lines = Path(f"/proc/{supervisor}/status").read_text().splitlines()
    return {
        "descriptors": len(os.listdir(f"/proc/{supervisor}/fd")),
        "giver": len(os.listdir(f"/proc/{giver}/fd")),
        "kib": next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")),
        "threads": next(int(line.split()[1]) for line in lines if line.startswith("Threads")),
    }


def trouble(
    found: tuple[Enclave, str, tuple[int, int]], seed: int, until: float, failures: list[BaseException]
) -> None:
    enclave, policy, ports = found
    dice = random.Random(seed)  # noqa: S311 - the same trouble every time
    try:
        while time.monotonic() < until:
            what = dice.randrange(10)
            if what < 3:
                attested(enclave, policy, dice)
            elif what < 8:
                plain(ports[1], dice)
            else:
                silent(ports[dice.randrange(2)], dice)
    except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
        failures.append(error)


def attested(enclave: Enclave, policy: str, dice: random.Random) -> None:
    channel: Channel = enclave.connect(policy)
    content = dice.randbytes(dice.randrange(1, 200_000))
    sender = threading.Thread(target=send, args=(channel, content))
    sender.start()
    received = 0
    wanted = len(content) if dice.randrange(3) else len(content) // 2
    while received < wanted:
        received += len(channel.recv(65536)) or 1 << 40
    channel.close()
    sender.join()


def send(channel: Channel, content: bytes) -> None:
    try:
        channel.sendall(content)
    except (OSError, ChannelRefused):  # closed from here, half-way
        pass


def plain(port: int, dice: random.Random) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as near:
        content = dice.randbytes(dice.randrange(1, 60_000))
        near.sendall(content)
        if dice.randrange(2):
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # cut with a reset
            return
        received = 0
        while received < len(content):
            part = near.recv(65536)
            assert part
            received += len(part)


def silent(port: int, dice: random.Random) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as near:
        near.sendall(dice.randbytes(dice.randrange(300)))
        time.sleep(dice.random() / 4)

"""Attested channels beside TLS proxies: `belljar connect` and the library's server, stunnel, nginx stream, plain TCP.

Every way is the same row of four: a client, a proxy beside it, a proxy beside the server, the server; plain TCP is
the first and the last. All of one table in one run, ways taking turns.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .bench import PROGRAMS, Bench
from .peers import Peer
from .processes import pss_kib
from .rounds import Numbers, Table, interleave, told_inside

MIB = 1 << 20
_PATIENCE_S = 30.0
_NGINX_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


@dataclass(frozen=True)
class Way:
    """One way to the server.

    Attributes:
        name: of the column.
        port: where a client connects.
        pids: of its proxies.
    """

    name: str
    port: int
    pids: tuple[int, ...]


def channel(bench: Bench) -> list[Table]:
    """Connections, first bytes, throughput and memory by every way; then what setting up a channel costs by itself."""
    rates = Table("channels: new connections, one after the other", "per s", "—", more_is_better=True)
    waits = Table("channels: from connect to the first byte back", "ms", "—")
    flows = Table("channels: throughput", "MB/s", "≥ 0.7× a plain TLS proxy", more_is_better=True)
    memory = Table("channels: memory of both proxies for one more idle connection", "KiB", "—")
    setups = Table("channels: set up within one process, over loopback", "ms", "mutual ≤ 10 ms")
    with tempfile.TemporaryDirectory(prefix="bench-channel-") as folder, ExitStack() as stack:
        ways = list(_ways(bench, Path(folder), stack))
        count, size = (3, MIB) if bench.small else (100, 256 * MIB)
        interleave(rates, {way.name: partial(_rate, way, count) for way in ways}, bench.few(4))
        interleave(waits, {way.name: partial(_first, way, count // 3) for way in ways}, bench.few(4))
        for many in (1, 4):
            interleave(flows, {way.name: partial(_flow, way, size // many, many) for way in ways}, bench.few(4))
        for way in ways:
            if way.pids:
                memory.add(way.name, _memory(way, 5 if bench.small else 100))
    python = str(bench.script.with_name("python"))
    for _ in range(bench.few(4)):
        told = told_inside(
            Peer("belljar", ()), python, str(PROGRAMS / "channel_setup.py"), "3" if bench.small else "50"
        )
        setups.add("belljar", told)
    return [rates, waits, flows, memory, setups]


def _ways(bench: Bench, folder: Path, stack: ExitStack) -> Iterator[Way]:
    """Start every way that works here, until the stack is left."""
    python = str(bench.script.with_name("python"))
    backend, _ = stack.enter_context(_telling([python, str(PROGRAMS / "channel_backend.py")]))
    yield Way("plain TCP", backend, ())
    yield stack.enter_context(_belljar(bench, python, backend, folder))
    others: dict[str, tuple[str, Callable[[int, Path], object]]] = {
        "stunnel": ("stunnel4", _stunnel), "nginx stream": ("nginx", _nginx),
    }  # fmt: skip
    for name, (program, start) in others.items():
        if bench.beside is not None and program not in bench.beside and name not in bench.beside:
            continue
        if not shutil.which(program) or (program == "nginx" and not Path(_NGINX_MODULE).exists()):
            bench.note(f"{name} is left out: {program} is not installed")
            continue
        place = folder / program
        place.mkdir()
        _certificate(place)
        yield stack.enter_context(_proxies(name, start(backend, place)))


@contextmanager
def _telling(command: list[str]) -> Iterator[tuple[int, int]]:
    """Have a process there while the block runs; yield the port it prints, and its id."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split(" for ")[0].rpartition(":")[2]), process.pid
        finally:
            process.kill()


@contextmanager
def _belljar(bench: Bench, python: str, backend: int, folder: Path) -> Iterator[Way]:
    server = [python, str(PROGRAMS / "channel_server.py"), str(backend), str(folder)]
    with _telling(server) as (port, first):
        client = [str(bench.script), "connect", f"127.0.0.1:{port}", "--listen=127.0.0.1:0"]
        with _telling([*client, f"--policy={folder}/policy.yaml"]) as (local, second):
            yield Way("belljar", local, (first, second))


@contextmanager
def _proxies(name: str, started: object) -> Iterator[Way]:
    """Have two proxies there while the block runs."""
    assert isinstance(started, tuple)
    port, commands = started
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        until = time.monotonic() + _PATIENCE_S
        while not _answers(port) and time.monotonic() < until:
            time.sleep(0.05)
        yield Way(name, port, tuple(process.pid for process in processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        with _asked(port, b"e") as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


def _free() -> int:
    """Return a port that nobody uses at present."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _certificate(folder: Path) -> None:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=bench -days 2"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


def _stunnel(backend: int, folder: Path) -> tuple[int, list[list[str]]]:
    near, far = _free(), _free()
    common = "foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
    (folder / "server.conf").write_text(
        f"{common}[s]\naccept = 127.0.0.1:{far}\nconnect = 127.0.0.1:{backend}\n"
        f"cert = {folder}/cert.pem\nkey = {folder}/key.pem\nsslVersionMin = TLSv1.3\n"
    )
    (folder / "client.conf").write_text(
        f"{common}[c]\nclient = yes\naccept = 127.0.0.1:{near}\nconnect = 127.0.0.1:{far}\n"
        f"CAfile = {folder}/cert.pem\nverifyPeer = yes\nsessionCacheSize = 1\n"
    )
    return near, [["stunnel4", str(folder / f"{side}.conf")] for side in ("server", "client")]


def _nginx(backend: int, folder: Path) -> tuple[int, list[list[str]]]:
    near, far = _free(), _free()
    common = (
        f"load_module {_NGINX_MODULE};\ndaemon off;\nmaster_process off;\nerror_log {folder}/error.log;\n"
        "worker_rlimit_nofile 4096;\nevents {{ worker_connections 2048; }}\n"
        "pid {pid};\nstream {{ server {{ listen 127.0.0.1:{listen}{ssl}; proxy_pass 127.0.0.1:{to}; {more} }} }}\n"
    )
    tls = f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;"
    checked = (
        f"proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {folder}/cert.pem; proxy_ssl_name bench;"
    )
    checked += " proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse off;"
    sides = {
        "server": common.format(pid=f"{folder}/s.pid", listen=far, ssl=" ssl", to=backend, more=tls),
        "client": common.format(pid=f"{folder}/c.pid", listen=near, ssl="", to=far, more=checked),
    }
    for side, text in sides.items():
        (folder / f"{side}.conf").write_text(text)
    return near, [["nginx", "-c", str(folder / f"{side}.conf"), "-p", str(folder)] for side in sides]


def _asked(port: int, what: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(what)
    return connection


def _echoed(port: int) -> float:
    """Connect, have one byte back, and return how long that took."""
    started = time.perf_counter()
    with _asked(port, b"ex") as connection:
        assert connection.recv(1) == b"x"
        return time.perf_counter() - started


def _rate(way: Way, count: int) -> Numbers:
    started = time.perf_counter()
    for _ in range(count):
        _echoed(way.port)
    return {"one client": count / (time.perf_counter() - started)}


def _first(way: Way, count: int) -> Numbers:
    return {"first byte": statistics.median(_echoed(way.port) for _ in range(max(1, count))) * 1000}


def _flow(way: Way, size: int, many: int) -> Numbers:
    found: Numbers = {}
    for name, move in (("down", _down), ("up", _up)):
        threads = [threading.Thread(target=move, args=(way.port, size)) for _ in range(many)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        title = f"{name}, {many} connection{'s' if many > 1 else ''}"
        found[title] = size * many / (time.perf_counter() - started) / 1e6
    return found


def _down(port: int, size: int) -> None:
    buffer = bytearray(1 << 17)
    left = size + 1
    with _asked(port, b"d" + size.to_bytes(8, "big")) as connection:
        while left and (got := connection.recv_into(buffer)):
            left -= got
    assert not left


def _up(port: int, size: int) -> None:
    chunk, left = memoryview(bytes(1 << 17)), size
    with _asked(port, b"u" + size.to_bytes(8, "big")) as connection:
        while left:
            left -= connection.send(chunk[: min(left, len(chunk))])
        assert connection.recv(1) == b"."


def _memory(way: Way, count: int) -> Numbers:
    before = sum(map(pss_kib, way.pids))
    open_ones: list[socket.socket] = []
    try:
        for _ in range(count):
            open_ones.append(_asked(way.port, b"ex"))
            assert open_ones[-1].recv(1) == b"x"
        return {"idle connection": (sum(map(pss_kib, way.pids)) - before) / count}
    finally:
        for connection in open_ones:
            connection.close()

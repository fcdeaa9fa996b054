"""Servers as Debian and PyPI have them, unmodified in enclaves, used from outside by the clients that people use.

Each through `belljar connect`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.enclosed_volume import missing
from support.gateways import Enclave, Written, policy_of, with_platform
from support.running import PYTHON, Belljar
from support.source import ROOT

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
SHELL = "{type: hashed, path: /bin/sh, source: /usr/bin/sh}"  # where system(3) looks for it


def needs(*programs: str) -> None:
    if absent := missing(programs):
        pytest.skip(f"not installed (Debian's packages): {absent}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


@contextmanager
def near(enclave: Enclave, policy: str = "", failures: list[str] | None = None) -> Iterator[int]:
    """Lead a port of this machine to an enclave, as a user does; return it.

    Args:
        enclave: where to.
        policy: what it must be; by default this enclave.
        failures: gets what was said of connections that failed.
    """
    belljar, port = enclave.belljar, free_port()
    (belljar.folder / "near.policy").write_text(policy or enclave.policy())
    words = ("connect", f"127.0.0.1:{enclave.port()}", "--policy", "near.policy", "--listen", f"127.0.0.1:{port}")
    process = belljar.start(*words)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on")
        yield port
    finally:
        process.terminate()
        said_of_them = process.communicate(timeout=20)[1].splitlines()
        if failures is not None:
            failures += said_of_them


def said(*words: str, patience_s: float = 20.0) -> str:
    """Run a client until it succeeds: servers take a moment; return what it printed."""
    until = time.monotonic() + patience_s
    while True:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode == 0 or time.monotonic() > until:
            assert done.returncode == 0, done.stderr
            return done.stdout
        time.sleep(0.3)


def test_the_service_of_the_manifests_is_used_with_curl(belljar: Belljar) -> None:
    needs("curl")
    with_platform(belljar)
    belljar.environment["PATH"] = f"{Path(PYTHON).parent}:/usr/bin:/bin"
    shutil.copytree(ROOT / "manifests/attested-service", belljar.folder / "service")
    shutil.copy(belljar.folder / "service/app.yaml", belljar.folder / "service/notes.yaml")
    belljar.folder = belljar.folder / "service"
    with Written(belljar, "notes").running("--listen", "8080=127.0.0.1:0") as enclave, near(enclave) as port:
        assert said("curl", "-sf", "-d", "buy bread", f"http://127.0.0.1:{port}/") == "1 kept\n"
        large = belljar.folder / "large"
        large.write_text("x" * 3_000_000)
        assert said("curl", "-sf", "--data-binary", f"@{large}", f"http://127.0.0.1:{port}/") == "2 kept\n"
        assert len(said("curl", "-sf", f"http://127.0.0.1:{port}/")) == len("buy bread\n") + 3_000_001


REDIS = """
import os
os.execvp("redis-server", ["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"])
"""
LISTEN = 'listen: [{{outside: "127.0.0.1:0", guest: {guest}, anyone: true}}]'


def test_redis(belljar: Belljar) -> None:
    needs("redis-server", "redis-cli", "redis-benchmark")
    with_platform(belljar)
    written = Written(belljar, "redis", program=REDIS, network=LISTEN.format(guest=6379), programs=["redis-server"])
    with written.write().running() as enclave, near(enclave) as port:
        cli = ("redis-cli", "-e", "-p", str(port))
        assert said(*cli, "set", "key", "value") == "OK\n"
        assert said(*cli, "get", "key") == "value\n"
        said("redis-benchmark", "-p", str(port), "-n", "2000", "-c", "20", "-P", "8", "-t", "set,get", "-q")
        assert int(said(*cli, "dbsize")) >= 2


DATABASE = """
import os, subprocess, sys
folder = sys.argv[1]
subprocess.run([f"{folder}/initdb", "-D", "/tmp/pg", "-A", "trust", "--no-locale", "-E", "UTF8"], check=True, stdout=2)
os.execv(f"{folder}/postgres", ["postgres", "-D", "/tmp/pg", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
         "-c", "unix_socket_directories=/tmp", "-c", "shared_buffers=16MB"])
"""
ASK = """
import subprocess, sys, time
words = [sys.argv[1], "-h", "database", "-p", "5432", "-U", "user", "-tA", "postgres", "-c"]
for _ in range(60):
    done = subprocess.run([*words, "select sum(n) from generate_series(1, 1000) n"], capture_output=True, text=True)
    if done.returncode == 0:
        break
    time.sleep(0.5)
print(done.stdout.strip() or done.stderr)
"""


def database(belljar: Belljar, bin_: Path, network: str) -> Written:
    names = ("initdb", "postgres", "psql")
    programs = ["sh", "locale", *(str(bin_ / name) for name in names if (bin_ / name).exists())]
    places = (f"/usr/share/postgresql/{bin_.parent.name}", str(bin_.parent / "lib"))
    mounts = [f"{{type: hashed, path: {place}, source: {place}}}" for place in places]
    return Written(
        belljar, "database", program=DATABASE, network=network, arguments=[str(bin_)], programs=programs,
        mounts=[*mounts, SHELL],
    ).write()  # fmt: skip


def test_postgresql_is_used_from_outside_and_by_another_enclave(belljar: Belljar) -> None:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    psql = POSTGRES.parent / "psql"
    with_platform(belljar)
    (belljar.folder / "web.policy").write_text(policy_of(belljar))
    network = (
        'listen:\n  - {outside: "127.0.0.1:0", guest: 5432, anyone: true}\n'
        '  - {outside: "unix:mutual.sock", guest: 5432, policy: web.policy}'
    )
    with database(belljar, POSTGRES.parent, network).running() as enclave, near(enclave) as port:
        address = ("-h", "127.0.0.1", "-p", str(port), "-U", "user", "-qtA", "postgres")
        assert said(str(psql), *address, "-c", "select 6 * 7", patience_s=60) == "42\n"
        script = (
            "create table t (n int, x text); insert into t select n, repeat('x', 1000) from generate_series(1, 3000) n"
        )
        said(str(psql), *address, "-c", script)
        assert len(said(str(psql), *address, "-c", "select x from t")) == 3000 * 1001
        (belljar.folder / "database.policy").write_text(enclave.policy())
        web = Written(
            belljar, "web", program=ASK, arguments=[str(psql)], programs=[str(psql)],
            network='connect: [{guest: "database:5432", outside: "unix:mutual.sock", policy: database.policy}]',
        ).write()  # fmt: skip
        assert web.run(timeout=120).stdout == "500500\n"
        assert enclave.stats()["refused"] == 0


def test_flask_under_gunicorn(belljar: Belljar, tmp_path: Path) -> None:
    with_platform(belljar)
    folder = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True, capture_output=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "flask", "gunicorn"]
    subprocess.run(pip, check=True, capture_output=True)
    belljar.environment["VIRTUAL_ENV"] = str(folder)
    shutil.copy(ROOT / "manifests/flask-gunicorn/web.py", belljar.folder)
    (belljar.folder / "flask.yaml").write_text(
        'belljar: 1\nname: flask\nextends: [python]\nprograms: ["${venv}/bin/gunicorn"]\n'
        'argv: [gunicorn, --bind, "127.0.0.1:8000", --workers, "2", --log-level, warning, "web:app"]\n'
        'mounts: [{type: hashed, path: /app, source: "${manifest_dir}", include: [web.py]}]\n'
        'network: {listen: [{outside: "127.0.0.1:0", guest: 8000, anyone: true}]}\n'
    )
    with Written(belljar, "flask").running() as enclave, near(enclave) as port:
        assert '"hello":"from inside"' in said("curl", "-sf", f"http://127.0.0.1:{port}/")


PAGE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b'''<!doctype html><p id="shown">nothing yet</p><script>
const ask = (name) => fetch("/inside/" + name).then((answer) => answer.text());
Promise.all(["a", "b", "c", "d", "e", "f", "g", "h"].map(ask)).then((all) => {
  document.getElementById("shown").textContent = all.join(" ");
});
</script>'''

class Inside(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        content = PAGE if self.path == "/" else self.path.rpartition("/")[2].upper().encode() + b"=inside"
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/" else "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("127.0.0.1", 8080), Inside).serve_forever()
"""
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


def seen(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Have a browser print the document that it has made of a page, its script included."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed (Debian's package {BROWSERS[0]})")
    words = [browser, "--headless", f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000", "--dump-dom"]
    if os.geteuid() == 0:
        words.append("--no-sandbox")  # its own is not for root; the page is ours
    words.append(f"http://127.0.0.1:{port}/")
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)


def test_a_browser(belljar: Belljar) -> None:
    with_platform(belljar)
    written = Written(belljar, "page", program=PAGE, network=LISTEN.format(guest=8080)).write()
    with written.running() as enclave:
        with near(enclave, failures=(failures := list[str]())) as port:
            done = seen(belljar.folder, port)
        assert done.returncode == 0, done.stderr
        document = done.stdout
        assert "A=inside B=inside C=inside D=inside E=inside F=inside G=inside H=inside" in document
        assert "nothing yet" not in document.partition("<script>")[0]
        stats = enclave.ended()
        assert stats["served"] > 1, "a browser opens several connections at once"
        assert (stats["refused"], stats["cut"], failures) == (0, 0, [])


def test_a_browser_shows_nothing_of_an_enclave_that_is_not_the_one(belljar: Belljar) -> None:
    with_platform(belljar)
    written = Written(belljar, "page", program=PAGE, network=LISTEN.format(guest=8080)).write()
    with written.running() as enclave:
        with near(enclave, policy_of(belljar, "ab" * 32), failures := list[str]()) as port:
            done = seen(belljar.folder, port)
        assert "inside" not in done.stdout
        assert "nothing yet" not in done.stdout
        assert any("code: got measurement" in line for line in failures), failures
        assert enclave.ended()["served"] == 0

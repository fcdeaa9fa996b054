"""A verifier that listens, for tests: real sockets, its own thread; and a client that says what a person would."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belljar.attestation.keys import SigningKey, generate
from belljar.attestation.serving import Challenges, Listener, Service, Shelf, make_token, read_access
from belljar.attestation.verifier import Issue


@dataclass
class Served:
    """A verifier that listens.

    Attributes:
        port: on 127.0.0.1.
        key: signs its results.
        admin, relying: tokens.
        said: what it told its owner.
    """

    port: int
    key: SigningKey
    admin: str
    relying: str
    said: list[str] = field(default_factory=list[str])

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request and return (status, JSON or bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            found = response.read()
            is_json = response.getheader("Content-Type") == "application/json"
            return response.status, json.loads(found) if is_json else found
        finally:
            connection.close()

    def raw(self, *parts: bytes, end: bool = True) -> bytes:
        """Send bytes as they are, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            found = b""
            try:
                for part in parts:
                    connection.sendall(part)
                if end:
                    connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    found += part
            except (ConnectionResetError, BrokenPipeError):
                pass
            return found


@contextmanager
def served(folder: Path, *, deadline_s: float = 20.0, challenges: Challenges | None = None) -> Iterator[Served]:
    """Serve from a folder until the block ends."""
    lines = [make_token(role, role, os.urandom) for role in ("admin", "relying")]
    listening = socket.create_server(("127.0.0.1", 0))
    found = Served(
        port=listening.getsockname()[1], key=generate("es256"), admin=lines[0][0], relying=lines[1][0]
    )  # fmt: skip
    service = Service(
        key=found.key,
        issue=Issue(build="belljar test", lifetime_s=300),
        shelf=Shelf(str(folder)),
        access=read_access("\n".join(line for _, line in lines)),
        challenges=challenges or Challenges(os.urandom),
        clock=lambda: int(time.time()),
    )
    listener = Listener(listening, service, say=found.said.append, deadline_s=deadline_s)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    try:
        yield found
    finally:
        listener.stop()
        thread.join(deadline_s + 5)
        assert not thread.is_alive()

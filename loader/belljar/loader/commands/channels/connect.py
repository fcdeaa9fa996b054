"""`belljar connect`: any program, through an attested channel, to an enclave.

In come local connections on `--listen`; each goes through a channel of its own to the server, which must be what the
policy says. Whoever can reach the local address talks to the enclave, so that is this machine alone, unless it is told
otherwise by a name that says what that is. Ends with SIGTERM or SIGINT; a unix socket's file goes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from belljar.attestation.channel import Endpoint, Role
from belljar.loader import report
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError, UsageError

from .address import address_of, shown
from .asking import client_identity, client_terms
from .relay import Relay, listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator

    from belljar.attestation.channel import Address
    from belljar.loader.options import Parsed

_DEFAULT = "127.0.0.1:0"
_LOCAL = ("127.", "::1", "localhost")
_REFUSED = 1


def main(parsed: Parsed) -> int:
    """Carry connections until told to end."""
    if len(parsed.words) != 1:
        raise UsageError("expected one address", hint="belljar connect enclave.example:8443 --policy policy.yaml")
    address = address_of(parsed.words[0], "the server's address")
    local = address_of(parsed.options.get("listen", _DEFAULT), "--listen")
    if not isinstance(local, str) and not local[0].startswith(_LOCAL) and not parsed.has("insecure-listen"):
        hint = "--insecure-listen, if everybody who can reach it may"
        raise UsageError(f"--listen {shown(local)}: other machines would talk to the enclave unattested", hint=hint)
    with loader_errors():
        endpoint = Endpoint(Role.CLIENT, client_terms(parsed), client_identity(parsed))
        with _listening(local) as listening:
            return asyncio.run(_serve(listening, address, endpoint, once=parsed.has("once")))


@contextlib.contextmanager
def _listening(address: Address) -> Generator[socket.socket]:
    """Have a socket that listens while the block runs."""
    try:
        listening = listen(address)
    except OSError as error:
        raise LoaderError(f"{shown(address)}: cannot listen: {error.strerror}") from error
    try:
        yield listening
    finally:
        listening.close()
        if isinstance(address, str):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)


async def _serve(listening: socket.socket, address: Address, endpoint: Endpoint, *, once: bool) -> int:
    relay = Relay(address, endpoint, _say, once=once)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    await relay.serve(listening, lambda: _ready(listening, address))
    return _REFUSED if once and relay.failed else 0


def _ready(listening: socket.socket, address: Address) -> None:
    found = listening.getsockname()
    local = found if isinstance(found, str) else (str(found[0]), int(found[1]))
    sys.stdout.write(f"listening on {shown(local)} for {shown(address)}\n")
    sys.stdout.flush()


def _say(message: str, hint: str | None) -> None:
    report.note(message)
    if hint is not None:
        report.note(f"hint: {hint}")

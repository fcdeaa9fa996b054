"""`belljar verifier serve`: appraise evidence for others until it is told to end.

In come a key, a folder of policies, a file of hashes of tokens, an address; out go answers. Without TLS it serves this
machine only, unless it is told otherwise by a name that says what that is.
"""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
import ssl
import sys
import time
from typing import TYPE_CHECKING

from belljar.attestation.serving import Access, Challenges, Listener, Service, Shelf, read_access
from belljar.attestation.verifier import Issue
from belljar.loader import report
from belljar.loader.bundle.signers import read_private
from belljar.loader.errors import LoaderError, UsageError
from belljar.loader.version import VERSION

from .appraising import EAR_LIFETIME_S
from .sources import folder_of, read_bounded

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_DEFAULT = "127.0.0.1:8470"
_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})")
_QUEUE = 64
_MAX_TOKENS_BYTES = 256 * 1024


def main(parsed: Parsed) -> int:
    """Serve until SIGTERM or SIGINT."""
    if parsed.words:
        raise UsageError(f"unexpected {parsed.words[0]}", hint="belljar verifier serve --help lists the options")
    for name in ("key", "dir"):
        if not parsed.has(name):
            raise UsageError(f"expected --{name}", hint="belljar verifier serve --key verifier.pem --dir policies")
    tls = _tls(parsed)
    host, port = _address(parsed, plain=tls is None)
    service = Service(
        key=read_private(parsed.options["key"]),
        issue=Issue(build=f"belljar {VERSION}", lifetime_s=EAR_LIFETIME_S),
        shelf=Shelf(_private_folder(parsed.options["dir"])),
        access=_access(parsed),
        challenges=Challenges(os.urandom),
        clock=lambda: int(time.time()),
    )
    listening = _listening(host, port)
    listener = Listener(listening, service, tls=tls, say=report.note)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: listener.stop())
    shown = f"[{host}]" if ":" in host else host
    scheme = "http" if tls is None else "https"
    sys.stdout.write(f"serving {scheme}://{shown}:{listening.getsockname()[1]}/v1/, results signed by "
                     f"sha256:{service.key.public.signer.hex()}\n")  # fmt: skip
    sys.stdout.flush()
    listener.serve()
    return 0


def _access(parsed: Parsed) -> Access:
    path = parsed.options.get("tokens")
    if path is None:
        report.note("note: nobody may change policies or bring nonces of their own: there is no --tokens")
        return Access(holders=())
    try:
        return read_access(read_bounded(path, _MAX_TOKENS_BYTES).decode())
    except UnicodeDecodeError as error:
        raise LoaderError(f"{path}: not UTF-8 at byte {error.start}") from error


def _private_folder(path: str) -> str:
    """Return a folder that only its owner may write to: who writes there decides what is accepted."""
    status = os.stat(folder_of(path))
    if hasattr(os, "geteuid") and (status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid())):
        raise LoaderError(f"{path}: others may write to it, and so decide what is accepted", hint=f"chmod 700 {path}")
    return path


def _tls(parsed: Parsed) -> ssl.SSLContext | None:
    certificate, key = parsed.options.get("tls-cert"), parsed.options.get("tls-key")
    if (certificate is None) is not (key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    if certificate is None or key is None:
        return None
    for path in (certificate, key):  # ssl names no file in its errors
        read_bounded(path, _MAX_TOKENS_BYTES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise LoaderError(f"{certificate} and {key}: not a certificate chain and its key, in PEM") from error
    return context


def _no_password() -> str:
    raise ValueError("encrypted keys are not taken")  # or OpenSSL would ask on the terminal


def _address(parsed: Parsed, *, plain: bool) -> tuple[str, int]:
    text = parsed.options.get("listen", _DEFAULT)
    match = _ADDRESS.fullmatch(text)
    try:
        host = ipaddress.ip_address(match[1] or match[2]) if match else None
    except ValueError:
        host = None
    if match is None or host is None or int(match[3]) > 65535:
        raise UsageError(f"--listen: got {text[:80]!r}, expected such as 127.0.0.1:8470 or [::1]:8470")
    if plain and not host.is_loopback and not parsed.has("insecure-plain"):
        hint = "--tls-cert and --tls-key; or --insecure-plain, if something in front speaks TLS"
        raise UsageError(f"--listen {text}: tokens and evidence would cross the network in the clear", hint=hint)
    return str(host), int(match[3])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_QUEUE)
    except OSError as error:
        listening.close()
        raise LoaderError(f"{host}:{port}: cannot listen: {error.strerror}") from error
    return listening

"""`belljar attest`: ask an enclave for evidence, with a fresh challenge, and appraise it.

An enclave elsewhere is asked over a channel: what it shows is for that channel. Of one on this machine,
the supervisor answers the request `evidence` with `{"media_type", "evidence"}`; it is believed no more than a
file from a stranger would be. What it makes for whoever may ask on this machine is for the purpose `local`, and binds
nothing but the nonce.
"""

from __future__ import annotations

import base64
import binascii
import os
import sys
import time
from typing import TYPE_CHECKING

from belljar.attestation.attesting import Purpose, report_data
from belljar.attestation.verifier import Challenge, Message
from belljar.libos.lifecycle import Connection, open_run
from belljar.loader import report
from belljar.loader.bundle.files import replace_file
from belljar.loader.commands.channels.address import is_address
from belljar.loader.commands.channels.asked import evidence_at
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError, UsageError

from .appraising import UNDECIDED, appraise, bench_of
from .sources import nonce_of

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_FRESH_BYTES = 32
_PATIENCE_S = 30.0  # a TPM takes its time


def main(parsed: Parsed) -> int:
    """Ask one run, and appraise what it says."""
    if len(parsed.words) != 1:
        raise UsageError("expected one run: belljar attest web", hint="belljar ps lists what is running")
    word = parsed.words[0]
    with loader_errors():
        bench = bench_of(parsed)
        message, challenge = _at_an_address(parsed, word) if is_address(word) else _of_a_run(parsed, word)
        output = parsed.options.get("output")
        if output is not None:
            _keep(output, message, challenge)
        code = appraise(bench, message, challenge, int(time.time()))
    sys.stdout.flush()
    return 0 if code == UNDECIDED and output is not None else code  # it was asked for a file, and has made it


def _keep(path: str, message: Message, challenge: Challenge) -> None:
    replace_file(path, message.content)
    report.note(f"{path} answers the nonce {(challenge.nonce or b'').hex()}")
    if challenge.report_data != report_data(Purpose.LOCAL, b""):
        report.note(f"{path} binds the report data {(challenge.report_data or b'').hex()}")


def _at_an_address(parsed: Parsed, word: str) -> tuple[Message, Challenge]:
    if parsed.has("nonce"):
        raise UsageError("--nonce: a channel makes its own", hint="belljar attest HOST:PORT without --nonce")
    return evidence_at(word, classical=parsed.has("insecure-classical-group"))


def _of_a_run(parsed: Parsed, word: str) -> tuple[Message, Challenge]:
    given = parsed.options.get("nonce")
    nonce = os.urandom(_FRESH_BYTES) if given is None else nonce_of(given)
    return _asked(word, nonce), Challenge(nonce=nonce, report_data=report_data(Purpose.LOCAL, b""))


def _asked(name: str, nonce: bytes) -> Message:
    """Return what a run's supervisor answers."""
    with open_run(name) as run:
        if not isinstance(run, Connection):
            raise LoaderError(
                f"{name} has ended and makes no evidence any more", hint="belljar ps lists what is running"
            )
        request: dict[str, object] = {"nonce": nonce.hex(), "purpose": Purpose.LOCAL.value}
        fields, descriptors = run.ask("evidence", request, patience_s=_PATIENCE_S)
    for descriptor in descriptors:  # none belongs to this answer
        os.close(descriptor)
    media_type, evidence = fields.get("media_type"), fields.get("evidence")
    if not isinstance(media_type, str) or not isinstance(evidence, str):
        raise LoaderError(f"{name}: its supervisor answers without evidence: it is of another version")
    try:
        return Message(content=base64.b64decode(evidence, validate=True), media_type=media_type)
    except (ValueError, binascii.Error) as error:
        raise LoaderError(f"{name}: its supervisor answers with malformed base64") from error

"""`belljar attest`: ask a running enclave for evidence, with a fresh challenge, and appraise it.

The enclave's supervisor answers the request `evidence` with `{"media_type", "evidence"}`; it is believed no more than a
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
    given = parsed.options.get("nonce")
    nonce = os.urandom(_FRESH_BYTES) if given is None else nonce_of(given)
    challenge = Challenge(nonce=nonce, report_data=report_data(Purpose.LOCAL, b""))
    with loader_errors():
        bench = bench_of(parsed)
        message = _asked(parsed.words[0], nonce)
        output = parsed.options.get("output")
        if output is not None:
            replace_file(output, message.content)
            report.note(f"{output} answers the nonce {nonce.hex()}")
        code = appraise(bench, message, challenge, int(time.time()))
    sys.stdout.flush()
    return 0 if code == UNDECIDED and output is not None else code  # it was asked for a file, and has made it


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

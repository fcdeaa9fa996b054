"""`belljar token`: make a bearer token for clients of a listener, give it away once, and keep its hash.

In comes a name; out go the secret, to standard output or a file that must not exist yet, and the line that its hash is
kept as, to the file that `tokens` of a manifest names. The secret stands nowhere else: not in an argument, not on
standard error (IEEE 2952 5.3.3 b).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from belljar.attestation.channel import make_token, read_tokens
from belljar.loader import report
from belljar.loader.bundle.files import PRIVATE, create_file
from belljar.loader.commands.errors import loader_errors
from belljar.loader.commands.tokens import add_line
from belljar.loader.errors import UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Make one token."""
    if len(parsed.words) != 1:
        raise UsageError("expected a name", hint="belljar token alice --into tokens")
    output = parsed.options.get("output")
    with loader_errors():
        token, line = make_token(parsed.words[0], os.urandom)
        if output is not None:
            create_file(output, f"{token}\n".encode(), PRIVATE)
        try:
            _keep(parsed, line)
        except BaseException:
            if output is not None:
                os.unlink(output)
            raise
    if output is None:
        sys.stdout.write(f"{token}\n")
    return 0


def _keep(parsed: Parsed, line: str) -> None:
    path = parsed.options.get("into")
    if path is None:
        report.note(f"add to the file of tokens: {line}")
        return
    add_line(path, line, lambda text: [name for _, name in read_tokens(text).holders])

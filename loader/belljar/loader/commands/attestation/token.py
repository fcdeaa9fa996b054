"""`belljar verifier token`: make a bearer token, print it once, and keep its hash."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from belljar.attestation.serving import make_token, read_access
from belljar.loader import report
from belljar.loader.commands.tokens import add_line
from belljar.loader.errors import UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def main(parsed: Parsed) -> int:
    """Make one token."""
    if len(parsed.words) != 2:
        raise UsageError("expected a role and a name", hint="belljar verifier token admin alice --tokens tokens")
    token, line = make_token(parsed.words[0], parsed.words[1], os.urandom)
    path = parsed.options.get("tokens")
    if path is None:
        report.note(f"add to the file of tokens: {line}")
    else:
        add_line(path, line, lambda text: [holder.name for holder in read_access(text).holders])
    sys.stdout.write(f"{token}\n")
    return 0

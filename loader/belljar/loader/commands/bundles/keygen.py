"""`belljar keygen`: make a key that signs bundles, and print the signer id it stands for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from belljar.attestation.keys import DEFAULT_ALGORITHM, generate
from belljar.loader import report
from belljar.loader.bundle.files import PRIVATE, PUBLIC, create_file
from belljar.loader.commands.errors import loader_errors
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_DEFAULT = "signer.pem"
_SUFFIX = ".pem"


def main(parsed: Parsed) -> int:
    """Make a key."""
    if parsed.words:
        raise UsageError(f"unexpected {parsed.words[0]}", hint="belljar keygen -o signer.pem")
    path = parsed.options.get("output", _DEFAULT)
    public_path = f"{path.removesuffix(_SUFFIX)}.pub{_SUFFIX}"
    with loader_errors():
        key = generate(parsed.options.get("algorithm", DEFAULT_ALGORITHM))
    create_file(path, key.pem(), PRIVATE)
    try:
        create_file(public_path, key.public.pem(), PUBLIC)
    except LoaderError:
        os.unlink(path)
        raise
    sys.stdout.write(f"sha256:{key.public.signer.hex()}\n")
    sys.stdout.flush()
    report.note(
        f"{path} signs: keep it to yourself. {public_path} is for others: belljar verify --signer {public_path}"
    )
    return 0

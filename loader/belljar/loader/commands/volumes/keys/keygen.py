"""`belljar volume keygen`: make an owner's key, and print its id as the slots show it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.keeping import NAMES, generate_owner_key
from belljar.loader import report
from belljar.loader.bundle.files import PRIVATE, PUBLIC, create_file
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

_DEFAULT = "mlkem768-x25519"
_SUFFIX = ".pem"


def main(parsed: Parsed) -> int:
    """Make an owner's key."""
    if parsed.words:
        raise UsageError(f"unexpected {parsed.words[0]}", hint="belljar volume keygen -o owner.pem")
    name = parsed.options.get("algorithm", _DEFAULT)
    kem = next((number for number, known in NAMES.items() if known == name), None)
    if kem is None:
        raise UsageError(f"--algorithm {name}: expected {' or '.join(NAMES.values())}")
    path = parsed.options.get("output", "owner.pem")
    public_path = f"{path.removesuffix(_SUFFIX)}.pub{_SUFFIX}"
    key = generate_owner_key(os.urandom, kem)
    create_file(path, key.pem(), PRIVATE)
    try:
        create_file(public_path, key.public.pem(), PUBLIC)
    except LoaderError:
        os.unlink(path)
        raise
    sys.stdout.write(f"sha256:{key.public.key_id.hex()}\n")
    report.note(f"{path} opens volumes, and is not encrypted: keep it apart. {public_path} makes slots for it")
    return 0

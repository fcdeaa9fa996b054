"""Key files, and the signer a person expects: `sha256:…` or a key file.

In come paths and texts of the command line; out come keys and signer ids. Clause: IEEE 2952 7.2.3 b.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from belljar.attestation.keys import MAX_PEM_BYTES, PublicKey, SignerId, SigningKey, load_private, load_public
from belljar.loader import report
from belljar.loader.errors import BundleRefused, LoaderError, UsageError

if TYPE_CHECKING:
    from .read import Bundle

_CAREFUL = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"))  # where they are
_SIGNER = re.compile(r"sha256:([0-9a-f]{64})")


def read_private(path: str) -> SigningKey:
    """Return the private key in a file, and say so if others can read it.

    Raises:
        LoaderError: there is none.
    """
    content, mode = _read(path, "belljar keygen makes one")
    if mode & 0o077 and b"PRIVATE KEY" in content:
        report.note(f"note: other users may read the private key {path}: chmod 600 {path}")
    from belljar.attestation.errors import KeyRefused

    try:
        return load_private(content)
    except KeyRefused as error:
        raise LoaderError(f"{path}: {error}", hint=error.hint) from error


def read_public(path: str) -> PublicKey:
    """Return the public key in a file, which may hold the private one, too.

    Raises:
        LoaderError: there is none.
    """
    from belljar.attestation.errors import KeyRefused

    try:
        return load_public(_read(path, "expected sha256:… or a key file")[0])
    except KeyRefused as error:
        raise LoaderError(f"{path}: {error}", hint=error.hint) from error


def _read(path: str, hint: str) -> tuple[bytes, int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except OSError as error:
        raise LoaderError(f"{path}: cannot read the key: {error.strerror}", hint=hint) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_PEM_BYTES:
            raise LoaderError(f"{path}: expected a key file in PEM of at most {MAX_PEM_BYTES} bytes")
        return os.read(descriptor, MAX_PEM_BYTES), stat.S_IMODE(status.st_mode)
    finally:
        os.close(descriptor)


def expected_signer(text: str) -> SignerId:
    """Return the signer that `--signer` asks for.

    Raises:
        UsageError: it is neither a signer id nor a file.
        LoaderError: the file holds no key.
    """
    if text.startswith("sha256:"):
        match = _SIGNER.fullmatch(text)
        if match is None:
            raise UsageError(f"--signer {text}: expected sha256: and 64 digits 0-9 a-f, or a key file")
        return SignerId(bytes.fromhex(match[1]))
    return read_public(text).signer


def check_signer(bundle: Bundle, text: str) -> None:
    """Return if a bundle has the signer that was asked for.

    Raises:
        BundleRefused: it has another, or none.
    """
    expected = expected_signer(text)
    if bundle.key is None:
        raise BundleRefused(
            f"{bundle.path}: the bundle is not signed, expected signer sha256:{expected.hex()}",
            hint="sign it: belljar build … --key signer.pem",
        )
    if bundle.key.signer != expected:
        raise BundleRefused(f"{bundle.path}: signed by {bundle.signer}, expected sha256:{expected.hex()}")

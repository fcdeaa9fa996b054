"""What the commands of attestation are given: files, hexadecimal, times; read with bounds, refused by name.

In come words of a command line; out come bytes, numbers, a policy, endorsements, keys. No option reads more than its
kind may have; a pipe or device counts as one file.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from belljar.attestation.errors import AttestationError
from belljar.attestation.verifier import Endorsements, Policy, endorsements_in, load_policy
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.loader.options import Parsed

MAX_EVIDENCE_BYTES = (1 << 20) + 1  # one more than the verifier takes, so that it says what is too much
MAX_ENDORSEMENT_BYTES = 8 << 20
MAX_POLICY_BYTES = 256 * 1024 + 1
_MIN_NONCE_BYTES, _MAX_NONCE_BYTES = 8, 64  # RFC 9711 4.1
_REPORT_DATA_BYTES = 64
_INSTANCE = re.compile(r"(?:[0-9a-fA-F]{2}){16,32}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")


def read_bounded(path: str, limit: int) -> bytes:
    """Return what is in a file, or in standard input for "-", up to a limit.

    Raises:
        LoaderError: it cannot be read, or holds more than `limit` bytes.
    """
    try:
        if path == "-":
            content = sys.stdin.buffer.read(limit + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(limit + 1)
    except OSError as error:
        raise LoaderError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise LoaderError(f"{path}: has more than {limit} bytes")
    return content


def read_policy(path: str) -> Policy:
    """Return the policy in a file.

    Raises:
        LoaderError: it cannot be read, or is no policy that says all it must.
    """
    return load_policy(read_text(path))


def read_text(path: str) -> str:
    """Return the text of a policy's file.

    Raises:
        LoaderError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bounded(path, MAX_POLICY_BYTES).decode()
    except UnicodeDecodeError as error:
        raise LoaderError(f"{path}: not UTF-8 at byte {error.start}, expected a policy in YAML") from error


def read_endorsements(paths: list[str]) -> Endorsements:
    """Return the endorsements in files.

    Raises:
        LoaderError: one cannot be read, or is of no known form.
    """
    found: list[bytes] = []
    for path in paths:
        content = read_bounded(path, MAX_ENDORSEMENT_BYTES)
        try:
            endorsements_in((content,))
        except AttestationError as error:
            raise LoaderError(f"{path}: {error}", hint=error.hint) from error
        found.append(content)
    return endorsements_in(found)


def nonce_of(text: str) -> bytes:
    """Return a challenge.

    Raises:
        UsageError: it is not 8 to 64 bytes in hexadecimal.
    """
    found = bytes.fromhex(text) if _HEX.fullmatch(text) else b""
    if not _MIN_NONCE_BYTES <= len(found) <= _MAX_NONCE_BYTES:
        raise UsageError(f"--nonce: got {text[:140]!r}, expected {_MIN_NONCE_BYTES} to {_MAX_NONCE_BYTES} bytes in hex")
    return found


def instances_of(parsed: Parsed) -> tuple[bytes, ...]:
    """Return the runs that the options `--instance` name.

    Raises:
        UsageError: one is not 16 to 32 bytes in hexadecimal.
    """
    words = parsed.each("instance")
    wrong = [word for word in words if not _INSTANCE.fullmatch(word)]
    if wrong:
        raise UsageError(f"--instance: got {wrong[0][:80]!r}, expected 16 to 32 bytes in hexadecimal")
    return tuple(map(bytes.fromhex, words))


def report_data_of(text: str) -> bytes:
    """Return report data.

    Raises:
        UsageError: it is not 64 bytes in hexadecimal.
    """
    found = bytes.fromhex(text) if _HEX.fullmatch(text) else b""
    if len(found) != _REPORT_DATA_BYTES:
        raise UsageError(f"--report-data: got {text[:140]!r}, expected {_REPORT_DATA_BYTES} bytes in hexadecimal")
    return found


def moment_of(text: str) -> int:
    """Return a time as seconds since 1970.

    Raises:
        UsageError: it is neither a time of RFC 3339 with a zone, nor a number.
    """
    if text.isascii() and text.isdecimal() and len(text) <= 11:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
        seconds = None if moment.tzinfo is None else int(moment.astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        seconds = None
    if seconds is None or seconds < 0:
        raise UsageError(f"--at: got {text[:40]!r}, expected a time such as 2026-01-31T00:00:00Z, or seconds")
    return seconds


def folder_of(path: str) -> str:
    """Return a folder that exists.

    Raises:
        LoaderError: it does not.
    """
    if not os.path.isdir(path):
        raise LoaderError(f"{path}: there is no such folder", hint=f"mkdir -m 700 {path}")
    return path

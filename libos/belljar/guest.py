"""For programs in an enclave, if they like: evidence, quotes, keys and who they are, in one call each.

Nothing but what stands behind the files /dev/attestation and /sys/kernel/config/tsm/report, which work without it, too
(docs/formats/guest-files.md). One file without dependencies: copy it into a project, or let the project's Python bring
it in. It must not import anything of belljar. What is sealed here is sealed by the supervisor: no key comes in.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

FILES = "/dev/attestation"
ENTRIES = "/sys/kernel/config/tsm/report"
SEALING = f"{FILES}/sealing"
DATA_BYTES = 64
TARGET_BYTES = 512
MAX_SECRET_BYTES = 32 << 10
_ATTEMPTS = 100
_QUOTED_DATA = slice(368, 432)
_REPORTED_DATA = slice(320, 384)
_SEALING_KEYS = {"measurement": "_sgx_mrenclave", "signer": "_sgx_mrsigner"}


class NotAttested(Exception):
    """There is no evidence here: no enclave, no platform, or not for this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the enclave is.

    Attributes:
        measurement: 32 bytes.
        signer: signer id, 32 bytes; None where nobody signed.
        product_id: the signer's number for the product.
        security_version: of the product.
    """

    measurement: bytes
    signer: bytes | None
    product_id: int
    security_version: int


def evidence(challenge: bytes, *, entries: str = ENTRIES) -> bytes:
    """Return our own evidence, a CWT of at most some kilobytes, over a challenge.

    Args:
        challenge: 64 bytes: a verifier's nonce, or a digest that it goes into.
        entries: folder of configfs-tsm.

    Raises:
        NotAttested: there is none here.
        ValueError: the challenge has not 64 bytes.
    """
    if len(challenge) != DATA_BYTES:
        raise ValueError(f"a challenge of {len(challenge)} bytes, expected {DATA_BYTES}")
    with _entry(entries) as entry:
        _write(f"{entry}/inblob", challenge)
        return _read(f"{entry}/outblob")


def quote(report_data: bytes, *, files: str = FILES) -> bytes:
    """Return a quote in DCAP's shape, as scripts for SGX read it: software-rooted, the debug flag set.

    Args:
        report_data: at most 64 bytes; shorter ones are padded with zeros.
        files: folder of Gramine's files.

    Raises:
        NotAttested: there is none here, or other threads keep asking for other ones.
        ValueError: there are more than 64 bytes.
    """
    if len(report_data) > DATA_BYTES:
        raise ValueError(f"report data of {len(report_data)} bytes, expected at most {DATA_BYTES}")
    wanted = report_data.ljust(DATA_BYTES, b"\0")
    try:
        for _ in range(_ATTEMPTS):  # what was written belongs to the process: another thread may come between
            _write(f"{files}/user_report_data", wanted)
            found = _read(f"{files}/quote")
            if found[_QUOTED_DATA] == wanted:
                return found
    except OSError as error:
        raise NotAttested(f"{files}: {error.strerror}") from error
    raise NotAttested(f"{files}: other threads keep writing to user_report_data")


def report(report_data: bytes, target: bytes, *, files: str = FILES) -> bytes:
    """Return a report for another enclave of this machine, which `check_report` there takes.

    Args:
        report_data: at most 64 bytes, such as a digest of what we tell it; shorter ones are padded with zeros.
        target: its `my_target_info`, 512 bytes.
        files: folder of Gramine's files.

    Raises:
        NotAttested: there is none here, or other threads keep asking for other ones.
        ValueError: a size is wrong.
    """
    if len(report_data) > DATA_BYTES or len(target) != TARGET_BYTES:
        raise ValueError(
            f"{len(report_data)} and {len(target)} bytes, expected at most {DATA_BYTES} and {TARGET_BYTES}"
        )
    wanted = report_data.ljust(DATA_BYTES, b"\0")
    try:
        for _ in range(_ATTEMPTS):  # as for a quote; nothing in a report tells the target
            _write(f"{files}/target_info", target)
            _write(f"{files}/user_report_data", wanted)
            found = _read(f"{files}/report")
            if found[_REPORTED_DATA] == wanted:
                return found
    except OSError as error:
        raise NotAttested(f"{files}: {error.strerror}") from error
    raise NotAttested(f"{files}: other threads keep writing to user_report_data")


def check_report(report: bytes, *, files: str = FILES) -> tuple[Identity, bytes]:
    """Return who made a report for this enclave, on this machine, and its 64 bytes of report data.

    Raises:
        NotAttested: it was made for another enclave or elsewhere, or was changed.
    """
    try:
        _write(f"{files}/peer_report", report)
    except OSError as error:
        raise NotAttested(f"the report: {error.strerror}") from error
    return _identity(report), report[_REPORTED_DATA]


def secret(name: str = "default", *, files: str = FILES) -> bytes:
    """Return a key of 16 bytes that was written to `keys/NAME` in this run; empty if none was.

    Raises:
        NotAttested: there is no such key.
    """
    try:
        return _read(f"{files}/keys/{name}")
    except OSError as error:
        raise NotAttested(f"key {name}: {error.strerror}") from error


def sealing_key(policy: str, *, files: str = FILES) -> bytes:
    """Return 16 bytes that are always the same for this enclave, and are told to no other.

    Args:
        policy: "measurement" for this very enclave, "signer" for every version of the product by its signer.
        files: folder of Gramine's files.

    Raises:
        NotAttested: there is none, or nobody signed the enclave.
        ValueError: there is no such policy.
    """
    if policy not in _SEALING_KEYS:
        raise ValueError(f"policy {policy!r}, expected {' or '.join(_SEALING_KEYS)}")
    return secret(_SEALING_KEYS[policy], files=files)


def seal(secret: bytes, policy: str, *, sealing: str = SEALING) -> bytes:
    """Return a secret sealed, to be kept anywhere; `unseal` gives it back, on this platform, as long as that lives.

    Args:
        secret: at most 32 KiB.
        policy: "measurement" for this very enclave, "signer" for this and newer versions of the product by its signer.
        sealing: folder of the files for it.

    Raises:
        NotAttested: it cannot be sealed here, or nobody signed the enclave.
        ValueError: there is no such policy, or it is too long.
    """
    if policy not in _SEALING_KEYS:
        raise ValueError(f"policy {policy!r}, expected {' or '.join(_SEALING_KEYS)}")
    if len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes, expected at most {MAX_SECRET_BYTES}")
    with _entry(sealing) as entry:
        _write(f"{entry}/policy", policy.encode())
        _write(f"{entry}/secret", secret)
        return _read(f"{entry}/sealed")


def unseal(sealed: bytes, *, sealing: str = SEALING) -> bytes:
    """Return what was sealed.

    Raises:
        NotAttested: it was sealed for another enclave, by a newer version or on another platform, or was changed.
    """
    with _entry(sealing) as entry:
        _write(f"{entry}/sealed", sealed)
        return _read(f"{entry}/secret")


def identity(*, files: str = FILES) -> Identity:
    """Return who this enclave is, as its own report says it.

    Raises:
        NotAttested: it cannot be known here.
    """
    try:
        return _identity(_read(f"{files}/report"))
    except OSError as error:
        raise NotAttested(f"{files}: {error.strerror}") from error


def _identity(report: bytes) -> Identity:
    signer = report[128:160]
    return Identity(
        measurement=report[64:96],
        signer=signer if any(signer) else None,
        product_id=int.from_bytes(report[256:258], "little"),
        security_version=int.from_bytes(report[258:260], "little"),
    )


@contextmanager
def _entry(folder: str) -> Generator[str]:
    """Make an entry of this call alone, so that nobody can race it, and remove it; what fails in it is NotAttested."""
    entry = f"{folder}/{os.getpid()}-{os.urandom(8).hex()}"
    try:
        os.mkdir(entry)
        try:
            yield entry
        finally:
            os.rmdir(entry)
    except OSError as error:
        raise NotAttested(f"{folder}: {error.strerror}") from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)

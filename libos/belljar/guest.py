"""For programs in an enclave, if they like: evidence, quotes, keys and who they are, in one call each.

Nothing but what stands behind the files /dev/attestation and /sys/kernel/config/tsm/report, which work without it, too
(docs/formats/guest-files.md). One file without dependencies: copy it into a project, or let the project's Python bring
it in. It must not import anything of belljar, and it seals nothing: Python's library has no cipher to do it with;
`sealing_key` is for who brings one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

FILES = "/dev/attestation"
ENTRIES = "/sys/kernel/config/tsm/report"
DATA_BYTES = 64
_ATTEMPTS = 100
_QUOTED_DATA = slice(368, 432)
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
    entry = f"{entries}/{os.getpid()}-{os.urandom(8).hex()}"  # of this call alone: nobody can race it
    try:
        os.mkdir(entry)
        try:
            _write(f"{entry}/inblob", challenge)
            return _read(f"{entry}/outblob")
        finally:
            os.rmdir(entry)
    except OSError as error:
        raise NotAttested(f"{entries}: {error.strerror}") from error


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


def identity(*, files: str = FILES) -> Identity:
    """Return who this enclave is, as its own report says it.

    Raises:
        NotAttested: it cannot be known here.
    """
    try:
        report = _read(f"{files}/report")
    except OSError as error:
        raise NotAttested(f"{files}: {error.strerror}") from error
    signer = report[128:160]
    return Identity(
        measurement=report[64:96],
        signer=signer if any(signer) else None,
        product_id=int.from_bytes(report[256:258], "little"),
        security_version=int.from_bytes(report[258:260], "little"),
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)

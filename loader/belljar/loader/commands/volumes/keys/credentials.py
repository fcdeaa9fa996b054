"""From options to credentials: what opens a volume, and whom a new slot is for. Secrets never come from arguments.

A passphrase comes from a descriptor, a file, the file that BELLJAR_PASSPHRASE_FILE names, or the terminal; a sealed key
from the root of trust, for the enclave that is about to run.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING

from belljar.fs.keeping import (
    MAX_FILE_BYTES,
    MAX_PASSPHRASE_BYTES,
    KeyFile,
    Owner,
    Passphrase,
    Recipient,
    load_owner_private,
    load_owner_public,
    passphrase_bytes,
)
from belljar.loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from belljar.fs.keeping import Credential, Enrolment
    from belljar.libos.enclave import EnclaveSpec, VolumeMount
    from belljar.loader.options import Parsed

_MAX_PEM_BYTES = 16384
_KEY_SUFFIX = ".key"
_SEALED = "sealed:"
_VARIABLE = "BELLJAR_PASSPHRASE_FILE"


def credential(parsed: Parsed) -> Credential:
    """Return what the options say opens the volume."""
    chosen = _chosen(parsed, ("passphrase-file", "passphrase-fd", "key-file", "owner-key"))
    if chosen == "key-file":
        return KeyFile(content=_read(parsed.options[chosen], MAX_FILE_BYTES + 1))
    if chosen == "owner-key":
        return _owner(parsed.options[chosen])
    return Passphrase(secret=_passphrase(parsed, "", "passphrase", confirm=False))


def again(opening: Credential) -> Enrolment:
    """Return whom a slot is for that opens with the same credential."""
    if isinstance(opening, Owner):
        return Recipient(key=opening.key.public)
    if isinstance(opening, Passphrase | KeyFile):
        return opening
    raise LoaderError("no slot can be made for what opens this volume")


def enrolment(parsed: Parsed, prefix: str = "") -> Enrolment:
    """Return whom the options say a new slot is for.

    Args:
        parsed: the options.
        prefix: of their names: `new-` where others say what opens.
    """
    names = ("passphrase-file", "passphrase-fd", "key-file", "recipient", "sealed")
    chosen = _chosen(parsed, tuple(prefix + name for name in names))
    if chosen is not None and chosen.endswith("sealed"):
        return _sealed(parsed, parsed.options[chosen])
    if parsed.has("for"):
        raise UsageError("--for says whom a slot is sealed for", hint=f"--{prefix}sealed signer, or measurement")
    if chosen is not None and chosen.endswith("key-file"):
        return KeyFile(content=_read(parsed.options[chosen], MAX_FILE_BYTES + 1))
    if chosen is not None and chosen.endswith("recipient"):
        return Recipient(key=load_owner_public(_read(parsed.options[chosen], _MAX_PEM_BYTES)))
    return Passphrase(secret=_passphrase(parsed, prefix, "new passphrase", confirm=True))


def _sealed(parsed: Parsed, policy: str) -> Enrolment:
    from .sealing import POLICIES, sealed_for

    if policy not in POLICIES:
        raise UsageError(f"--sealed {policy}: expected {' or '.join(POLICIES)}")
    if not parsed.has("for"):
        raise UsageError("--sealed, but not for whom", hint="--for app.bell")
    return sealed_for(parsed.options["for"], policy)


def _chosen(parsed: Parsed, names: tuple[str, ...]) -> str | None:
    given = [name for name in names if parsed.has(name)]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]}: expected one of them")
    return given[0] if given else None


def _owner(path: str) -> Owner:
    pem = _read(path, _MAX_PEM_BYTES)
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in pem:
        return Owner(key=load_owner_private(pem))
    return Owner(key=load_owner_private(pem, _prompt(f"passphrase of {path}").encode()))


def _passphrase(parsed: Parsed, prefix: str, what: str, *, confirm: bool) -> bytes:
    if parsed.has(prefix + "passphrase-fd"):
        return _from_descriptor(parsed.options[prefix + "passphrase-fd"])
    path = parsed.options.get(prefix + "passphrase-file")
    if path is None and not prefix:
        path = os.environ.get(_VARIABLE)
    if path is not None:
        return _line(_read(path, MAX_PASSPHRASE_BYTES + 2), path)
    first = _prompt(what)
    if confirm and _prompt(f"{what} again") != first:
        raise LoaderError("the two passphrases are not the same")
    return passphrase_bytes(first)


def credential_of_mount(spec: EnclaveSpec, mount: VolumeMount) -> Credential:
    """Return what opens a volume that a manifest mounts: SOURCE.key, a passphrase, or the enclave's own sealing key.

    Asked by the supervisor after the guest's side was forked: nothing of it is ever in a guest's memory.

    Args:
        spec: the enclave that is about to run.
        mount: the volume in it.

    Raises:
        LoaderError: no passphrase was given, and there is nobody to ask.
        OSError: a file cannot be read.
    """
    if mount.key.startswith(_SEALED):
        from belljar.libos.identity.root import enclave_of

        from .sealing import sealed_by

        return sealed_by(enclave_of(spec), spec.identity.platform, mount.key.removeprefix(_SEALED))
    if mount.key == "file":
        return KeyFile(content=_read(mount.source + _KEY_SUFFIX, MAX_FILE_BYTES + 1))
    return Passphrase(secret=_asked(f"passphrase of {mount.source}"))


def _asked(what: str) -> bytes:
    path = os.environ.get(_VARIABLE)
    return passphrase_bytes(_prompt(what)) if path is None else _line(_read(path, MAX_PASSPHRASE_BYTES + 2), path)


def _prompt(what: str) -> str:
    if not sys.stdin.isatty():
        hint = f"--passphrase-file, --passphrase-fd, --key-file, or {_VARIABLE} in the environment"
        raise LoaderError(f"no {what} was given, and there is no terminal to ask on", hint=hint)
    return getpass.getpass(f"{what}: ")


def _from_descriptor(text: str) -> bytes:
    if not text.isdecimal():
        raise UsageError(f"--passphrase-fd {text}: expected the number of an open descriptor")
    try:
        with os.fdopen(int(text), "rb", closefd=False) as file:
            return _line(file.read(MAX_PASSPHRASE_BYTES + 2), f"descriptor {text}")
    except OSError as error:
        raise LoaderError(f"descriptor {text}: the passphrase cannot be read: {error.strerror}") from error


def _line(content: bytes, where: str) -> bytes:
    line, _, rest = content.partition(b"\n")
    if rest.strip():
        raise LoaderError(f"{where}: more than one line, expected a passphrase", hint="a key file is --key-file")
    try:
        return passphrase_bytes(line.removesuffix(b"\r").decode())
    except UnicodeDecodeError:
        raise LoaderError(f"{where}: the passphrase is not UTF-8", hint="a key file is --key-file") from None


def _read(path: str, limit: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(limit)

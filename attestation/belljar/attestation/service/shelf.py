"""Where the service keeps policies and reference values: a folder, a file each, read when asked, replaced whole.

    NAME.yaml     a policy, as it was sent
    NAME.corim    reference values that the policy NAME takes beside its own rules about code

Names are 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit, so no name leads out of the folder. What is kept
has been loaded once; it is loaded again whenever it is used, since a person may have changed the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import threading
from typing import TYPE_CHECKING

from belljar.attestation.appraisal.corim import MAX_CORIM_BYTES, from_corim
from belljar.attestation.appraisal.loading import load_policy
from belljar.attestation.appraisal.tree import MAX_POLICY_BYTES
from belljar.attestation.errors import PolicyRefused

from .answers import Conflict, NotThere, ServiceRefused, Unusable

if TYPE_CHECKING:
    from belljar.attestation.appraisal.policy import Policy

MAX_ENTRIES = 1024
POLICY, VALUES = ".yaml", ".corim"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LIMITS = {POLICY: MAX_POLICY_BYTES, VALUES: MAX_CORIM_BYTES}


class Shelf:
    """Policies and reference values by name.

    Args:
        folder: it is there, and nobody else may write to it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def names(self, kind: str) -> list[str]:
        """Return what there is of a kind."""
        found = [name.removesuffix(kind) for name in os.listdir(self._folder) if name.endswith(kind)]
        return sorted(name for name in found if _NAME.fullmatch(name))

    def read(self, kind: str, name: str) -> bytes:
        """Return what is kept under a name.

        Raises:
            NotThere: nothing is.
        """
        try:
            with open(self._path(kind, name), "rb") as file:
                content = file.read(_LIMITS[kind] + 1)
        except FileNotFoundError as error:
            raise NotThere(f"there is no {_called(kind)} {name}") from error
        if len(content) > _LIMITS[kind]:
            raise Unusable(f"{_called(kind)} {name}: has more than {_LIMITS[kind]} bytes")
        return content

    def put(self, kind: str, name: str, content: bytes) -> bool:
        """Keep something under a name; say whether it is new there.

        Raises:
            Unusable: it is malformed.
            Conflict: there are too many, or the policy it belongs to does not ask about code, or is not there.
        """
        path = self._path(kind, name)
        with self._lock:
            new = not os.path.exists(path)
            if new and len(self.names(kind)) >= MAX_ENTRIES:
                raise Conflict(f"there are {MAX_ENTRIES} of this kind already")
            if kind == POLICY:
                _loaded(name, content)
            else:
                self._check_values(name, content)
            _replace(path, content)
        return new

    def _check_values(self, name: str, content: bytes) -> None:
        try:
            from_corim(content)
        except PolicyRefused as error:
            raise Unusable(str(error), hint=error.hint) from error
        try:
            policy = _loaded(name, self.read(POLICY, name))
        except NotThere as error:
            raise Conflict(f"there is no policy {name} that would take these values") from error
        if policy.code is None:
            raise Conflict(f"policy {name} says insecure_skip_code: values would change nothing")

    def delete(self, kind: str, name: str) -> None:
        """Forget what is kept under a name, and with a policy its reference values.

        Raises:
            NotThere: nothing is.
        """
        with self._lock:
            try:
                os.unlink(self._path(kind, name))
            except FileNotFoundError as error:
                raise NotThere(f"there is no {_called(kind)} {name}") from error
            if kind == POLICY and os.path.exists(values := self._path(VALUES, name)):
                os.unlink(values)

    def policy(self, name: str) -> Policy:
        """Return a policy, with rules for its reference values; its identifier then says which values.

        Raises:
            NotThere: there is none of that name.
            Unusable: somebody has spoilt its file.
        """
        with self._lock:
            policy = _loaded(name, self.read(POLICY, name))
            try:
                content = self.read(VALUES, name)
            except NotThere:
                return policy
        if policy.code is None:
            return policy
        try:
            rules = tuple(value.rule() for value in from_corim(content))
        except PolicyRefused as error:
            raise Unusable(f"reference values {name}: {error}", hint=error.hint) from error
        identifier = f"{policy.identifier}+sha256:{hashlib.sha256(content).hexdigest()}"
        return dataclasses.replace(policy, code=(*policy.code, *rules), identifier=identifier)

    def _path(self, kind: str, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ServiceRefused(f"name {name[:80]!r}, expected 1 to 64 of a-z 0-9 . _ -, a letter or digit first")
        return os.path.join(self._folder, name + kind)


def _called(kind: str) -> str:
    return "policy" if kind == POLICY else "set of reference values"


def _loaded(name: str, content: bytes) -> Policy:
    try:
        return load_policy(content.decode())
    except UnicodeDecodeError as error:
        raise Unusable(f"policy {name}: not UTF-8 at byte {error.start}") from error
    except PolicyRefused as error:
        raise Unusable(f"policy {name}: {error}", hint=error.hint) from error


def _replace(path: str, content: bytes) -> None:
    """Put a file in place whole, and durably; called under the lock, so one writer at a time."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)

"""The counter of a soft platform: a file that only goes up, and that notices a platform file that was set back.

       0    8  magic "BJCOUNT1"
       8   20  name of the platform's generation that wrote it
      28    8  value, big endian
      36   32  HMAC-SHA-256 of everything before, under a key that this generation derives

A counter written under a generation that the platform file does not know means that the file is an older copy. Copying
the whole folder back goes unnoticed: nothing on this machine remembers more than the folder does.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from belljar.attestation.crypto.compare import same
from belljar.attestation.errors import PlatformRefused

from .root import PLATFORM_ID_BYTES, PlatformId

if TYPE_CHECKING:
    from collections.abc import Callable

    from .files import StateFolder

NAME = "soft.counter"
INFO = b"belljar.counter/1"
MAX_VALUE = (1 << 64) - 1
_MAGIC = b"BJCOUNT1"
_BODY_BYTES = 8 + PLATFORM_ID_BYTES + 8
_BYTES = _BODY_BYTES + 32


def read(folder: StateFolder, key: Callable[[PlatformId], bytes]) -> int:
    """Return the value. The folder's lock must be held.

    Args:
        folder: where the file is.
        key: gives the key of a generation; raises PlatformRefused if there is no such one.

    Raises:
        PlatformRefused: the file is missing, damaged, or of a generation that is unknown here.
    """
    path = f"{folder.path}/{NAME}"
    fd = folder.open(NAME)
    if fd is None:
        raise PlatformRefused(f"{path}: missing: somebody removed it", hint="put it back, or begin anew")
    with open(fd, "rb") as file:
        content = file.read(_BYTES + 1)
    if len(content) != _BYTES or content[:8] != _MAGIC:
        raise PlatformRefused(f"{path}: damaged", hint="put it back from a backup, or begin anew")
    platform = PlatformId(content[8 : 8 + PLATFORM_ID_BYTES])
    try:
        secret = key(platform)
    except PlatformRefused as error:
        raise PlatformRefused(
            f"{path}: written under platform {platform.hex()}, which the platform file does not know: it was set back",
            hint="put the newer platform file back, or begin anew in an empty folder",
        ) from error
    if not same(content[_BODY_BYTES:], _tag(secret, content[:_BODY_BYTES])):
        raise PlatformRefused(f"{path}: damaged or forged", hint="put it back from a backup, or begin anew")
    return int.from_bytes(content[_BODY_BYTES - 8 : _BODY_BYTES], "big")


def write(folder: StateFolder, platform: PlatformId, secret: bytes, value: int) -> None:
    """Put a value in the file, durably. The folder's lock must be held.

    Raises:
        PlatformRefused: it cannot be written.
    """
    if value > MAX_VALUE:
        raise PlatformRefused(f"{folder.path}/{NAME}: the counter is at its end")
    body = _MAGIC + platform + value.to_bytes(8, "big")
    folder.write(NAME, [body, _tag(secret, body)], replace=True)


def _tag(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, body, hashlib.sha256)

"""Bearer tokens of clients: of each only a hash is kept, and compared in constant time (IEEE 2952 5.3.3 b, 5.5.4).

    sha256:HEX  NAME          one line each; what follows # is a comment

A token is 32 random bytes in base64url, so a plain hash is enough: nothing is left to guess. In comes the text of a
file; out comes who a token stands for, or a refusal. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.crypto.compare import same
from belljar.attestation.errors import ChannelRefused, PolicyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TOKENS = 1024
MAX_TOKEN_LETTERS = 256
_LINE = re.compile(r"sha256:([0-9a-f]{64})\s+([A-Za-z0-9._@-]{1,64})")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")  # RFC 6750 2.1
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Everybody who has one: pairs of SHA-256 and name."""

    holders: tuple[tuple[bytes, str], ...]

    def holder(self, token: bytes) -> str:
        """Return whose token it is.

        Raises:
            ChannelRefused: nobody's.
        """
        digest = hashlib.sha256(token).digest()
        found = [name for held, name in self.holders if same(held, digest)]
        if not found:
            raise ChannelRefused("the client's token is nobody's", code="token-refused")
        return found[0]


def read_tokens(text: str) -> Tokens:
    """Return who has tokens.

    Raises:
        PolicyRefused: a line is malformed, or there are none, or too many.
    """
    holders: list[tuple[bytes, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            raise PolicyRefused(f"tokens, line {number}: expected sha256:HEX and a name")
        holders.append((bytes.fromhex(match[1]), match[2]))
    if not 0 < len(holders) <= MAX_TOKENS:
        raise PolicyRefused(f"tokens: got {len(holders)}, expected 1 to {MAX_TOKENS}")
    return Tokens(holders=tuple(holders))


def read_token(text: str) -> str:
    """Return the one token in a text.

    Raises:
        PolicyRefused: it is none of 16 to 256 letters, digits or ._~+/=-.
    """
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise PolicyRefused("the token is not one word of 16 to 256 letters, digits or ._~+/=-")
    return token


def make_token(name: str, random: Callable[[int], bytes]) -> tuple[str, str]:
    """Return a new token, and the line that its hash is kept as.

    Raises:
        PolicyRefused: the name has other characters than letters, digits and ._@-.
    """
    if not _NAME.fullmatch(name):
        raise PolicyRefused(f"name {name[:80]!r}, expected 1 to 64 letters, digits or ._@-")
    token = base64.urlsafe_b64encode(random(_TOKEN_BYTES)).rstrip(b"=").decode("ascii")
    return token, f"sha256:{hashlib.sha256(token.encode()).hexdigest()}  {name}"

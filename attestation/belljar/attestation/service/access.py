"""Who may do more than attest: bearer tokens (RFC 6750), of which only hashes are kept.

    admin    sha256:HEX  NAME      may read and change policies and reference values
    relying  sha256:HEX  NAME      may have evidence appraised for a nonce of its own

One line each; what follows # is a comment. A token is 32 random bytes in base64url, so a plain hash is enough: nothing
is left to guess. In comes the text of the file; out comes who a token stands for, or a refusal. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from belljar.attestation.crypto.compare import same
from belljar.attestation.errors import PolicyRefused

from .answers import Forbidden, NotAuthorised

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TOKENS = 1024
_LINE = re.compile(r"(admin|relying)\s+sha256:([0-9a-f]{64})\s+([A-Za-z0-9._@-]{1,64})")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_TOKEN_BYTES = 32


class Role(Enum):
    """What a holder may do."""

    ADMIN = "admin"
    RELYING = "relying"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Somebody with a token."""

    name: str
    role: Role
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Everybody with a token."""

    holders: tuple[Holder, ...]

    def require(self, token: str | None, role: Role) -> Holder:
        """Return whose token it is, if it is of this role; an administrator may do what anybody may.

        Raises:
            NotAuthorised: there is no token, or nobody's.
            Forbidden: its holder may not.
        """
        if token is None:
            raise NotAuthorised(f"this needs a token of role {role.value}")
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found = [holder for holder in self.holders if same(holder.digest, digest)]
        if not found:
            raise NotAuthorised("this token is not known")
        if not any(holder.role in (role, Role.ADMIN) for holder in found):
            raise Forbidden(f"{found[0].name} may not do this: it needs role {role.value}")
        return found[0]


def read_access(text: str) -> Access:
    """Return who has tokens.

    Raises:
        PolicyRefused: a line is malformed, or there are too many.
    """
    holders: list[Holder] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            raise PolicyRefused(f"tokens, line {number}: expected a role, sha256:HEX and a name",
                                hint="belljar verifier token makes a token and its line")  # fmt: skip
        holders.append(Holder(role=Role(match[1]), digest=bytes.fromhex(match[2]), name=match[3]))
    if len(holders) > MAX_TOKENS:
        raise PolicyRefused(f"tokens: got {len(holders)}, expected at most {MAX_TOKENS}")
    return Access(holders=tuple(holders))


def make_token(role: str, name: str, random: Callable[[int], bytes]) -> tuple[str, str]:
    """Return a new token, and the line that its hash is kept as.

    Raises:
        PolicyRefused: there is no such role, or the name has other characters than letters, digits and ._@-.
    """
    if role not in [one.value for one in Role]:
        raise PolicyRefused(f"role {role!r}, expected one of {', '.join(one.value for one in Role)}")
    if not _NAME.fullmatch(name):
        raise PolicyRefused(f"name {name[:80]!r}, expected 1 to 64 letters, digits or ._@-")
    token = base64.urlsafe_b64encode(random(_TOKEN_BYTES)).rstrip(b"=").decode()
    return token, f"{role} sha256:{hashlib.sha256(token.encode()).hexdigest()} {name}"

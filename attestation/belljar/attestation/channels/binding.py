"""What ties evidence to one TLS session, one side of it, that side's key and one challenge (docs/formats/channel.md).

    exported = TLS exporter(label of the role, context: nonce of the other side, 32 bytes)         RFC 8446 7.5
    binder   = SHA-256( L("belljar.channel/1") L(role) L(SubjectPublicKeyInfo) L(exported) L(nonce) )
    L(x)     = length of x (4, big endian) ‖ x

The exporter gives both sides the same bytes, so each role has a label of its own: evidence that is sent back to who
made it does not fit (reflection). Whoever relays evidence has another session, and so another exporter. Pure.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPORTED_BYTES = 32
_DOMAIN = b"belljar.channel/1"


class Role(Enum):
    """A side of a channel."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Role:
        """The other side."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


LABELS: Mapping[Role, bytes] = MappingProxyType(
    {Role.CLIENT: b"EXPORTER-belljar-channel-1-client", Role.SERVER: b"EXPORTER-belljar-channel-1-server"}
)
"""What each role's exporter is called."""


def binder(role: Role, public_key: bytes, exported: bytes, nonce: bytes) -> bytes:
    """Return what the evidence of one side must bind, 32 bytes.

    Args:
        role: who makes the evidence.
        public_key: SubjectPublicKeyInfo (DER) of the key of its certificate in this session.
        exported: from the exporter with the role's label and the nonce as context.
        nonce: what the other side sent.
    """
    parts = (_DOMAIN, role.value.encode("ascii"), public_key, exported, nonce)
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()

"""What a layer's secrets depend on, and the two secrets that follow (Open Profile for DICE, "Input Values").

In come measurements; out come the salts under which a root derives the layer's two compound identifiers (CDI):

    CDI_Attest = KDF(32, secret, SHA-512(code ‖ config ‖ authority ‖ mode ‖ hidden), "CDI_Attest")   64+64+64+1+64 bytes
    CDI_Seal   = KDF(32, secret, SHA-512(authority ‖ mode ‖ hidden), "CDI_Seal")                     64+1+64 bytes

The first changes with every build; the second stays with one authority, so its keys survive upgrades. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

INPUT_BYTES = 64
CDI_BYTES = 32
ATTEST_INFO = b"CDI_Attest"
SEAL_INFO = b"CDI_Seal"


class Mode(IntEnum):
    """How the layer runs, in the profile's numbers."""

    NOT_CONFIGURED = 0
    NORMAL = 1
    DEBUG = 2
    RECOVERY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DiceInputs:
    """The five inputs, and what three of them are digests of.

    Attributes:
        code: 64 bytes that stand for the code.
        configuration: what the configuration is: its SHA-512 is the input, or 64 bytes as they are if `inline`.
        authority: 64 bytes that stand for whoever answers for the code.
        mode: how it runs.
        hidden: 64 bytes that no certificate shows.
        code_descriptor: what `code` was computed from; empty if that is not told.
        authority_descriptor: what `authority` was computed from; empty likewise.
        inline: whether the configuration is the input itself.
    """

    code: bytes
    configuration: bytes
    authority: bytes
    mode: Mode
    hidden: bytes
    code_descriptor: bytes = b""
    authority_descriptor: bytes = b""
    inline: bool = False

    def __post_init__(self) -> None:
        """Refuse inputs of other sizes: the concatenation would be ambiguous."""
        sizes = (len(self.code), len(self.authority), len(self.hidden), len(self.configuration_input))
        if sizes != (INPUT_BYTES,) * 4:
            raise ValueError(f"DICE inputs of {sizes} bytes, expected {INPUT_BYTES} each")

    @property
    def configuration_input(self) -> bytes:
        """The input as it goes into the derivation."""
        return self.configuration if self.inline else hashlib.sha512(self.configuration).digest()

    @property
    def attest_salt(self) -> bytes:
        """Salt of CDI_Attest: the digest of everything."""
        return hashlib.sha512(self.code + self.configuration_input + self._stable).digest()

    @property
    def seal_salt(self) -> bytes:
        """Salt of CDI_Seal: the digest of what stays."""
        return hashlib.sha512(self._stable).digest()

    @property
    def _stable(self) -> bytes:
        return self.authority + bytes((self.mode,)) + self.hidden

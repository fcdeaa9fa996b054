"""A root of trust with a fixed secret, for golden vectors: the derivations of the real ones, and no file."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from belljar.attestation.claims import Tee
from belljar.attestation.crypto.compare import same
from belljar.attestation.crypto.kdf import derive
from belljar.attestation.dice.certificate import (
    PlatformFacts,
    Validity,
    ca_certificate,
    layer_certificate,
    platform_certificate,
)
from belljar.attestation.dice.inputs import DiceInputs
from belljar.attestation.dice.keypair import key_id, key_pair
from belljar.attestation.errors import PlatformRefused
from belljar.attestation.evidence import Trust, key_digest
from belljar.attestation.keys import PublicKey
from belljar.attestation.roots.root import HardwareQuote, PlatformId

NOW = 1_795_000_000
YEARS = Validity(start=NOW - 60, end=NOW + 300_000_000)


class FixedRoot:
    """A root whose secret is known."""

    kind = "soft"
    tee = Tee.SOFT
    simulated = True
    strength = "none: its secret is in the tests"

    def __init__(
        self, secret: bytes, algorithm: str = "ed25519", facts: PlatformFacts | None = None, ca: bytes = b"c" * 32
    ) -> None:
        self._secret = secret
        self.algorithm = algorithm
        self.ca_key = key_pair(algorithm, ca)
        self._key = key_pair(algorithm, secret)
        self.platform = PlatformId(key_id(self._key.public))
        certificate = ca_certificate(self.ca_key, self.kind, YEARS)
        facts = facts or PlatformFacts(kind=self.kind)
        self.chain: tuple[bytes, ...] = (
            platform_certificate(self.ca_key, certificate, self._key.public, facts, YEARS), certificate,
        )  # fmt: skip

    def derive(self, salt: bytes, info: bytes, *, platform: PlatformId | None = None) -> bytes:
        if platform is not None and not same(platform, self.platform):
            raise PlatformRefused("another platform")
        return derive(32, self._secret, salt, info)

    def certify(self, inputs: DiceInputs, subject: PublicKey) -> bytes:
        return layer_certificate(self._key, subject, inputs)

    def quote(self, report_data: bytes) -> HardwareQuote | None:
        del report_data
        return None

    def count(self) -> int:
        return 0

    def count_up(self) -> int:
        raise PlatformRefused("a fixed root counts nothing")

    def close(self) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return


def trust_in(root: FixedRoot) -> Trust:
    """Return trust in the CA of a fixed root, now."""
    return Trust(roots=frozenset({key_digest(root.ca_key.public.key)}), now=NOW)

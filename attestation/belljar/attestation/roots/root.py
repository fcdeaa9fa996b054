"""The seam between an enclave's identity and what it rests on: a file, a TPM, or the processor.

A root derives secrets that only it can derive, certifies the keys of what runs above it, lets hardware vouch where
there is some, and counts upwards. DICE, sealing and evidence stand on this and on nothing else. A root never gives
its own secret away: it is asked for derivations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

    from belljar.attestation.claims import Tee
    from belljar.attestation.dice.inputs import DiceInputs
    from belljar.attestation.keys import PublicKey

PlatformId = NewType("PlatformId", bytes)
"""Names one generation of one platform: 20 bytes, the DICE identifier of its key."""

PLATFORM_ID_BYTES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareQuote:
    """What hardware says about itself, bound to 64 bytes of ours.

    Attributes:
        media_type: what `content` is.
        content: as the hardware made it.
        auxiliary: certificates or tables that came with it; empty where there are none.
    """

    media_type: str
    content: bytes
    auxiliary: bytes = b""


class RootOfTrust(Protocol):
    """What everything else rests on. Close it when done: it holds memory, or a connection."""

    @property
    def kind(self) -> str:
        """`soft`, `tpm` or `tsm`."""
        ...

    @property
    def tee(self) -> Tee:
        """The kind of environment that evidence names."""
        ...

    @property
    def strength(self) -> str:
        """One sentence on what this root withstands, and what not."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether no hardware stands behind it."""
        ...

    @property
    def algorithm(self) -> str:
        """Name of the signature algorithm of the platform's key, and of every key below it."""
        ...

    @property
    def platform(self) -> PlatformId:
        """The platform's present name."""
        ...

    @property
    def chain(self) -> tuple[bytes, ...]:
        """DER certificates of the platform: its own first, the root that verifiers pin last."""
        ...

    def derive(self, salt: bytes, info: bytes, *, platform: PlatformId | None = None) -> bytes:
        """Return 32 bytes that only this root can derive.

        Args:
            salt: what they depend on.
            info: what they are for.
            platform: an older generation of this platform; None for the present one.

        Raises:
            PlatformRefused: this platform is and was no such one.
            RootCannot: this kind of root derives nothing.
        """
        ...

    def certify(self, inputs: DiceInputs, subject: PublicKey) -> bytes:
        """Return the DER certificate of a layer's key, signed by the platform's.

        Raises:
            RootCannot: this kind of root certifies nothing; its quotes vouch instead.
        """
        ...

    def quote(self, report_data: bytes) -> HardwareQuote | None:
        """Return what hardware says, bound to 64 bytes; None where there is no hardware.

        Raises:
            PlatformRefused: it does not answer as it should.
        """
        ...

    def count(self) -> int:
        """Return the platform's counter; 0 if it never counted."""
        ...

    def count_up(self) -> int:
        """Add one to the platform's counter, durably, and return it. The first time it may add more.

        Raises:
            PlatformRefused: it cannot be written, or was set back.
            RootCannot: this kind of root has none.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

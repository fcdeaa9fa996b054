"""What can go wrong in this house, cut by what a caller does about it.

`CborRefused`: bytes are not deterministic CBOR. `KeyRefused`: a key cannot be used; the person gives another one.
`SignatureRefused`: what is signed must not be believed. `EvidenceRefused`: nothing an attester says may be believed.
`PolicyRefused`: an appraisal policy has a hole or a mistake; its author fixes it. `PlatformRefused`, `RootCannot`,
`SealRefused`: of roots of trust and what is sealed under them. `ChannelRefused`: nobody talks over this channel.
`AppraisalRefused`, for what a policy refuses, stands beside the verdict it carries. Importing this costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .appraisal.step import Step


class AttestationError(Exception):
    """Root of the errors of this house.

    Args:
        message: lower-case fragment that names the thing, what was found and what was expected.
        hint: what the person can do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class PlatformRefused(AttestationError):
    """A root of trust cannot be used: its files are damaged, others can read them, or its device does not answer."""


class RootCannot(AttestationError):
    """A kind of root of trust has no such ability; another kind has."""


class SealRefused(AttestationError):
    """What was sealed is not for this enclave, this platform or this version, or it was changed."""


class CborRefused(AttestationError):
    """The bytes are not CBOR, or not in the one deterministic form."""


class KeyRefused(AttestationError):
    """A key is malformed, of a kind that is not in the table, or not the kind that was asked for."""


class SignatureRefused(AttestationError):
    """A signature does not hold, or what carries it is malformed."""


class EvidenceRefused(AttestationError):
    """Evidence is malformed, or a check of its authenticity failed.

    Args:
        message: as above.
        steps: what was checked up to then; the last one failed.
        hint: as above.
    """

    def __init__(self, message: str, *, steps: tuple[Step, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.steps = steps


class PolicyRefused(AttestationError):
    """An appraisal policy leaves something out, or says something it cannot mean."""


class ChannelRefused(AttestationError):
    """A channel is not opened, or is given up.

    Args:
        message: as above.
        code: the word that the other side is told, which says less.
        hint: as above.
    """

    def __init__(self, message: str, *, code: str = "given-up", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code

    def bare(self) -> ChannelRefused:
        """Return it without its traceback, to be kept: that would hold the frames that hold who keeps it."""
        return ChannelRefused(str(self), code=self.code, hint=self.hint)

"""The trustworthiness vector: what a verdict says about eight aspects of an attester (draft-ietf-rats-ar4si-09, 2.3).

Values are of a tier by their size: 2 to 31 affirming, 32 to 95 warning, 96 and up contraindicated, 0 no claim. The
values below are the draft's; which rule of a policy speaks of which aspect is ours, and stands in rules.py. Values
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Tier(Enum):
    """How far to trust, as EAR writes it in JSON; its value in CBOR is `code`."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"

    @property
    def code(self) -> int:
        """The number in CBOR."""
        return {"none": 0, "affirming": 2, "warning": 32, "contraindicated": 96}[self.value]


class Aspect(Enum):
    """What a value of the vector is about; the value in CBOR is its place."""

    INSTANCE_IDENTITY = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    FILE_SYSTEM = "file-system"
    HARDWARE = "hardware"
    RUNTIME_OPAQUE = "runtime-opaque"
    STORAGE_OPAQUE = "storage-opaque"
    SOURCED_DATA = "sourced-data"

    @property
    def code(self) -> int:
        """The key in CBOR."""
        return tuple(Aspect).index(self)


NO_CLAIM = 0
APPROVED = 2  # in every aspect: recognised and as it should be
UNSAFE_HARDWARE = 32
ISOLATED_MEMORY = 32
UNRECOGNISED_CODE = 33
UNAVAILABLE_CONFIGURATION = 36
CONTRAINDICATED = 96
VISIBLE_MEMORY = 96
UNRECOGNISED = 97  # instance or hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """Values by aspect; an aspect that is not there has no claim."""

    values: tuple[tuple[Aspect, int], ...]

    def plain(self) -> dict[str, int]:
        """Return the vector as JSON has it."""
        return {aspect.value: value for aspect, value in self.values if value != NO_CLAIM}

    def coded(self) -> dict[int, int]:
        """Return the vector as CBOR has it."""
        return {aspect.code: value for aspect, value in self.values if value != NO_CLAIM}

    @property
    def tier(self) -> Tier:
        """The worst tier in it."""
        return max((tier_of(value) for _, value in self.values), key=lambda tier: tier.code, default=Tier.NONE)


def tier_of(value: int) -> Tier:
    """Return the tier of a value (2.3.2: the numbers below 2 and above -2 say nothing; negative ones mirror)."""
    size = abs(value)
    if size <= 1:
        return Tier.NONE
    if size < 32:
        return Tier.AFFIRMING
    return Tier.WARNING if size < 96 else Tier.CONTRAINDICATED

"""Reference values: what code is expected to be, said by whoever built it; and how found claims differ from that.

In come values of a build (the bundle's measurement, its signer, its numbers), or claims; out come rules for a policy,
or differences. Others exchange them as CoRIM (corim.py). Values only. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from belljar.attestation.crypto.compare import same

from .policy import CodeRule

if TYPE_CHECKING:
    from belljar.attestation.claims import Claims


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """What one build of one program is expected to show.

    Attributes:
        name: what people call it.
        measurement: of the code, 32, 48 or 64 bytes.
        signer: signer id, 32 bytes; None for what nobody signed.
        product_id: the signer's number for it.
        svn: its security version.
    """

    name: str
    measurement: bytes
    signer: bytes | None
    product_id: int
    svn: int

    def rule(self) -> CodeRule:
        """Return the rule that takes exactly this build."""
        return CodeRule(measurement=self.measurement, signer=None, product_id=None, min_svn=None)

    def upgradable_rule(self) -> CodeRule | None:
        """Return the rule that takes this build and its signer's later ones; None for what nobody signed."""
        if self.signer is None:
            return None
        return CodeRule(measurement=None, signer=self.signer, product_id=self.product_id, min_svn=self.svn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One claim that is not what it was expected to be, as text."""

    name: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Return the difference as a line."""
        return f"{self.name}: expected {self.expected}, found {self.found}"


def differences(expected: ReferenceValues, claims: Claims) -> tuple[Difference, ...]:
    """Return where claims differ from what was expected; none if they are the same."""
    octets = (("measurement", expected.measurement, claims.measurement), ("signer", expected.signer, claims.signer))
    numbers = (("product id", expected.product_id, claims.product_id), ("svn", expected.svn, claims.svn))
    found = [
        Difference(name=name, expected=_hexadecimal(wanted), found=_hexadecimal(got))
        for name, wanted, got in octets
        if not same(wanted or b"", got or b"")
    ]
    found += [
        Difference(name=name, expected=str(wanted), found="nothing" if got is None else str(got))
        for name, wanted, got in numbers
        if wanted != got
    ]
    return tuple(found)


def _hexadecimal(value: bytes | None) -> str:
    return "nothing" if value is None else value.hex()

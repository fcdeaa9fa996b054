"""The ladder of security versions: whoever stands on a rung reaches every lower one, and no higher one.

A rung's key is the key of the rung above, derived once more. 65 536 rungs in a row would take a tenth of a second, so
there are two ladders of 256: the high byte of the version picks a block, the low byte a rung in it.

    block 255 = KDF(CDI_Seal, "top");   block h = KDF(block h+1, "block")
    rung h.255 = KDF(block h, "rung top");   rung h.l = KDF(rung h.l+1, "rung")

Whoever stands on h.l holds `rung h.l` and `block h-1`: all lower rungs of its block, and all lower blocks. At most 511
derivations, about 1 ms. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from belljar.attestation.errors import SealRefused

_TOP, _BLOCK, _RUNG_TOP, _RUNG = (
    b"belljar.ladder/1 top", b"belljar.ladder/1 block", b"belljar.ladder/1 rung top", b"belljar.ladder/1 rung",
)  # fmt: skip
_LAST = 255


@dataclass(frozen=True, slots=True, repr=False)
class Standing:
    """A place on the ladder: what an enclave of one version may hold.

    Attributes:
        svn: the rung.
        rung: its key, 32 bytes.
        below: key of the block below, 32 bytes; None on the lowest block.
    """

    svn: int
    rung: bytes
    below: bytes | None

    def key(self, svn: int) -> bytes:
        """Return the key of a rung that is not above this one.

        Raises:
            SealRefused: it is above.
        """
        if svn > self.svn:
            raise SealRefused(
                f"sealed by security version {svn}, this is {self.svn}: a newer one opens what older ones sealed, only",
                hint="run the version that sealed it, or a newer one",
            )
        block, rung = divmod(svn, _LAST + 1)
        mine = self.svn // (_LAST + 1)
        if block == mine:
            return _down(self.rung, self.svn - svn, _RUNG)
        if self.below is None:
            raise SealRefused(f"security version {svn} is not on the ladder")
        top = _step(_down(self.below, mine - 1 - block, _BLOCK), _RUNG_TOP)
        return _down(top, _LAST - rung, _RUNG)


def stand(sealing_secret: bytes, svn: int) -> Standing:
    """Return the place of a version on the ladder of a sealing identity.

    Args:
        sealing_secret: CDI_Seal, 32 bytes.
        svn: 0 to 65 535.
    """
    block, rung = divmod(svn, _LAST + 1)
    if not 0 <= block <= _LAST:
        raise SealRefused(f"security version {svn}, expected 0 to 65535")
    mine = _down(_step(sealing_secret, _TOP), _LAST - block, _BLOCK)
    return Standing(
        svn=svn,
        rung=_down(_step(mine, _RUNG_TOP), _LAST - rung, _RUNG),
        below=_step(mine, _BLOCK) if block else None,
    )


def _down(secret: bytes, steps: int, label: bytes) -> bytes:
    for _ in range(steps):
        secret = _step(secret, label)
    return secret


def _step(secret: bytes, label: bytes) -> bytes:
    """Return the next secret down: HMAC-SHA-256 is HKDF-Expand (RFC 5869 2.3) for one block of a uniform secret."""
    return hmac.digest(secret, label + b"\x01", hashlib.sha256)

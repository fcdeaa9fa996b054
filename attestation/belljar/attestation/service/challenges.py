"""Challenges that are fresh, used once and expire, without memory for those that were only asked for.

    nonce    expiry (8, seconds since 1970, big endian) ‖ random (24) ‖ HMAC-SHA-256 of both, key of this process (32)

64 bytes: what EAT and every hardware report can carry. Only used ones are remembered, until they expire; when too many
are, new uses are refused rather than old ones forgotten. A restart makes another key, so what was asked before is void.
In come times and nonces; out come nonces, or `ChallengeRefused`. May be used from several threads.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from typing import TYPE_CHECKING

from belljar.attestation.crypto.compare import same

from .answers import ChallengeRefused, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

LIFETIME_S = 300
MAX_REMEMBERED = 65_536
NONCE_BYTES = 64
_EXPIRY_BYTES, _RANDOM_BYTES, _TAG_BYTES = 8, 24, 32
_LABEL = b"belljar.challenge/1"


class Challenges:
    """Issues challenges and takes each back once.

    Args:
        random: gives unpredictable bytes.
        lifetime_s: how long a challenge holds.
        remembered: how many used ones are kept in mind at most.
    """

    def __init__(
        self, random: Callable[[int], bytes], *, lifetime_s: int = LIFETIME_S, remembered: int = MAX_REMEMBERED
    ) -> None:
        self._random = random
        self._key = random(32)
        self._lifetime_s = lifetime_s
        self._remembered = remembered
        self._used: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def issue(self, now: int) -> tuple[bytes, int]:
        """Return a new challenge, and when it expires."""
        expires = now + self._lifetime_s
        head = expires.to_bytes(_EXPIRY_BYTES, "big") + self._random(_RANDOM_BYTES)
        return head + self._tag(head), expires

    def redeem(self, nonce: bytes, now: int) -> None:
        """Use a challenge up.

        Raises:
            ChallengeRefused: it is none of ours, has expired, or was used.
            Overloaded: too many were used within their lifetime.
        """
        head, tag = nonce[:-_TAG_BYTES], nonce[-_TAG_BYTES:]
        if len(nonce) != NONCE_BYTES or not same(tag, self._tag(head)):
            raise ChallengeRefused("the nonce is none of this verifier's, or from before its restart")
        expires = int.from_bytes(head[:_EXPIRY_BYTES], "big")
        if now >= expires:
            raise ChallengeRefused(f"the nonce has expired {now - expires} s ago")
        with self._lock:
            if nonce in self._used:
                raise ChallengeRefused("the nonce was used already")
            if len(self._used) >= self._remembered:
                self._used = {one: until for one, until in self._used.items() if until > now}
            if len(self._used) >= self._remembered:
                raise Overloaded("too many challenges were used of late")
            self._used[nonce] = expires

    def _tag(self, head: bytes) -> bytes:
        return hmac.new(self._key, _LABEL + head, hashlib.sha256).digest()

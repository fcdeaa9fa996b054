"""The one place where secrets, tags and digests are compared: in constant time (IEEE 2952 7.6.2)."""

from __future__ import annotations

import hmac


def same(found: bytes, expected: bytes) -> bool:
    """Say whether two byte strings are equal; how long it takes tells nothing but their lengths."""
    return hmac.compare_digest(found, expected)

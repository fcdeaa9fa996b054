"""Certificate chains of hardware makers: parsed, walked to a pinned root, looked up in revocation lists (RFC 5280)."""

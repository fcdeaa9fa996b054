"""Our own evidence: an Entity Attestation Token (RFC 9711) by a profile of ours, as CWT and as JWT (IEEE 2952 7.2)."""

"""A verifier for others: challenges, appraisal, signed results; who may change what; HTTP (RFC 9334 5)."""

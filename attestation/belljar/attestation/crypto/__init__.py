"""Deriving, comparing and encrypting, each in one place over `cryptography` (IEEE 2952 7.6.2)."""

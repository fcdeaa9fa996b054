"""Deriving, comparing and encrypting: thin rooms over `cryptography`, so that each is done in one place (IEEE 2952 7.6.2)."""
